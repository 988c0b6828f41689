"""usbredir, the protocol of QEMU's device ``usb-redir``, as the end that provides the device.

Everything is little endian and packed (``usbredirproto.h``).  A packet is::

    +----------+----------+--------------------+------------------+----------+
    | type u32 | length   | id u32, or u64     | header, by type  | data     |
    |          | u32      | once both said so  |                  |          |
    +----------+----------+--------------------+------------------+----------+

where ``length`` counts the last two.  Each kind of packet is a struct here; its fields but ``id``
and ``data`` are its header.  Both directions are read and written alike, for a model of QEMU in
the tests speaks it too.  Pure.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, ClassVar

import msgspec

from rig.buffers import ReceiveBuffer
from rig.errors import RemoteProtocolError

ENDPOINTS = 32
"""16 OUT endpoints and 16 IN endpoints, in this order (`place`)."""

MAX_PACKET_BYTES = 32 << 20
"""No transfer is near it; a length above it is no length."""

_VERSION_BYTES = 64
_HEAD = struct.Struct("<III")
_WIDE_HEAD = struct.Struct("<IIQ")

Data = bytes | memoryview


class Status(IntEnum):
    """How a transfer went."""

    SUCCESS = 0
    CANCELLED = 1
    INVALID = 2
    IO_ERROR = 3
    STALL = 4
    TIMEOUT = 5
    BABBLE = 6


class Speed(IntEnum):
    """At which the device runs."""

    LOW = 0
    FULL = 1
    HIGH = 2
    SUPER = 3


class Capability(IntEnum):
    """Bits of what an end can do."""

    BULK_STREAMS = 0
    CONNECT_DEVICE_VERSION = 1
    FILTER = 2
    DEVICE_DISCONNECT_ACK = 3
    ENDPOINT_MAX_PACKET_SIZE = 4
    WIDE_IDS = 5
    LONG_BULK = 6
    BULK_RECEIVING = 7


CAPABILITIES = sum(
    1 << bit
    for bit in (
        Capability.CONNECT_DEVICE_VERSION,
        Capability.ENDPOINT_MAX_PACKET_SIZE,
        Capability.WIDE_IDS,
        Capability.LONG_BULK,
    )
)
"""What the cable can do.  QEMU attaches a device to an xHCI port only if the last three are in."""

NO_ENDPOINT = 255
"""Type of an endpoint that is not there."""

NO_INTERFACE = 255
"""Interface of an endpoint that belongs to none."""


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
    LAYOUT = struct.Struct(f"<{_VERSION_BYTES}sI")

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


def place(endpoint_address: int) -> int:
    """Return an endpoint's place in `EndpointInfo`: 0 to 15 for OUT, 16 to 31 for IN."""
    return (endpoint_address & 0x80) >> 3 | endpoint_address & 0x0F


def pack(packet: Packet, *, wide: bool) -> list[Data]:
    """Return the pieces of a packet as it is sent: head with header, and data if there are any.

    Args:
        packet: Which.
        wide: Whether both ends can do `Capability.WIDE_IDS`, and know it of each other.
    """
    _, *fields = msgspec.structs.astuple(packet)
    data = fields.pop() if isinstance(packet, DataPacket) else b""
    body = packet.LAYOUT.pack(*fields)
    head = _WIDE_HEAD if wide and not isinstance(packet, Hello) else _HEAD
    first = head.pack(packet.TYPE, len(body) + len(data), packet.id) + body
    return [first, data] if len(data) else [first]


def unpack(buffer: ReceiveBuffer, *, wide: bool) -> Packet | None:
    """Take the next packet out of what was received; None if it is not all there.

    Data are views of the buffer.

    Args:
        buffer: What was received.
        wide: As `pack`.

    Raises:
        RemoteProtocolError: These octets are no packet.
    """
    head = _WIDE_HEAD if wide else _HEAD
    octets = buffer.peek(head.size)
    if octets is None:
        return None
    number, length, packet_id = head.unpack(octets)
    if length > MAX_PACKET_BYTES:
        raise RemoteProtocolError(f"A usbredir packet of type {number} has {length} octets.")
    whole = buffer.peek(head.size + length)
    if whole is None:
        return None
    buffer.take(len(whole))
    return _read(number, packet_id, whole[head.size :])


def _read(number: int, packet_id: int, octets: memoryview) -> Packet:
    kind = KINDS.get(number)
    if kind is None:
        return Unknown(packet_id, octets)
    size = kind.LAYOUT.size
    if kind is Hello and len(octets) == _VERSION_BYTES:
        return Hello(packet_id, bytes(octets), 0)  # of an end that knows of no capabilities
    # A hello may have more words of capabilities than are known here.
    exact = not issubclass(kind, DataPacket) and kind is not Hello
    if len(octets) < size or (exact and len(octets) != size):
        raise RemoteProtocolError(
            f"A usbredir packet {kind.__name__} has {len(octets)} octets, {size} belong there."
        )
    fields: list[Any] = [packet_id, *kind.LAYOUT.unpack_from(octets)]
    if issubclass(kind, DataPacket):
        fields.append(octets[size:])
    return kind(*fields)
