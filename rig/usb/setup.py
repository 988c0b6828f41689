"""SETUP packets (USB 2.0 §9.3), and the requests that a split driver must understand.

Most control transfers are carried as they are.  Three are not, because the back end's own kernel
keeps state about them (data toggles, the bandwidth of alternate settings, who owns an interface),
and forwarding the raw bytes would leave that state behind (``drivers/usb/core/message.c``).
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from rig.usb.urb import Speed, TransferFlags

SETUP = struct.Struct("<BBHHH")
SETUP_BYTES = SETUP.size

ENDPOINT_HALT = 0  # feature selector, USB 2.0 table 9-6
DESCRIPTOR_DEVICE = 1  # USB 2.0 table 9-5


class RequestType(IntEnum):
    """The ``bmRequestType`` octets used here: direction, standard type, recipient."""

    TO_DEVICE = 0x00
    TO_INTERFACE = 0x01
    TO_ENDPOINT = 0x02
    FROM_DEVICE = 0x80


class Request(IntEnum):
    """Standard requests (USB 2.0 table 9-4)."""

    GET_STATUS = 0x00
    CLEAR_FEATURE = 0x01
    SET_FEATURE = 0x03
    GET_DESCRIPTOR = 0x06
    SET_CONFIGURATION = 0x09
    SET_INTERFACE = 0x0B


class SetupPacket(msgspec.Struct, frozen=True):
    """The eight octets that begin a control transfer."""

    request_type: int
    request: int
    value: int
    index: int
    length: int

    @classmethod
    def unpack(cls, octets: bytes) -> SetupPacket:
        """Read eight octets as they stand on the bus (little endian)."""
        return cls(*SETUP.unpack(octets))

    def pack(self) -> bytes:
        """Return the eight octets."""
        return SETUP.pack(self.request_type, self.request, self.value, self.index, self.length)

    @property
    def is_in(self) -> bool:
        """Whether the data stage, if any, goes to the host."""
        return bool(self.request_type & 0x80)


class SetConfiguration(msgspec.Struct, frozen=True):
    """SET_CONFIGURATION: choose a configuration; 0 unconfigures."""

    value: int


class SetInterface(msgspec.Struct, frozen=True):
    """SET_INTERFACE: choose an alternate setting."""

    interface: int
    alternate: int


class ClearHalt(msgspec.Struct, frozen=True):
    """CLEAR_FEATURE(ENDPOINT_HALT): clear a stalled endpoint and its data toggle."""

    endpoint_address: int


Operation = SetConfiguration | SetInterface | ClearHalt
"""A control request that the back end's kernel must carry out itself."""


def operation(setup: SetupPacket) -> Operation | None:
    """Return what the kernel must be asked to do instead of sending this packet, if anything."""
    match setup.request_type, setup.request:
        case RequestType.TO_DEVICE, Request.SET_CONFIGURATION:
            return SetConfiguration(setup.value & 0xFF)
        case RequestType.TO_INTERFACE, Request.SET_INTERFACE:
            return SetInterface(setup.index, setup.value)
        case RequestType.TO_ENDPOINT, Request.CLEAR_FEATURE if setup.value == ENDPOINT_HALT:
            return ClearHalt(setup.index & 0xFF)
    return None


def announces_port_reset(setup: SetupPacket, flags: int, speed: Speed) -> bool:
    """Tell whether this is the first request a hub driver sends after it has reset a port.

    ``vhci_hcd`` never forwards a port reset.  It shows on ep0 alone: ``hub_port_init`` asks for the
    device descriptor with wLength 64 (up to high speed) or 8 (SuperSpeed), by ``usb_control_msg``,
    so without flags (``drivers/usb/core/hub.c``).  Only ``usbtest`` asks for it with that length,
    too, in its case 10, and flags all that it reads (``drivers/usb/misc/usbtest.c``).

    Args:
        setup: The SETUP packet.
        flags: The URB's `TransferFlags`.
        speed: The device's.
    """
    return (
        setup.request_type == RequestType.FROM_DEVICE
        and setup.request == Request.GET_DESCRIPTOR
        and setup.value >> 8 == DESCRIPTOR_DEVICE
        and setup.length == (8 if speed >= Speed.SUPER else 64)
        and not flags & TransferFlags.SHORT_NOT_OK
    )
