"""A bulk-only disk, transfer by transfer.  Pure."""

from __future__ import annotations

import errno
import struct
from enum import Enum, auto

from rig.errors import RemoteProtocolError
from rig.integrity.stamp import SECTOR_BYTES
from rig.tests.mutants.medium import Medium
from rig.usb.bot import Cbw, CommandStatus, Csw, parse_cbw

READ_10, WRITE_10, SYNCHRONIZE_CACHE = 0x28, 0x2A, 0x35  # SBC-3
TEST_UNIT_READY = 0x00  # SPC-4
_PLACE = struct.Struct(">BBIBH")  # of READ(10) and WRITE(10)


class State(Enum):
    """What it waits for."""

    COMMAND = auto()
    TAKES = auto()
    GIVES = auto()
    STATUS = auto()
    HALTED = auto()


class Disk:
    """Carries commands out; correct.

    It stores what comes behind what came before, as ``f_mass_storage`` does: an URB that is
    missing, or comes too early, moves all that follows.
    """

    def __init__(self, medium: Medium) -> None:
        self.medium = medium
        self.state = State.COMMAND
        self.lba = 0
        self._left_bytes = 0
        self._held = b""
        self._to_give = b""
        self._tag = 0
        self._status = CommandStatus.PASSED

    @property
    def takes(self) -> bool:
        """Whether it answers an OUT transfer; otherwise it NAKs."""
        return self.state in (State.COMMAND, State.TAKES, State.HALTED)

    @property
    def gives(self) -> bool:
        """Whether it answers an IN transfer."""
        return self.state in (State.GIVES, State.STATUS, State.HALTED)

    def reset(self) -> None:
        """A port reset, or a new configuration."""
        self.state, self._held, self._to_give = State.COMMAND, b"", b""

    def take(self, data: bytes, *, cut_off: bool = False) -> int:
        """Take an OUT transfer; returns its status.

        Args:
            data: What has moved.
            cut_off: More was to come: what is short does not end the data.
        """
        if self.state is State.HALTED:
            return -errno.EPIPE
        if self.state is State.COMMAND:
            if not cut_off:
                return self._begin(data)
        elif self.state is State.TAKES:
            self._take_data(data, ends=not cut_off and len(data) % SECTOR_BYTES != 0)
        return 0

    def give(self, length: int) -> tuple[int, bytes]:
        """Answer an IN transfer of that length."""
        if self.state is State.HALTED:
            return -errno.EPIPE, b""
        if self.state is State.GIVES:
            data, self._to_give = self._to_give[:length], self._to_give[length:]
            if not self._to_give:
                self.state = State.STATUS
            return 0, data
        self.state = State.COMMAND
        return 0, self.status(self._tag, self._left_bytes)[:length]

    # What mutants change.

    def place(self, lba: int, opcode: int) -> int:
        """Return where a command works."""
        return lba

    def store(self, lba: int, data: bytes) -> bool:
        """Write whole sectors; tell whether that went well."""
        return not self.medium.write(lba, data)

    def fetch(self, lba: int, count: int) -> tuple[bool, bytes]:
        """Read sectors, for one command."""
        error, data = self.medium.read(lba, count)
        return not error, data

    def flush(self) -> bool:
        """Make all safe; tell whether that went well."""
        return not self.medium.flush()

    def status(self, tag: int, residue_bytes: int) -> bytes:
        """Return the status wrapper."""
        return Csw(tag, residue_bytes, self._status).pack()

    # The commands.

    def _begin(self, data: bytes) -> int:
        try:
            cbw = parse_cbw(data)
        except RemoteProtocolError:
            self.state = State.HALTED
            return -errno.EPIPE
        self._tag, self._status = cbw.tag, CommandStatus.PASSED
        self._left_bytes, self._held = 0, b""
        self._carry_out(cbw)
        return 0

    def _carry_out(self, cbw: Cbw) -> None:
        opcode = cbw.command[0]
        self.state = State.STATUS
        if opcode == SYNCHRONIZE_CACHE:
            self._judge(self.flush())
        if opcode in (SYNCHRONIZE_CACHE, TEST_UNIT_READY):
            return
        _, _, lba, _, blocks = _PLACE.unpack_from(cbw.command)
        self.lba = self.place(lba, opcode)
        if opcode == WRITE_10:
            self.state, self._left_bytes = State.TAKES, cbw.length_bytes
            return
        went_well, self._to_give = self.fetch(self.lba, blocks)
        self._judge(went_well)
        # Zeros in place of what cannot be read: this model halts nothing for it.
        self._to_give = self._to_give.ljust(cbw.length_bytes, b"\0")
        self.state = State.GIVES

    def _take_data(self, data: bytes, *, ends: bool) -> None:
        self._left_bytes -= len(data)
        self._held += data
        whole = len(self._held) // SECTOR_BYTES * SECTOR_BYTES
        if whole:
            self._judge(self.store(self.lba, self._held[:whole]))
            self.lba += whole // SECTOR_BYTES
            self._held = self._held[whole:]
        if self._left_bytes <= 0 or ends:
            self._judge(self._left_bytes == 0)
            self._left_bytes = max(0, self._left_bytes)
            self.state = State.STATUS

    def _judge(self, went_well: bool) -> None:
        if not went_well:
            self._status = CommandStatus.FAILED
