"""The model: for every sector of every file, what may lie there.

A workload tells each write before it begins and how it ended, and each fsync (`rig.integrity.
ledger`).  A write's status, and what that makes of the writes before it::

    started ─► in flight ─► acknowledged ──(fsync returned 0)──► flushed: the floor.  What had
                   │             │                               ended before it began is superseded
                   │             ├──(fsync failed)─────────────► errored
                   │             └──(the cache was lost)───────► unsettled
                   └──(write failed)───────────────────────────► errored

Every write of a sector that is not superseded is *alive*: it may be what lies there.  An
acknowledged write through the page cache proves nothing.  An acknowledged *direct* write proves
that the device has it, which a reader must see (`Expectations`, ``settled``) until the device
loses its volatile cache: then any mix of what is alive is legal, down to the floor.

A write that failed, whose fsync failed, or that the cache lost may have arrived in whole, in part
or not at all, and a later fsync that returns 0 does *not* confirm it: Linux reports a write-back
error once and marks the pages clean (Documentation/filesystems/vfs.rst, "Handling errors during
writeback").  Old and new stay both legal until a newer write of the sector is confirmed.

Per file an array of int32 names each sector's cell; equal neighbours share one.  Pure, and only
for the station: it needs numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from rig.errors import ApiViolationError
from rig.integrity.ledger import (
    CacheLost,
    Event,
    Flushed,
    FlushFailed,
    FlushStarted,
    WriteFailed,
    WriteReturned,
    WriteStarted,
)

Cells = NDArray[np.int32]


class WriteStatus(StrEnum):
    """How far a write came."""

    IN_FLIGHT = "in flight"
    ACKNOWLEDGED = "acknowledged"
    FLUSHED = "flushed"
    ERRORED = "errored"
    UNSETTLED = "unsettled"


class Write(msgspec.Struct, eq=False):
    """One write call.

    Attributes:
        first_sector: Of the file.
        count: How many sectors.
        generation: That its stamps carry.
        sequence: Its number.
        direct: It went past the page cache.
        started: When, by the number of the event.
        ended: Likewise; 0 if it has not.
        status: How far it came.
        shaken: The cache was lost while it was in flight.
    """

    first_sector: int
    count: int
    generation: int
    sequence: int
    direct: bool
    started: int
    ended: int = 0
    status: WriteStatus = WriteStatus.IN_FLIGHT
    shaken: bool = False

    def precedes(self, other: Write) -> bool:
        """Whether it had ended when the other one began: then the other one lies over it."""
        return 0 < self.ended < other.started

    def covers(self, sector: int) -> bool:
        """Whether it wrote a sector of its file."""
        return self.first_sector <= sector < self.first_sector + self.count


class Cell(NamedTuple):
    """What may lie in a sector, by the numbers of writes.

    Attributes:
        alive: Writes that are not superseded, in the order of their starts.
        based: A flush confirmed one of them: what lay there before any write is not legal.
        previous: The confirmed write before that one; 0 if there was none.
    """

    alive: tuple[int, ...] = ()
    based: bool = False
    previous: int = 0


class Legal(NamedTuple):
    """What may lie in a sector.

    Attributes:
        writes: Whose stamp may be there, in the order of their starts.
        based: Nothing else is legal; else also what was there before all of them.
        previous: Number of the promised write before; a stamp at least as new as it is ``lost``
            rather than ``stale``.
    """

    writes: tuple[Write, ...] = ()
    based: bool = False
    previous: int = 0

    @property
    def only(self) -> Write | None:
        """The one write that must be there, if there is one."""
        return self.writes[0] if self.based and len(self.writes) == 1 else None


NOTHING = Legal()


class _File:
    """The cells of one file's sectors, and its writes."""

    def __init__(self) -> None:
        self.size = 0
        self.table = [Cell()]
        self.writes: dict[int, Write] = {}
        self.waiting: dict[int, Write] = {}
        """In flight or acknowledged: what an event may still change."""
        self.flushes: dict[int, int] = {}
        self.last_sequence = 0
        self._index = {Cell(): 0}
        self._cells: Cells = np.zeros(0, np.int32)

    @property
    def cells(self) -> Cells:
        """Of each sector the number of its cell in the table."""
        return self._cells[: self.size]

    def grow(self, size: int) -> None:
        if size > len(self._cells):
            larger = np.zeros(max(size, 2 * len(self._cells)), np.int32)
            larger[: self.size] = self.cells
            self._cells = larger
        self.size = max(size, self.size)

    def update(self, write: Write, change: Callable[[Cell], Cell]) -> None:
        """Change the cells under a write."""
        part = self._cells[write.first_sector : write.first_sector + write.count]
        if not len(part):
            return
        if (part == part[0]).all():
            part[:] = self._intern(change(self.table[part[0]]))
            return
        old, where = np.unique(part, return_inverse=True)
        new = [self._intern(change(self.table[number])) for number in old.tolist()]
        part[:] = np.array(new, np.int32)[where]

    def _intern(self, cell: Cell) -> int:
        number = self._index.get(cell)
        if number is None:
            number = self._index[cell] = len(self.table)
            self.table.append(cell)
        return number

    def confirm(self, write: Write) -> None:
        """Make a write the floor of its sectors."""
        write.status = WriteStatus.FLUSHED

        def change(cell: Cell) -> Cell:
            if write.sequence not in cell.alive:
                return cell
            under = [n for n in cell.alive if self.writes[n].precedes(write)]
            alive = tuple(n for n in cell.alive if n not in under)
            promised = [n for n in under if self.writes[n].status is WriteStatus.FLUSHED]
            return Cell(alive, True, max(promised, default=cell.previous))

        self.update(write, change)


class Model:
    """The model of all files of one run."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._clock = 0

    @property
    def files(self) -> list[int]:
        """The ids of the files that were written, in order."""
        return sorted(self._files)

    def sectors(self, file_id: int) -> int:
        """How many sectors a file has, to the last that was written; 0 if it is not known."""
        return self._files[file_id].size if file_id in self._files else 0

    def cells(self, file_id: int, first: int, count: int) -> Cells:
        """Of each of these sectors a number: of two neighbours the same, if what is legal is.

        Sectors that were never written have 0.
        """
        found = np.zeros(count, np.int32)
        if file_id in self._files:
            part = self._files[file_id].cells[first : first + count]
            found[: len(part)] = part
        return found

    def write_of(self, file_id: int, sequence: int) -> Write | None:
        """Return a write by its number; None if there was none."""
        return self._files[file_id].writes.get(sequence) if file_id in self._files else None

    def legal(self, file_id: int, sector: int, *, settled: bool) -> Legal:
        """Return what may lie in a sector.

        Args:
            file_id: Which file.
            sector: Of the file.
            settled: Whether what the device has answered for must be seen, flushed or not: of a
                reader yes, of the medium no.
        """
        cell = int(self.cells(file_id, sector, 1)[0])
        return self.legal_of_cell(file_id, cell, settled=settled)

    def legal_of_cell(self, file_id: int, cell: int, *, settled: bool) -> Legal:
        """Return what may lie in the sectors of a cell.  See `legal`."""
        if not cell:
            return NOTHING
        file = self._files[file_id]
        alive, based, previous = file.table[cell]
        writes = tuple(file.writes[number] for number in alive)
        held = [w for w in writes if w.direct and w.status is WriteStatus.ACKNOWLEDGED]
        if not settled or not held:
            return Legal(writes, based, previous)
        last = max(held, key=lambda write: write.started)
        under = [w for w in writes if w.precedes(last)]
        promised = [w.sequence for w in under if w in held or w.status is WriteStatus.FLUSHED]
        kept = tuple(w for w in writes if w not in under)
        return Legal(kept, True, max(promised, default=previous))

    # -- events --------------------------------------------------------------------------------

    def apply_all(self, events: Iterable[Event]) -> None:
        """Apply events in order.  See `apply`."""
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take one event.

        Raises:
            ApiViolationError: It ends a write or a flush that was not begun, or begins a write
                twice, or out of order; nothing is changed.
        """
        self._clock += 1
        match event:
            case WriteStarted():
                self._started(event)
            case WriteReturned():
                self._ended(event, WriteStatus.ACKNOWLEDGED)
            case WriteFailed():
                self._ended(event, WriteStatus.ERRORED)
            case FlushStarted():
                file = self._files.setdefault(event.file_id, _File())
                file.flushes[event.number] = self._clock
            case Flushed() | FlushFailed():
                self._flush_ended(event)
            case CacheLost():
                self._cache_lost()

    def _started(self, event: WriteStarted) -> None:
        file = self._files.setdefault(event.file_id, _File())
        if event.sequence <= file.last_sequence:
            raise ApiViolationError(
                f"Write {event.sequence} of file {event.file_id} begins after a later one."
            )
        file.last_sequence = event.sequence
        write = Write(
            event.first_sector,
            event.count,
            event.generation,
            event.sequence,
            event.direct,
            self._clock,
        )
        file.writes[event.sequence] = file.waiting[event.sequence] = write
        file.grow(event.first_sector + event.count)
        file.update(write, lambda cell: cell._replace(alive=(*cell.alive, event.sequence)))

    def _ended(self, event: WriteReturned | WriteFailed, status: WriteStatus) -> None:
        file = self._files.get(event.file_id)
        write = None if file is None else file.waiting.get(event.sequence)
        if file is None or write is None or write.status is not WriteStatus.IN_FLIGHT:
            raise ApiViolationError(
                f"Write {event.sequence} of file {event.file_id} ends, but is not in flight."
            )
        write.ended = self._clock
        write.status = status
        if write.shaken and status is WriteStatus.ACKNOWLEDGED:
            write.status = WriteStatus.UNSETTLED
        if write.status is not WriteStatus.ACKNOWLEDGED:
            del file.waiting[event.sequence]  # no fsync can confirm it any more

    def _flush_ended(self, event: Flushed | FlushFailed) -> None:
        file = self._files.get(event.file_id)
        if file is None or event.number not in {0, *file.flushes}:
            if event.number:
                raise ApiViolationError(
                    f"Flush {event.number} of file {event.file_id} ends, but was not begun."
                )
            return
        # What returned while a flush was under way may have come too late to be confirmed by it,
        # and early enough to be hit by its error.
        begun = file.flushes.pop(event.number, self._clock)
        for write in list(file.waiting.values()):
            if write.status is not WriteStatus.ACKNOWLEDGED:
                continue
            if isinstance(event, FlushFailed):
                write.status = WriteStatus.ERRORED
            elif write.ended < begun:
                file.confirm(write)
            else:
                continue
            del file.waiting[write.sequence]

    def _cache_lost(self) -> None:
        for file in self._files.values():
            for write in list(file.waiting.values()):
                write.shaken = True
                if write.status is WriteStatus.ACKNOWLEDGED:
                    write.status = WriteStatus.UNSETTLED
                    del file.waiting[write.sequence]
