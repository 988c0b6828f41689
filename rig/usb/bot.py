"""Bulk-Only Transport by hand: command and status wrappers, and the SCSI commands that are needed.

USB Mass Storage Class, Bulk-Only Transport 1.0 (BOT); SCSI's SPC-4 and SBC-3.  Pure.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import msgspec

from rig.errors import RemoteProtocolError
from rig.usb.urb import Direction

INTERFACE_CLASS: Final = "080650"
"""Class, subclass and protocol of an interface: mass storage, SCSI, Bulk-Only (BOT §4.3)."""

BULK_ONLY_RESET: Final = struct.pack("<BBHHH", 0x21, 0xFF, 0, 0, 0)
"""The class request that makes the device ready for the next command (BOT §3.1), for interface 0;
both endpoints' halts are to be cleared behind it (BOT §5.3.4)."""

_CBW: Final = struct.Struct("<4sIIBBB16s")  # BOT §5.1
_CSW: Final = struct.Struct("<4sIIB")  # BOT §5.2
_WRITE_10: Final = struct.Struct(">BBIBHB")  # SBC-3 §5.32

CBW_BYTES: Final = _CBW.size
CSW_BYTES: Final = _CSW.size

_TEST_UNIT_READY = bytes(6)
_WRITE_10_CODE = 0x2A
_MAX_LUN = 15  # bCBWLUN has four bits


class CommandStatus(IntEnum):
    """bCSWStatus (BOT table 5.3)."""

    PASSED = 0
    FAILED = 1
    PHASE_ERROR = 2


class Cbw(msgspec.Struct, frozen=True):
    """A command block wrapper (BOT §5.1).

    Attributes:
        tag: Comes back in the status.
        length_bytes: The data that the host expects to move.
        direction: Of that data; of no meaning where there is none.
        lun: To which the command is sent.
        command: The command block, 1 to 16 octets.
    """

    tag: int
    length_bytes: int
    direction: Direction
    lun: int
    command: bytes


class Csw(msgspec.Struct, frozen=True):
    """A command status wrapper; `status` is a `CommandStatus`, or a number that BOT reserves."""

    tag: int
    residue_bytes: int
    status: int

    def pack(self, signature: bytes = b"USBS") -> bytes:
        """Return the 13 octets (BOT §5.2), with another signature if that is wanted."""
        return _CSW.pack(signature, self.tag, self.residue_bytes, self.status)


def write_10(tag: int, lba: int, blocks: int, block_bytes: int = 512) -> bytes:
    """Return the wrapper of WRITE(10): ``blocks`` blocks from ``lba`` on, to LUN 0."""
    command = _WRITE_10.pack(_WRITE_10_CODE, 0, lba, 0, blocks, 0)
    return _wrapper(tag, blocks * block_bytes, command)


def unit_ready(tag: int) -> bytes:
    """Return the wrapper of TEST UNIT READY, which has no data."""
    return _wrapper(tag, 0, _TEST_UNIT_READY)


def parse_cbw(octets: bytes) -> Cbw:
    """Read a command block wrapper.

    Raises:
        RemoteProtocolError: It is not valid, or not meaningful (BOT §6.2).
    """
    if len(octets) != CBW_BYTES or not octets.startswith(b"USBC"):
        raise RemoteProtocolError(f"{octets[:40].hex(' ')} is no command block wrapper.")
    _, tag, length_bytes, flags, lun, command_bytes, block = _CBW.unpack(octets)
    if flags & 0x7F or lun > _MAX_LUN or not 1 <= command_bytes <= len(block):
        raise RemoteProtocolError(f"{octets.hex(' ')} is a command block wrapper of no meaning.")
    direction = Direction.IN if flags & 0x80 else Direction.OUT
    return Cbw(tag, length_bytes, direction, lun, block[:command_bytes])


def parse_csw(octets: bytes) -> Csw:
    """Read a command status wrapper.

    Raises:
        RemoteProtocolError: It is none.
    """
    if len(octets) != CSW_BYTES or not octets.startswith(b"USBS"):
        raise RemoteProtocolError(f"{octets.hex(' ')} is no command status wrapper.")
    _, tag, residue_bytes, status = _CSW.unpack(octets)
    return Csw(tag, residue_bytes, status)


def _wrapper(tag: int, data_bytes: int, command: bytes) -> bytes:
    return _CBW.pack(b"USBC", tag, data_bytes, 0, 0, len(command), command)
