"""What usbredir wants to know of a device: its interfaces and endpoints, as they are configured.

Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from rig.cable.usbredir.packets import EndpointInfo, InterfaceInfo
from rig.cable.usbredir.vocabulary import ENDPOINTS, NO_ENDPOINT, NO_INTERFACE, place
from rig.usb.descriptors import Configuration, Endpoint, Interface
from rig.usb.urb import TransferType

_WIRE_TYPES = {
    TransferType.CONTROL: 0,
    TransferType.ISOCHRONOUS: 1,
    TransferType.BULK: 2,
    TransferType.INTERRUPT: 3,
}
"""``bmAttributes`` of USB 2.0 table 9-13, which usbredir uses, too."""

CONTROL_PACKET_BYTES = 64
_INTERVAL = 1
"""For QEMU only refuses 0 here: the guest's driver reads the descriptor itself."""


def active(configuration: Configuration | None, alternates: Mapping[int, int]) -> list[Interface]:
    """Return the interfaces of a configuration, each in its present alternate setting."""
    if configuration is None:
        return []
    return [
        interface
        for interface in configuration.interfaces
        if interface.alternate == alternates.get(interface.number, 0)
    ]


def endpoints(interfaces: Iterable[Interface]) -> dict[int, Endpoint]:
    """Return their endpoints by address."""
    return {e.address: e for interface in interfaces for e in interface.endpoints}


def interface_info(interfaces: list[Interface]) -> InterfaceInfo:
    """Return what interfaces there are.

    Their classes are left 0: QEMU needs them for filters and for quirks that the cable lacks.
    """
    numbers = bytes(interface.number for interface in interfaces)
    nothing = bytes(ENDPOINTS)
    return InterfaceInfo(0, len(interfaces), numbers.ljust(ENDPOINTS, b"\0"), *[nothing] * 3)


def endpoint_info(interfaces: list[Interface]) -> EndpointInfo:
    """Return what endpoints there are, the default control pipe among them."""
    types, owners = bytearray([NO_ENDPOINT] * ENDPOINTS), bytearray([NO_INTERFACE] * ENDPOINTS)
    intervals = bytearray(ENDPOINTS)
    packets = [0] * ENDPOINTS
    for at in (place(0x00), place(0x80)):
        types[at], packets[at] = _WIRE_TYPES[TransferType.CONTROL], CONTROL_PACKET_BYTES
    for interface in interfaces:
        for endpoint in interface.endpoints:
            at = place(endpoint.address)
            types[at] = _WIRE_TYPES[endpoint.transfer_type]
            owners[at] = interface.number
            packets[at] = endpoint.max_packet_bytes
            intervals[at] = _INTERVAL
    packed = struct.pack(f"<{ENDPOINTS}H", *packets)
    return EndpointInfo(0, bytes(types), bytes(intervals), bytes(owners), packed)
