"""The SCSI logical unit of the bulk-only disk: a command block in, what to do out.

Direct-access block device, one logical unit, blocks of 512 octets.  SCSI Primary Commands (SPC-4)
and Block Commands (SBC-3); the set of commands is what Linux's usb-storage and sd send.  Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar

import msgspec

from rig.usb.bot import SenseData
from rig.usb.urb import Direction

BLOCK_BYTES = 512
_LAST_OF_32_BITS = 2**32 - 1


class Opcode(IntEnum):
    """Operation codes (SPC-4 annex D)."""

    TEST_UNIT_READY = 0x00
    REQUEST_SENSE = 0x03
    INQUIRY = 0x12
    MODE_SENSE_6 = 0x1A
    START_STOP_UNIT = 0x1B
    PREVENT_ALLOW = 0x1E
    READ_CAPACITY_10 = 0x25
    READ_10 = 0x28
    WRITE_10 = 0x2A
    VERIFY_10 = 0x2F
    SYNCHRONIZE_CACHE_10 = 0x35
    MODE_SENSE_10 = 0x5A
    READ_16 = 0x88
    WRITE_16 = 0x8A
    VERIFY_16 = 0x8F
    SYNCHRONIZE_CACHE_16 = 0x91
    SERVICE_ACTION_IN_16 = 0x9E
    REPORT_LUNS = 0xA0


COMMAND_BYTES = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}
"""Length of a command block by the three upper bits of its operation code (SPC-4 §4.2.5.1)."""


NO_SENSE = SenseData(0x0, 0x00, 0x00)
MEDIUM_NOT_PRESENT = SenseData(0x2, 0x3A, 0x00)
WRITE_ERROR = SenseData(0x3, 0x0C, 0x00)
READ_ERROR = SenseData(0x3, 0x11, 0x00)
COMMUNICATION_FAILURE = SenseData(0x4, 0x08, 0x00)
INVALID_OPCODE = SenseData(0x5, 0x20, 0x00)
LBA_OUT_OF_RANGE = SenseData(0x5, 0x21, 0x00)
INVALID_FIELD = SenseData(0x5, 0x24, 0x00)
NO_SUCH_UNIT = SenseData(0x5, 0x25, 0x00)
MEDIUM_CHANGED = SenseData(0x6, 0x28, 0x00)
RESET_OCCURRED = SenseData(0x6, 0x29, 0x00)


class Nothing(msgspec.Struct, frozen=True):
    """Done already, without data."""

    direction: ClassVar[Direction | None] = None
    length_bytes: ClassVar[int] = 0


class Refuse(msgspec.Struct, frozen=True):
    """Nothing was done: CHECK CONDITION."""

    sense: SenseData
    direction: ClassVar[Direction | None] = None
    length_bytes: ClassVar[int] = 0


class Give(msgspec.Struct, frozen=True):
    """The host is to get these octets."""

    octets: bytes
    direction: ClassVar[Direction | None] = Direction.IN

    @property
    def length_bytes(self) -> int:
        """Of the data."""
        return len(self.octets)


class Read(msgspec.Struct, frozen=True):
    """The host is to get blocks of the medium."""

    lba: int
    blocks: int
    direction: ClassVar[Direction | None] = Direction.IN

    @property
    def length_bytes(self) -> int:
        """Of the data."""
        return self.blocks * BLOCK_BYTES


class Write(msgspec.Struct, frozen=True):
    """The host gives blocks of the medium; `force` brings them to the medium before the status."""

    lba: int
    blocks: int
    force: bool = False
    direction: ClassVar[Direction | None] = Direction.OUT

    @property
    def length_bytes(self) -> int:
        """Of the data."""
        return self.blocks * BLOCK_BYTES


class Verify(msgspec.Struct, frozen=True):
    """Blocks of the medium are to be read, for the host gets to know whether they can be."""

    lba: int
    blocks: int
    direction: ClassVar[Direction | None] = None
    length_bytes: ClassVar[int] = 0


class Flush(msgspec.Struct, frozen=True):
    """All that was written is to be brought to the medium."""

    direction: ClassVar[Direction | None] = None
    length_bytes: ClassVar[int] = 0


Task = Nothing | Refuse | Give | Read | Write | Verify | Flush
"""What a command asks for; `direction` and `length_bytes` are those of the data that the device
intends to move."""

_AT_10 = struct.Struct(">xxIxHx")  # LBA and number of blocks: SBC-3 §5.8
_AT_16 = struct.Struct(">xxQIxx")  # SBC-3 §5.11
_EXTENTS: dict[int, struct.Struct] = {
    Opcode.READ_10: _AT_10,
    Opcode.WRITE_10: _AT_10,
    Opcode.VERIFY_10: _AT_10,
    Opcode.READ_16: _AT_16,
    Opcode.WRITE_16: _AT_16,
    Opcode.VERIFY_16: _AT_16,
}


def extent(command: bytes) -> tuple[int, int] | None:
    """LBA and number of blocks that a command is about; None if about none, or if it is cut off."""
    layout = _EXTENTS.get(command[0])
    if layout is None or len(command) < layout.size:
        return None
    lba, blocks = layout.unpack_from(command)
    return lba, blocks


class Unit:
    """The logical unit: what it is, whether its medium is in, and what it has to say.

    Args:
        block_count: Of the medium.
        inquiry: 28 characters: vendor, product, revision (SPC-4 §6.4.2).
        removable: Whether it says that its medium can be taken out.
    """

    def __init__(self, block_count: int, inquiry: str, *, removable: bool = False) -> None:
        self.block_count = block_count
        self.removable = removable
        self.present = True
        self._inquiry = inquiry.encode("ascii")
        self._attention: SenseData | None = None
        self._sense = NO_SENSE

    def was_reset(self) -> None:
        """The next command is told so (SAM-5 §5.14: unit attention)."""
        self._attention = RESET_OCCURRED
        self._sense = NO_SENSE

    def eject(self) -> None:
        """Take the medium out."""
        self.present = False

    def insert(self) -> None:
        """Put the medium in; the next command is told."""
        self.present = True
        self._attention = MEDIUM_CHANGED

    def fail(self, sense: SenseData) -> None:
        """Keep why a command failed until REQUEST SENSE, or another command, comes."""
        self._sense = sense

    def task(self, lun: int, command: bytes) -> Task:
        """Say what a command asks for.

        A reason to refuse it is returned, not kept: whoever answers the command calls `fail`.

        Args:
            lun: To which it was sent; there is only 0.
            command: The command block, 1 octet at least; any octets.
        """
        task = self._task(lun, command)
        if command[0] != Opcode.REQUEST_SENSE:
            self._sense = NO_SENSE
        return task

    def _task(self, lun: int, command: bytes) -> Task:
        handler = _HANDLERS.get(command[0])
        if lun:
            return _absent(command)
        if handler is None:
            return Refuse(INVALID_OPCODE)
        if len(command) < COMMAND_BYTES[command[0] >> 5]:
            return Refuse(INVALID_FIELD)
        if command[0] not in _ALWAYS:
            if self._attention is not None:
                attention, self._attention = self._attention, None
                return Refuse(attention)
            if not self.present and command[0] in _OF_THE_MEDIUM:
                return Refuse(MEDIUM_NOT_PRESENT)
        return handler(self, command)

    def request_sense(self, command: bytes) -> Task:
        """REQUEST SENSE, SPC-4 §6.39; descriptor format is not offered."""
        sense, self._sense = self._sense, NO_SENSE
        if sense == NO_SENSE and self._attention is not None:
            sense, self._attention = self._attention, None
        return Give(sense.pack()[: command[4]])

    def inquiry(self, command: bytes) -> Task:
        """INQUIRY, SPC-4 §6.4, without vital product data."""
        if command[1] & 0x01 or command[2]:
            return Refuse(INVALID_FIELD)
        length = int.from_bytes(command[3:5], "big")
        # Disk; removable?; SPC-2; response data format 2; 31 octets follow.
        head = bytes((0x00, 0x80 if self.removable else 0x00, 0x04, 0x02, 31, 0, 0, 0))
        return Give((head + self._inquiry)[:length])

    def mode_sense(self, command: bytes) -> Task:
        """MODE SENSE(6) and (10), SPC-4 §6.11: the caching page alone."""
        page, subpage, control = command[2] & 0x3F, command[3], command[2] >> 6
        if page not in (0x08, 0x3F) or subpage not in (0x00, 0xFF) or control == 3:
            return Refuse(INVALID_FIELD)
        # Caching (SBC-3 §6.4.5): a write cache that cannot be switched off.
        pages = bytes((0x08, 0x0A, 0x04 if control != 1 else 0x00)).ljust(12, b"\0")
        dpo_fua = 0x10  # FUA is obeyed: SBC-3 §6.4.1
        if command[0] == Opcode.MODE_SENSE_6:
            return Give((bytes((len(pages) + 3, 0, dpo_fua, 0)) + pages)[: command[4]])
        head = struct.pack(">HBB4x", len(pages) + 6, 0, dpo_fua)
        return Give((head + pages)[: int.from_bytes(command[7:9], "big")])

    def start_stop(self, command: bytes) -> Task:
        """START STOP UNIT, SBC-3 §5.25: loads and ejects, if the medium is removable."""
        load_eject, start = command[4] & 0x02, command[4] & 0x01
        if load_eject and self.removable:
            if start:
                self.insert()
            else:
                self.eject()
        return Nothing()

    def read_capacity_10(self, command: bytes) -> Task:
        """READ CAPACITY(10), SBC-3 §5.15."""
        del command
        last_lba = min(self.block_count - 1, _LAST_OF_32_BITS)
        return Give(struct.pack(">II", last_lba, BLOCK_BYTES))

    def service_action_in(self, command: bytes) -> Task:
        """READ CAPACITY(16), SBC-3 §5.16, the only service action."""
        if command[1] & 0x1F != 0x10:
            return Refuse(INVALID_FIELD)
        length = int.from_bytes(command[10:14], "big")
        return Give(struct.pack(">QI20x", self.block_count - 1, BLOCK_BYTES)[:length])

    def read(self, command: bytes) -> Task:
        """READ(10) and (16), SBC-3 §5.11."""
        lba, blocks = extent(command) or (0, 0)
        return self._within(lba, blocks) or Read(lba, blocks)

    def write(self, command: bytes) -> Task:
        """WRITE(10) and (16), SBC-3 §5.32."""
        lba, blocks = extent(command) or (0, 0)
        force = bool(command[1] & 0x08)  # FUA
        return self._within(lba, blocks) or Write(lba, blocks, force)

    def verify(self, command: bytes) -> Task:
        """VERIFY(10) and (16), SBC-3 §5.28, without comparison to data of the host."""
        if command[1] & 0x06:  # BYTCHK
            return Refuse(INVALID_FIELD)
        lba, blocks = extent(command) or (0, 0)
        return self._within(lba, blocks) or Verify(lba, blocks)

    def _within(self, lba: int, blocks: int) -> Task | None:
        """What is to be said of blocks, if they are not to be accessed."""
        if lba + blocks > self.block_count:
            return Refuse(LBA_OUT_OF_RANGE)
        return Nothing() if blocks == 0 else None


def _absent(command: bytes) -> Task:
    """Answer for a logical unit that does not exist (SPC-4 §6.4.1 and §6.39)."""
    if command[0] == Opcode.INQUIRY and len(command) >= COMMAND_BYTES[0]:
        length = int.from_bytes(command[3:5], "big")
        return Give(bytes((0x7F, 0, 0x04, 0x02, 31)).ljust(36, b"\0")[:length])
    if command[0] == Opcode.REQUEST_SENSE and len(command) >= COMMAND_BYTES[0]:
        return Give(NO_SUCH_UNIT.pack()[: command[4]])
    return Refuse(NO_SUCH_UNIT)


def _nothing(unit: Unit, command: bytes) -> Task:
    del unit, command
    return Nothing()


def _flush(unit: Unit, command: bytes) -> Task:
    # A range may be named, but flushing more is allowed (SBC-3 §5.21).
    del unit, command
    return Flush()


def _report_luns(unit: Unit, command: bytes) -> Task:
    """REPORT LUNS, SPC-4 §6.33: LUN 0."""
    del unit
    length = int.from_bytes(command[6:10], "big")
    return Give(struct.pack(">I4xQ", 8, 0)[:length])


_HANDLERS: dict[int, Callable[[Unit, bytes], Task]] = {
    Opcode.TEST_UNIT_READY: _nothing,
    Opcode.REQUEST_SENSE: Unit.request_sense,
    Opcode.INQUIRY: Unit.inquiry,
    Opcode.MODE_SENSE_6: Unit.mode_sense,
    Opcode.START_STOP_UNIT: Unit.start_stop,
    Opcode.PREVENT_ALLOW: _nothing,
    Opcode.READ_CAPACITY_10: Unit.read_capacity_10,
    Opcode.READ_10: Unit.read,
    Opcode.WRITE_10: Unit.write,
    Opcode.VERIFY_10: Unit.verify,
    Opcode.SYNCHRONIZE_CACHE_10: _flush,
    Opcode.MODE_SENSE_10: Unit.mode_sense,
    Opcode.READ_16: Unit.read,
    Opcode.WRITE_16: Unit.write,
    Opcode.VERIFY_16: Unit.verify,
    Opcode.SYNCHRONIZE_CACHE_16: _flush,
    Opcode.SERVICE_ACTION_IN_16: Unit.service_action_in,
    Opcode.REPORT_LUNS: _report_luns,
}

_ALWAYS = (Opcode.INQUIRY, Opcode.REQUEST_SENSE, Opcode.REPORT_LUNS)
"""Carried out even while a unit attention waits (SAM-5 §5.14)."""

_OF_THE_MEDIUM = {
    Opcode.TEST_UNIT_READY,
    Opcode.READ_CAPACITY_10,
    Opcode.SERVICE_ACTION_IN_16,
    *_EXTENTS,
    Opcode.SYNCHRONIZE_CACHE_10,
    Opcode.SYNCHRONIZE_CACHE_16,
}
