"""The model: for every sector of every file, what may lie there.

The workload tells each write before it begins and how it ended, and each fsync; the ledger keeps,
per sector, the last write that an fsync confirmed and the later ones that may or may not have
arrived::

    write_started ──► in flight ──► returned ──(fsync returned 0)──► sure; older ones superseded
                          │             └──────(fsync failed)──────► errored
                          └──(write failed)────────────────────────► errored

A buffered write is acknowledged only when fsync has returned 0.  A write that failed, or whose
fsync failed, may have arrived in whole, in part or not at all, and a later fsync that returns 0
does *not* confirm it: Linux reports a write-back error once and marks the pages clean
(Documentation/filesystems/vfs.rst, "Handling errors during writeback").  Old and new stay both
legal until a newer write of the sector is confirmed.

Events are small and carry no time, so that the machine that writes can send them as it goes, and
the model survives the machine.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import msgspec

from rig.errors import ApiViolationError


class WriteStarted(msgspec.Struct, frozen=True, array_like=True, tag="started"):
    """A write call is about to begin; sent before it does.

    Attributes:
        file_id: Which file.
        first_sector: Where in the file, in sectors of 512 bytes.
        count: How many sectors.
        generation: That its stamps carry.
        sequence: Number of the write call; unique, growing.
    """

    file_id: int
    first_sector: int
    count: int
    generation: int
    sequence: int


class WriteReturned(msgspec.Struct, frozen=True, array_like=True, tag="returned"):
    """The write call took all its bytes."""

    file_id: int
    sequence: int


class WriteFailed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The write call ended in an error (a positive errno)."""

    file_id: int
    sequence: int
    errno: int


class Flushed(msgspec.Struct, frozen=True, array_like=True, tag="flushed"):
    """Fsync of the file returned 0, begun after every write that had returned so far."""

    file_id: int


class FlushFailed(msgspec.Struct, frozen=True, array_like=True, tag="flush_failed"):
    """Fsync of the file ended in an error (a positive errno)."""

    file_id: int
    errno: int


Event = WriteStarted | WriteReturned | WriteFailed | Flushed | FlushFailed


def decode_events(entries: object) -> list[Event]:
    """Read events as they came over JSON.

    Raises:
        msgspec.ValidationError: They are none.
    """
    return msgspec.convert(entries, list[Event])


class AttemptStatus(StrEnum):
    """How far a write came."""

    IN_FLIGHT = "in flight"
    RETURNED = "returned"
    ERRORED = "errored"


class Attempt(NamedTuple):
    """One write, as one of its sectors sees it."""

    generation: int
    sequence: int
    status: AttemptStatus


class SectorState(NamedTuple):
    """What may lie in one sector.

    Attributes:
        sure: The last write that an fsync confirmed; None if there was none yet.
        open: Later writes, in order, that may have arrived.
        superseded: Earlier writes, in order: none of them is legal any more.
        previous: Sequence of the confirmed write before ``sure``; 0 if there was none.
    """

    sure: Attempt | None = None
    open: tuple[Attempt, ...] = ()
    superseded: tuple[Attempt, ...] = ()
    previous: int = 0

    @property
    def legal(self) -> tuple[Attempt, ...]:
        """Every write whose stamp may lie here."""
        return self.open if self.sure is None else (self.sure, *self.open)


UNWRITTEN = SectorState()


class _Span(NamedTuple):
    first: int
    end: int


class _File:
    """The states of one file's sectors, and the writes that are not confirmed."""

    def __init__(self) -> None:
        self.states: list[SectorState] = []
        self.spans: dict[int, _Span] = {}
        self.unconfirmed: dict[int, AttemptStatus] = {}
        self.last_sequence = 0

    def update(self, span: _Span, change: Callable[[SectorState], SectorState]) -> None:
        """Change the states in ``span``; equal ones become one object, so memory stays small."""
        memo: dict[SectorState, SectorState] = {}
        states = self.states
        for sector in range(span.first, span.end):
            old = states[sector]
            new = memo.get(old)
            if new is None:
                new = memo[old] = change(old)
            states[sector] = new


class Ledger:
    """The model of all files of one run."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}

    @property
    def files(self) -> list[int]:
        """The ids of the files that were written, in order."""
        return sorted(self._files)

    def states(self, file_id: int) -> list[SectorState]:
        """The states of a file's sectors, from its first to the last that was written.

        A file that the ledger does not know has none.
        """
        file = self._files.get(file_id)
        return file.states if file else []

    def apply_all(self, events: Iterable[Event]) -> None:
        """Apply events in order.  See `apply`."""
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take one event.

        Raises:
            ApiViolationError: It ends a write that was not begun, or begins one twice, or out of
                order; nothing is changed.
        """
        match event:
            case WriteStarted():
                self._started(event)
            case WriteReturned():
                self._ended(event, AttemptStatus.RETURNED)
            case WriteFailed():
                self._ended(event, AttemptStatus.ERRORED)
            case Flushed():
                self._flushed(event)
            case FlushFailed():
                self._flush_failed(event)

    def _started(self, event: WriteStarted) -> None:
        file = self._files.setdefault(event.file_id, _File())
        if event.sequence <= file.last_sequence:
            raise ApiViolationError(
                f"Write {event.sequence} of file {event.file_id} begins after a later one."
            )
        span = _Span(event.first_sector, event.first_sector + event.count)
        file.states.extend([UNWRITTEN] * (span.end - len(file.states)))
        file.spans[event.sequence] = span
        file.last_sequence = event.sequence
        file.unconfirmed[event.sequence] = AttemptStatus.IN_FLIGHT
        attempt = Attempt(event.generation, event.sequence, AttemptStatus.IN_FLIGHT)
        file.update(span, lambda state: state._replace(open=(*state.open, attempt)))

    def _ended(self, event: WriteReturned | WriteFailed, status: AttemptStatus) -> None:
        file = self._files.get(event.file_id)
        if file is None or file.unconfirmed.get(event.sequence) != AttemptStatus.IN_FLIGHT:
            raise ApiViolationError(
                f"Write {event.sequence} of file {event.file_id} ends, but is not in flight."
            )
        _set_status(file, event.sequence, status)

    def _flushed(self, event: Flushed) -> None:
        file = self._files.get(event.file_id, _File())
        for sequence, status in list(file.unconfirmed.items()):
            if status is AttemptStatus.RETURNED:
                file.update(file.spans[sequence], partial(_confirmed, sequence))
                del file.unconfirmed[sequence]

    def _flush_failed(self, event: FlushFailed) -> None:
        file = self._files.get(event.file_id, _File())
        for sequence, status in list(file.unconfirmed.items()):
            if status is AttemptStatus.RETURNED:
                _set_status(file, sequence, AttemptStatus.ERRORED)


def _set_status(file: _File, sequence: int, status: AttemptStatus) -> None:
    def change(state: SectorState) -> SectorState:
        marked = (a._replace(status=status) if a.sequence == sequence else a for a in state.open)
        return state._replace(open=tuple(marked))

    file.update(file.spans[sequence], change)
    if status is AttemptStatus.ERRORED:
        # No fsync can confirm it any more.
        del file.unconfirmed[sequence]
    else:
        file.unconfirmed[sequence] = status


def _confirmed(sequence: int, state: SectorState) -> SectorState:
    """The state once write ``sequence`` is on the medium: what had ended before is superseded."""
    sure = next(a for a in state.open if a.sequence == sequence)
    under = [a for a in state.open if a.sequence < sequence]
    ended = tuple(a for a in under if a.status is not AttemptStatus.IN_FLIGHT)
    still_open = tuple(a for a in state.open if a is not sure and a not in ended)
    before = () if state.sure is None else (state.sure,)
    previous = 0 if state.sure is None else state.sure.sequence
    return SectorState(sure, still_open, state.superseded + before + ended, previous)
