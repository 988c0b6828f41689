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
_COMMAND_10: Final = struct.Struct(">BBIBHB")
"""Opcode, flags, LBA, group number, blocks, control: READ(10), WRITE(10), SYNCHRONIZE CACHE(10) and
READ CAPACITY(10) alike (SBC-3 §5)."""
_CAPACITY: Final = struct.Struct(">II")  # SBC-3 table 64
_FIXED_FORMAT: Final = struct.Struct(">BBBIB4xBB4x")
"""Response code, segment, sense key, information, additional length, code and qualifier (SPC-4
§4.5.3)."""
_VALID = 0x80
"""In the response code: the information is of the meaning that the standards give it, an LBA."""
_LAST_OF_32_BITS = 2**32 - 1

CBW_BYTES: Final = _CBW.size
CSW_BYTES: Final = _CSW.size
CAPACITY_BYTES: Final = _CAPACITY.size
SENSE_BYTES: Final = _FIXED_FORMAT.size
"""Of fixed-format sense data (SPC-4 §4.5.3)."""
MOST_BLOCKS: Final = 0xFFFF
"""Of one READ(10) or WRITE(10)."""

_TEST_UNIT_READY = bytes(6)
_MAX_LUN = 15  # bCBWLUN has four bits
_FIXED_SENSE = frozenset({0x70, 0x71})
_DESCRIPTOR_SENSE = frozenset({0x72, 0x73})


class Opcode(IntEnum):
    """Operation codes of the commands made here (SPC-4, SBC-3)."""

    TEST_UNIT_READY = 0x00
    REQUEST_SENSE = 0x03
    READ_CAPACITY_10 = 0x25
    READ_10 = 0x28
    WRITE_10 = 0x2A
    SYNCHRONIZE_CACHE_10 = 0x35


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


class Capacity(msgspec.Struct, frozen=True):
    """What READ CAPACITY(10) tells: the last LBA, and the size of a block."""

    last_lba: int
    block_bytes: int

    @property
    def size_bytes(self) -> int:
        """Of the whole medium."""
        return (self.last_lba + 1) * self.block_bytes


class SenseData(msgspec.Struct, frozen=True):
    """Why a command failed (SPC-4 §4.5).

    Attributes:
        key: Sense key.
        asc: Additional sense code.
        ascq: Its qualifier.
        lba: The first block that is concerned; None where none is, or that is not told.
    """

    key: int
    asc: int
    ascq: int
    lba: int | None = None

    def pack(self) -> bytes:
        """Return the 18 octets of fixed format (SPC-4 §4.5.3), which know LBAs of 32 bits alone."""
        told = self.lba is not None and self.lba <= _LAST_OF_32_BITS
        return _FIXED_FORMAT.pack(
            0x70 | (_VALID if told else 0),
            0,
            self.key,
            self.lba if self.lba is not None and told else 0,
            _FIXED_FORMAT.size - 8,  # octets behind this one
            self.asc,
            self.ascq,
        )


def write_10(tag: int, lba: int, blocks: int, block_bytes: int = 512) -> bytes:
    """Return the wrapper of WRITE(10): ``blocks`` blocks from ``lba`` on, to LUN 0."""
    command = _COMMAND_10.pack(Opcode.WRITE_10, 0, lba, 0, blocks, 0)
    return _wrapper(tag, blocks * block_bytes, command)


def read_10(tag: int, lba: int, blocks: int, block_bytes: int = 512) -> bytes:
    """Return the wrapper of READ(10): ``blocks`` blocks from ``lba`` on, of LUN 0."""
    command = _COMMAND_10.pack(Opcode.READ_10, 0, lba, 0, blocks, 0)
    return _wrapper(tag, blocks * block_bytes, command, Direction.IN)


def synchronize_cache_10(tag: int) -> bytes:
    """Return the wrapper of SYNCHRONIZE CACHE(10) for the whole medium; it has no data."""
    return _wrapper(tag, 0, _COMMAND_10.pack(Opcode.SYNCHRONIZE_CACHE_10, 0, 0, 0, 0, 0))


def read_capacity_10(tag: int) -> bytes:
    """Return the wrapper of READ CAPACITY(10), which `CAPACITY_BYTES` answer."""
    command = _COMMAND_10.pack(Opcode.READ_CAPACITY_10, 0, 0, 0, 0, 0)
    return _wrapper(tag, CAPACITY_BYTES, command, Direction.IN)


def request_sense(tag: int) -> bytes:
    """Return the wrapper of REQUEST SENSE, which at most `SENSE_BYTES` answer."""
    command = bytes((Opcode.REQUEST_SENSE, 0, 0, 0, SENSE_BYTES, 0))
    return _wrapper(tag, SENSE_BYTES, command, Direction.IN)


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


def parse_capacity(octets: bytes) -> Capacity:
    """Read the answer to READ CAPACITY(10).

    Raises:
        RemoteProtocolError: It is none, or of a medium too large for commands of ten octets.
    """
    if len(octets) != CAPACITY_BYTES:
        raise RemoteProtocolError(f"{octets.hex(' ')} is no answer to READ CAPACITY(10).")
    last_lba, block_bytes = _CAPACITY.unpack(octets)
    if last_lba == 0xFFFFFFFF or not block_bytes:
        raise RemoteProtocolError(f"A medium of {octets.hex(' ')} is beyond READ CAPACITY(10).")
    return Capacity(last_lba, block_bytes)


def parse_sense(octets: bytes) -> SenseData:
    """Read sense data of either format (SPC-4 §4.5.2, §4.5.3); what is missing is 0.

    Raises:
        RemoteProtocolError: They are neither.
    """
    full = octets + bytes(max(SENSE_BYTES - len(octets), 0))
    code = full[0] & 0x7F
    if code in _FIXED_SENSE:
        _, _, key, information, _, asc, ascq = _FIXED_FORMAT.unpack_from(full)
        return SenseData(key & 0x0F, asc, ascq, information if full[0] & _VALID else None)
    if code in _DESCRIPTOR_SENSE:
        return SenseData(full[1] & 0x0F, full[2], full[3])
    raise RemoteProtocolError(f"{octets[:SENSE_BYTES].hex(' ')} is no sense data.")


def _wrapper(
    tag: int, data_bytes: int, command: bytes, direction: Direction = Direction.OUT
) -> bytes:
    flags = 0x80 if direction is Direction.IN else 0
    return _CBW.pack(b"USBC", tag, data_bytes, flags, 0, len(command), command)
