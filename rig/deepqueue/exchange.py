"""One Bulk-Only command with several URBs of data in flight: a state machine.  Pure.

The stages are those of BOT §5: the command wrapper goes out, the data move, the status comes in.
The data stage is one of ``usb_sg_wait`` (``drivers/usb/core/message.c``): every URB of it is queued
at once, and behind the first error all others are unlinked.  That the *kernel* unlinks them, in the
completion handler of the one that failed, is what `Submit.behind` asks for; the `Unlink` of what is
still out then is for a kernel that did not.

::

    COMMAND --- done ---> DATA --- all back ---> STATUS --- CSW ---> ended
       |                   | short, halt cleared ^  | halt cleared, nothing: once again
       +--- error ---------+--- error --------------+------------------> ended

What a stall or a short packet means is as in ``drivers/usb/storage/transport.c``
(``interpret_urb_result``, ``usb_stor_Bulk_transport``).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from rig.errors import RemoteProtocolError
from rig.usb.bot import CSW_BYTES, CommandStatus, Csw, parse_cbw, parse_csw
from rig.usb.bot_stages import Stage
from rig.usb.urb import Direction

_GONE = frozenset({-errno.ENODEV, -errno.ESHUTDOWN})
_SHORT = -errno.EREMOTEIO
_STALL = -errno.EPIPE

Buffer = bytearray | memoryview


class Submit(msgspec.Struct, frozen=True):
    """Queue an URB.

    Attributes:
        urb_id: Names it in what follows.
        direction: Which bulk endpoint.
        buffer: Its data, or where they go.
        behind: Take it back in the completion handler of one before it that fails.
        exact: A short packet is an error (``URB_SHORT_NOT_OK``).
    """

    urb_id: int
    direction: Direction
    buffer: Buffer
    behind: bool = False
    exact: bool = False


class Unlink(msgspec.Struct, frozen=True):
    """Take an URB back, unless it has ended; it is to be told as completed all the same."""

    urb_id: int


class ClearHalt(msgspec.Struct, frozen=True):
    """Clear the halt of a bulk endpoint, and tell `Exchange.cleared` how that went."""

    direction: Direction


Action = Submit | Unlink | ClearHalt


class Ending(StrEnum):
    """How a command ended."""

    PASSED = "passed"
    FAILED = "failed"
    """The device says so; it has sense data."""
    ERROR = "error"
    """The transport failed: device and host may disagree on what comes next."""
    TIMED_OUT = "timed-out"
    """It was given up; as for an error."""
    GONE = "gone"
    """There is no device any more."""


class PieceEnd(msgspec.Struct, frozen=True):
    """How an URB of the data stage ended: negative errno or 0, and what it moved."""

    status: int
    actual_bytes: int


class Ended(msgspec.Struct, frozen=True):
    """What became of a command.

    Attributes:
        ending: In a word.
        stage: In which stage.
        pieces: Every URB of the data stage, in order; one that was refused moved nothing.
        residue_bytes: What the device says that it has not used.
    """

    ending: Ending
    stage: Stage
    pieces: tuple[PieceEnd, ...] = ()
    residue_bytes: int = 0

    @property
    def moved_bytes(self) -> int:
        """Data that moved, before the first URB that ended early."""
        moved = 0
        for piece in self.pieces:
            moved += piece.actual_bytes
            if piece.status:
                break
        return moved

    @property
    def ran_behind(self) -> int:
        """URBs that moved data behind one that failed: the hazard, as the client sees it."""
        failed = next((n for n, piece in enumerate(self.pieces) if piece.status), len(self.pieces))
        return sum(1 for piece in self.pieces[failed + 1 :] if piece.actual_bytes)


class Exchange:
    """A command on its way.  Every method returns what is to be done next, in order.

    Args:
        wrapper: The command block wrapper.
        data: What goes out, or where comes in what comes: as long as the wrapper says.  None for
            a command without.
        urb_bytes: Of each URB of the data stage; the last may be smaller.
        first_urb_id: Of this command; as many as it needs follow.
        stall_is_error: A stall in the data stage ends the command, and no status is read.
    """

    def __init__(
        self,
        wrapper: bytes,
        data: Buffer | None = None,
        *,
        urb_bytes: int,
        first_urb_id: int,
        stall_is_error: bool = False,
    ) -> None:
        cbw = parse_cbw(wrapper)
        self.tag = cbw.tag
        self.ended: Ended | None = None
        self._direction = cbw.direction
        self._wrapper = bytearray(wrapper)
        self._data = memoryview(data if data is not None else b"")
        assert cbw.length_bytes == len(self._data)
        self._csw = bytearray(CSW_BYTES)
        self._urb_bytes = urb_bytes
        self._stall_is_error = stall_is_error
        self._stage = Stage.COMMAND
        self._next_id = first_urb_id
        self._order: list[int] = []
        self._out: set[int] = set()
        self._back: dict[int, PieceEnd] = {}
        self._unlinking = False
        self._timed_out = False
        self._asked_again = False
        self._pieces: tuple[PieceEnd, ...] = ()

    @property
    def next_urb_id(self) -> int:
        """The first number that this command has not used."""
        return self._next_id

    def begin(self) -> list[Action]:
        """Begin."""
        return list(self._queue(Direction.OUT, [self._wrapper]))

    def completed(self, urb_id: int, status: int, actual_bytes: int) -> list[Action]:
        """An URB was given back; one that is not out is none of ours, and ignored."""
        if urb_id not in self._out:
            return []
        self._out.remove(urb_id)
        self._back[urb_id] = PieceEnd(status, actual_bytes)
        return self._go_on(failed=status != 0)

    def refused(self, urb_id: int, status: int) -> list[Action]:
        """An URB could not be queued; nor may those behind it be, of the same list of actions."""
        for later in self._order[self._order.index(urb_id) :]:
            self._out.discard(later)
            self._back[later] = PieceEnd(status, 0)
        return self._go_on(failed=True)

    def expired(self) -> list[Action]:
        """It took too long: give it up."""
        if self.ended is not None:
            return []
        self._timed_out = True
        return self._go_on(failed=True)

    def cleared(self, status: int) -> list[Action]:
        """The halt of an endpoint was cleared, or could not be."""
        if self.ended is not None:
            return []
        if status:
            return self._end(Ending.GONE if status in _GONE else Ending.ERROR)
        return self._ask_status()

    def vanished(self) -> list[Action]:
        """The device is gone, and with it what was out."""
        for urb_id in self._order:
            self._back.setdefault(urb_id, PieceEnd(-errno.ENODEV, 0))
        self._out.clear()
        return self._end(Ending.GONE)

    def _queue(
        self, direction: Direction, buffers: list[Buffer], *, exact: bool = False
    ) -> Iterator[Action]:
        numbers = range(self._next_id, self._next_id + len(buffers))
        self._next_id = numbers.stop
        self._order, self._out, self._back = list(numbers), set(numbers), {}
        self._unlinking = False
        for place, (urb_id, buffer) in enumerate(zip(numbers, buffers, strict=True)):
            yield Submit(urb_id, direction, buffer, behind=place > 0, exact=exact)

    def _go_on(self, *, failed: bool) -> list[Action]:
        if not self._out:
            return self._stage_is_over()
        if not failed or self._unlinking:
            return []
        self._unlinking = True
        # The last first (`usb_sg_cancel`): none may run because the one before it is gone.
        return [Unlink(urb_id) for urb_id in reversed(self._order) if urb_id in self._out]

    def _stage_is_over(self) -> list[Action]:
        ends = tuple(self._back[urb_id] for urb_id in self._order if urb_id in self._back)
        if self._stage is Stage.DATA:
            self._pieces = ends
        # The first in the order of the queue: those behind it were unlinked, or refused, for it.
        status = next((end.status for end in ends if end.status), 0)
        if self._timed_out:
            return self._end(Ending.TIMED_OUT)
        if status in _GONE:
            return self._end(Ending.GONE)
        match self._stage:
            case Stage.COMMAND:
                return self._end(Ending.ERROR) if status else self._move_data()
            case Stage.DATA:
                return self._after_data(status)
            case Stage.STATUS:
                return self._after_status(status, ends[0].actual_bytes)

    def _move_data(self) -> list[Action]:
        if not self._data:
            return self._ask_status()
        self._stage = Stage.DATA
        starts = range(0, len(self._data), self._urb_bytes)
        pieces: list[Buffer] = [self._data[at : at + self._urb_bytes] for at in starts]
        return list(self._queue(self._direction, pieces, exact=self._direction is Direction.IN))

    def _after_data(self, status: int) -> list[Action]:
        if status == 0 or (status == _SHORT and self._direction is Direction.IN):
            return self._ask_status()
        if status == _STALL and not self._stall_is_error:
            return [ClearHalt(self._direction)]
        return self._end(Ending.ERROR)

    def _ask_status(self) -> list[Action]:
        self._stage = Stage.STATUS
        return list(self._queue(Direction.IN, [self._csw]))

    def _after_status(self, status: int, actual_bytes: int) -> list[Action]:
        if not self._asked_again and (status == _STALL or (status == 0 and actual_bytes == 0)):
            self._asked_again = True
            return [ClearHalt(Direction.IN)] if status else self._ask_status()
        csw = None if status else _read_csw(bytes(self._csw[:actual_bytes]), self.tag)
        if csw is None or csw.status not in (CommandStatus.PASSED, CommandStatus.FAILED):
            return self._end(Ending.ERROR)
        passed = csw.status == CommandStatus.PASSED
        return self._end(Ending.PASSED if passed else Ending.FAILED, csw.residue_bytes)

    def _end(self, ending: Ending, residue_bytes: int = 0) -> list[Action]:
        if self._stage is Stage.DATA and not self._pieces:
            self._pieces = tuple(self._back[urb_id] for urb_id in self._order)
        self.ended = Ended(ending, self._stage, self._pieces, residue_bytes)
        return []


def _read_csw(octets: bytes, tag: int) -> Csw | None:
    """Return a status that is valid and meant for this command (BOT §6.3), or None."""
    try:
        csw = parse_csw(octets)
    except RemoteProtocolError:
        return None
    return csw if csw.tag == tag else None
