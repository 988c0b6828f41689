"""Packets of usbredir to octets and back.  Pure."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from rig.buffers import ReceiveBuffer
from rig.cable.records import take_record
from rig.cable.usbredir.packets import KINDS, VERSION_BYTES, DataPacket, Hello, Packet, Unknown
from rig.cable.usbredir.vocabulary import Data
from rig.errors import RemoteProtocolError

MAX_PACKET_BYTES = 32 << 20
"""No transfer is near it; a length above it is no length."""

_HEAD = struct.Struct("<III")
_WIDE_HEAD = struct.Struct("<IIQ")


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

    def rest_bytes(octets: memoryview) -> int:
        number, length, _ = head.unpack(octets)
        if length > MAX_PACKET_BYTES:
            raise RemoteProtocolError(f"A usbredir packet of type {number} has {length} octets.")
        return int(length)

    whole = take_record(buffer, head.size, rest_bytes)
    if whole is None:
        return None
    number, _, packet_id = head.unpack_from(whole)
    return _read(number, packet_id, whole[head.size :])


def _read(number: int, packet_id: int, octets: memoryview) -> Packet:
    kind = KINDS.get(number)
    if kind is None:
        return Unknown(packet_id, octets)
    size = kind.LAYOUT.size
    if kind is Hello and len(octets) == VERSION_BYTES:
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
