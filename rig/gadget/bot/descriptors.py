"""What is written to a FunctionFS ep0 file for a bulk-only disk, and what is read from it.

Sources: ``include/uapi/linux/usb/functionfs.h``; USB 2.0 §9.6, USB 3.2 §9.6.7; USB Mass Storage
Class, Bulk-Only Transport 1.0 (BOT) §4.  Pure.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from rig.errors import RemoteProtocolError
from rig.usb.descriptors import ENDPOINT, INTERFACE, TYPE_ENDPOINT, TYPE_INTERFACE
from rig.usb.setup import SETUP_BYTES, SetupPacket

_MAGIC_DESCRIPTORS, _MAGIC_STRINGS = 3, 2  # FUNCTIONFS_DESCRIPTORS_MAGIC_V2, _STRINGS_MAGIC
_HAS_FULL, _HAS_HIGH, _HAS_SUPER = 1, 2, 4
_HEAD = struct.Struct("<II")  # magic, length of all
_COMPANION = struct.Struct("<BBBBH")
_TYPE_COMPANION = 0x30
_BULK = 2
_ENGLISH = 0x0409
_PACKET_BYTES = {"full": 64, "high": 512, "super": 1024}

EVENT = struct.Struct(f"<{SETUP_BYTES}sB3x")  # struct usb_functionfs_event

GET_MAX_LUN = (0xA1, 0xFE)
BULK_ONLY_RESET = (0x21, 0xFF)
"""Type and number of the class requests (BOT §3.1 and §3.2)."""


class EventType(IntEnum):
    """``enum usb_functionfs_event_type``."""

    BIND = 0
    UNBIND = 1
    ENABLE = 2
    DISABLE = 3
    SETUP = 4
    SUSPEND = 5
    RESUME = 6


class Event(msgspec.Struct, frozen=True):
    """What the kernel tells through ep0; `setup` has a meaning for `EventType.SETUP` alone."""

    type: EventType
    setup: SetupPacket


def descriptors() -> bytes:
    """The interface and its two bulk endpoints for full, high and SuperSpeed; IN is ``ep1``."""
    flags = _HAS_FULL | _HAS_HIGH | _HAS_SUPER
    full, high, fast = (_of_speed(speed) for speed in _PACKET_BYTES)
    body = struct.pack("<IIII", flags, 3, 3, 5) + full + high + fast
    return _HEAD.pack(_MAGIC_DESCRIPTORS, _HEAD.size + len(body)) + body


def strings(name: str) -> bytes:
    """The interface's name, in English."""
    body = struct.pack("<IIH", 1, 1, _ENGLISH) + name.encode() + b"\0"
    return _HEAD.pack(_MAGIC_STRINGS, _HEAD.size + len(body)) + body


def parse_events(octets: bytes) -> list[Event]:
    """Read what ep0 gave.

    Raises:
        RemoteProtocolError: These are no events.
    """
    if len(octets) % EVENT.size:
        raise RemoteProtocolError(f"{octets.hex(' ')} are no events of FunctionFS.")
    events = []
    for setup, number in EVENT.iter_unpack(octets):
        try:
            events.append(Event(EventType(number), SetupPacket.unpack(setup)))
        except ValueError as error:
            raise RemoteProtocolError(f"FunctionFS has no event {number}.") from error
    return events


def _of_speed(speed: str) -> bytes:
    # Mass storage, SCSI transparent command set, Bulk-Only (BOT §4.3).
    interface = INTERFACE.pack(INTERFACE.size, TYPE_INTERFACE, 0, 0, 2, 0x08, 0x06, 0x50, 1)
    companion = b""
    if speed == "super":
        companion = _COMPANION.pack(_COMPANION.size, _TYPE_COMPANION, 0, 0, 0)
    packet_bytes = _PACKET_BYTES[speed]
    return interface + b"".join(
        ENDPOINT.pack(ENDPOINT.size, TYPE_ENDPOINT, address, _BULK, packet_bytes, 0) + companion
        for address in (0x81, 0x02)
    )
