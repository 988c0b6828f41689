"""Follows the stages of Bulk-Only commands in a stream of bulk transfers.  Pure.

Only what is known *before* a transfer runs is used: its direction, the size of its buffer, and OUT
data.  So a fault can be planned for a stage, and the back end and the wire see the same stages.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rig.errors import RemoteProtocolError
from rig.usb.bot import CBW_BYTES, CSW_BYTES, parse_cbw
from rig.usb.urb import Direction


class Stage(StrEnum):
    """A stage of a command (BOT §5)."""

    COMMAND = "command"
    """The CBW goes out."""
    DATA = "data"
    STATUS = "status"
    """The CSW comes in; also when it is asked for again."""


class StageOf(msgspec.Struct, frozen=True):
    """A stage, and the SCSI operation code of the command that it belongs to; None: not known."""

    stage: Stage | None = None
    opcode: int | None = None


class StageTracker:
    """Tells the stage of each bulk transfer of one bulk-only function, in order of submission.

    A valid CBW always begins a command: behind an error the host gives the old one up without a
    further sign on the bulk pipes (reset recovery, BOT §5.3.4).  A data stage may be split into
    several transfers; it is over when the host has asked for all that the CBW promised, or asks for
    exactly a CSW's size.
    """

    def __init__(self) -> None:
        self._opcode: int | None = None
        self._direction = Direction.OUT
        self._left_bytes = 0
        self._in_data = False

    def see(
        self, direction: Direction, length_bytes: int, data: bytes | bytearray | memoryview = b""
    ) -> StageOf:
        """Take the next transfer into account.

        Args:
            direction: Of its endpoint.
            length_bytes: Of its buffer.
            data: What an OUT transfer carries; only the first octets are looked at.

        Returns:
            Its stage, which is not known before the first CBW.
        """
        if self._begins_command(direction, length_bytes, data):
            stage = Stage.COMMAND
        elif self._is_data(direction, length_bytes):
            stage = Stage.DATA
            self._in_data = True
            self._left_bytes -= length_bytes
        else:
            stage = Stage.STATUS
            self._left_bytes = 0
        return StageOf() if self._opcode is None else StageOf(stage, self._opcode)

    def _begins_command(
        self, direction: Direction, length_bytes: int, data: bytes | bytearray | memoryview
    ) -> bool:
        if direction is not Direction.OUT or length_bytes != CBW_BYTES:
            return False
        try:
            cbw = parse_cbw(bytes(data[:CBW_BYTES]))
        except RemoteProtocolError:
            return False
        self._opcode = cbw.command[0]
        self._direction = cbw.direction
        self._left_bytes = cbw.length_bytes
        self._in_data = False
        return True

    def _is_data(self, direction: Direction, length_bytes: int) -> bool:
        if direction is Direction.OUT:
            return True  # OUT is a CBW or data, never a status
        if self._direction is Direction.OUT or self._left_bytes <= 0:
            return False
        # After a short packet the host asks for the status although data are missing.
        return length_bytes != CSW_BYTES or not (self._in_data or self._left_bytes > CSW_BYTES)
