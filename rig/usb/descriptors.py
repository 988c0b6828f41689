"""Reading a device's descriptors: what interfaces and endpoints a configuration has.

usbfs and sysfs hand out the device descriptor followed by every configuration with all that
belongs to it (USB 2.0 §9.6), which is the form read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from rig.errors import RemoteProtocolError
from rig.usb.urb import TransferType

DEVICE = struct.Struct("<BBHBBBBHHHBBBB")  # USB 2.0 table 9-8
CONFIGURATION = struct.Struct("<BBHBBBBB")  # table 9-10
INTERFACE = struct.Struct("<BBBBBBBBB")  # table 9-12
ENDPOINT = struct.Struct("<BBBBHB")  # table 9-13

TYPE_CONFIGURATION, TYPE_INTERFACE, TYPE_ENDPOINT = 2, 4, 5

_TRANSFER_TYPES = (
    TransferType.CONTROL,
    TransferType.ISOCHRONOUS,
    TransferType.BULK,
    TransferType.INTERRUPT,
)  # bmAttributes bits 1..0, USB 2.0 table 9-13


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint of one alternate setting."""

    address: int
    transfer_type: TransferType
    max_packet_bytes: int
    """Payload of one packet, without the bits for high-bandwidth transactions."""


class Interface(msgspec.Struct, frozen=True):
    """One alternate setting of an interface."""

    number: int
    alternate: int
    endpoints: tuple[Endpoint, ...]


class Configuration(msgspec.Struct, frozen=True):
    """One configuration; `value` is what SET_CONFIGURATION takes."""

    value: int
    interfaces: tuple[Interface, ...]

    @property
    def interface_numbers(self) -> tuple[int, ...]:
        """Every interface once, whatever alternate settings it has."""
        return tuple(dict.fromkeys(interface.number for interface in self.interfaces))


class Device(msgspec.Struct, frozen=True):
    """A device's identity and its configurations."""

    vendor_id: int
    product_id: int
    configurations: tuple[Configuration, ...]
    device_class: int = 0

    def configuration(self, value: int) -> Configuration | None:
        """Return the configuration of that value, or None."""
        return next((c for c in self.configurations if c.value == value), None)


def parse(octets: bytes) -> Device:
    """Read a device descriptor and the configurations behind it.

    Raises:
        RemoteProtocolError: The octets end in the middle of a descriptor, or one has no length.
    """
    if len(octets) < DEVICE.size:
        raise RemoteProtocolError(f"A device descriptor has 18 octets, here are {len(octets)}.")
    device = DEVICE.unpack_from(octets)
    configurations: list[Configuration] = []
    interfaces: list[Interface] = []
    for kind, body in _walk(octets[device[0] :]):
        if kind == TYPE_CONFIGURATION:
            value = _fields(CONFIGURATION, body)[4]  # bConfigurationValue
            interfaces = []
            configurations.append(Configuration(value, ()))
        elif kind == TYPE_INTERFACE and configurations:
            _, _, number, alternate, *_ = _fields(INTERFACE, body)
            interfaces.append(Interface(number, alternate, ()))
        elif kind == TYPE_ENDPOINT and interfaces:
            last = interfaces[-1]
            interfaces[-1] = Interface(
                last.number, last.alternate, (*last.endpoints, _endpoint(body))
            )
        if configurations:
            configurations[-1] = Configuration(configurations[-1].value, tuple(interfaces))
    return Device(device[7], device[8], tuple(configurations), device[3])


def _endpoint(body: bytes) -> Endpoint:
    _, _, address, attributes, max_packet, _ = _fields(ENDPOINT, body)
    return Endpoint(address, _TRANSFER_TYPES[attributes & 3], max_packet & 0x7FF)


def _fields(layout: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise RemoteProtocolError(
            f"A descriptor of type {body[1]} has {len(body)} octets, {layout.size} are needed."
        )
    return layout.unpack_from(body)


def _walk(octets: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(octets):
        length = octets[at]
        if length < 2 or at + length > len(octets):
            raise RemoteProtocolError(f"The descriptor at octet {at} has the length {length}.")
        yield octets[at + 1], octets[at : at + length]
        at += length
