"""The kinds of usbredir's packets.

Each is a struct whose fields, but ``id`` and ``data``, are its header (``usbredirproto.h``).
Pure.
"""

from __future__ import annotations

import struct
from typing import ClassVar

import msgspec

from rig.cable.usbredir.vocabulary import Capability, Data

VERSION_BYTES = 64


class Packet(msgspec.Struct, frozen=True):
    """What all packets have.

    Attributes:
        id: Of the request, repeated in its answer; 0 where there is no answer.
    """

    TYPE: ClassVar[int]
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("")

    id: int


class DataPacket(Packet, frozen=True):
    """A packet that may end with data."""


class Hello(Packet, frozen=True):
    """The first packet of each end; its id always has 32 bits."""

    TYPE = 0
    LAYOUT = struct.Struct(f"<{VERSION_BYTES}sI")

    version: bytes
    capabilities: int

    def can(self, capability: Capability) -> bool:
        """Whether the end that sent it can do something."""
        return bool(self.capabilities >> capability & 1)


class DeviceConnect(Packet, frozen=True):
    """The device is plugged in.  `interface_info` and `endpoint_info` come before it."""

    TYPE = 1
    LAYOUT = struct.Struct("<BBBBHHH")

    speed: int
    device_class: int
    subclass: int
    protocol: int
    vendor_id: int
    product_id: int
    version: int


class DeviceDisconnect(Packet, frozen=True):
    """The device is unplugged."""

    TYPE = 2


class Reset(Packet, frozen=True):
    """The port is reset; there is no answer."""

    TYPE = 3


class InterfaceInfo(Packet, frozen=True):
    """The interfaces of the configuration; each field has an octet for each of 32."""

    TYPE = 4
    LAYOUT = struct.Struct("<I32s32s32s32s")

    count: int
    numbers: bytes
    classes: bytes
    subclasses: bytes
    protocols: bytes


class EndpointInfo(Packet, frozen=True):
    """The endpoints that are there; each field has an entry for each `place`."""

    TYPE = 5
    LAYOUT = struct.Struct("<32s32s32s64s")

    types: bytes
    intervals: bytes
    interfaces: bytes
    max_packets: bytes


class SetConfiguration(Packet, frozen=True):
    """SET_CONFIGURATION, which is never sent as a control packet."""

    TYPE = 6
    LAYOUT = struct.Struct("<B")

    value: int


class GetConfiguration(Packet, frozen=True):
    """GET_CONFIGURATION, likewise."""

    TYPE = 7


class ConfigurationStatus(Packet, frozen=True):
    """The answer to both."""

    TYPE = 8
    LAYOUT = struct.Struct("<BB")

    status: int
    value: int


class SetAltSetting(Packet, frozen=True):
    """SET_INTERFACE, which is never sent as a control packet."""

    TYPE = 9
    LAYOUT = struct.Struct("<BB")

    interface: int
    alternate: int


class GetAltSetting(Packet, frozen=True):
    """GET_INTERFACE, likewise."""

    TYPE = 10
    LAYOUT = struct.Struct("<B")

    interface: int


class AltSettingStatus(Packet, frozen=True):
    """The answer to both."""

    TYPE = 11
    LAYOUT = struct.Struct("<BBB")

    status: int
    interface: int
    alternate: int


class StartIsoStream(Packet, frozen=True):
    """Isochronous transfers are wanted; the cable has none."""

    TYPE = 12
    LAYOUT = struct.Struct("<BBB")

    endpoint: int
    packets_per_urb: int
    urbs: int


class IsoStreamStatus(Packet, frozen=True):
    """The answer to it."""

    TYPE = 14
    LAYOUT = struct.Struct("<BB")

    status: int
    endpoint: int


class StartInterruptReceiving(Packet, frozen=True):
    """Poll an interrupt IN endpoint, and send whatever comes, until told to stop."""

    TYPE = 15
    LAYOUT = struct.Struct("<B")

    endpoint: int


class StopInterruptReceiving(Packet, frozen=True):
    """Poll it no more."""

    TYPE = 16
    LAYOUT = struct.Struct("<B")

    endpoint: int


class InterruptReceivingStatus(Packet, frozen=True):
    """The answer to both; with status STALL also a message that polling has ended."""

    TYPE = 17
    LAYOUT = struct.Struct("<BB")

    status: int
    endpoint: int


class Cancel(Packet, frozen=True):
    """The transfer of this id is not wanted any more; it is answered all the same."""

    TYPE = 21


class ControlPacket(DataPacket, frozen=True):
    """A control transfer, and its answer."""

    TYPE = 100
    LAYOUT = struct.Struct("<BBBBHHH")

    endpoint: int
    request: int
    request_type: int
    status: int
    value: int
    index: int
    length: int
    data: Data = b""


class BulkPacket(DataPacket, frozen=True):
    """A bulk transfer, and its answer."""

    TYPE = 101
    LAYOUT = struct.Struct("<BBHIH")

    endpoint: int
    status: int
    length_low: int
    stream: int
    length_high: int
    data: Data = b""

    @classmethod
    def of(
        cls, packet_id: int, endpoint: int, status: int, length: int, data: Data = b""
    ) -> BulkPacket:
        """Return a packet; its length, of up to 32 bits, stands in two fields."""
        return cls(packet_id, endpoint, status, length & 0xFFFF, 0, length >> 16, data)

    @property
    def length(self) -> int:
        """Of a request: the buffer's; of an answer: what moved, in octets."""
        return self.length_high << 16 | self.length_low


class InterruptPacket(DataPacket, frozen=True):
    """An interrupt transfer OUT and its answer; or what came on an endpoint that is polled."""

    TYPE = 103
    LAYOUT = struct.Struct("<BBH")

    endpoint: int
    status: int
    length: int
    data: Data = b""


class Unknown(DataPacket, frozen=True):
    """A packet that the cable neither needs nor answers."""

    data: Data = b""


KINDS: dict[int, type[Packet]] = {
    kind.TYPE: kind
    for kind in (
        *(Hello, DeviceConnect, DeviceDisconnect, Reset, InterfaceInfo, EndpointInfo),
        *(SetConfiguration, GetConfiguration, ConfigurationStatus),
        *(SetAltSetting, GetAltSetting, AltSettingStatus, StartIsoStream, IsoStreamStatus),
        *(StartInterruptReceiving, StopInterruptReceiving, InterruptReceivingStatus),
        *(Cancel, ControlPacket, BulkPacket, InterruptPacket),
    )
}
"""The kinds of packets by their type."""
