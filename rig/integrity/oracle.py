"""The oracle: does every sector hold what the model says it must?

It sees three views (the host's files, the medium, and every write as it arrived) as runs, and
judges them by the ledger, the file map and the run's id.  Disagreement between the views tells who
is guilty: wrong on arrival, the transport; right on arrival and wrong on the medium, the medium;
right on the medium and wrong for the host, the way back.

Rules that keep it from crying wolf:

* what a failed or unconfirmed write left is legal, old, new or unreadable, until a confirmed write
  covers it;
* a sector that no confirmed write covers may hold anything but a torn or corrupt stamp of ours, or
  one that belongs elsewhere;
* where a file system does not overwrite in place, old copies of our stamps lie around
  legally: outside the files' present extents only in-place files are judged.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from rig.integrity.filemap import FileMap, Place
from rig.integrity.judgement import Collector, Finding, Judgement, SectorClass, View
from rig.integrity.ledger import UNWRITTEN, Attempt, Ledger, SectorState
from rig.integrity.scan import Run
from rig.integrity.stamp import SECTOR_BYTES, UNKNOWN_LBA, SectorKind, Stamp


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """One write as it arrived at the medium, before any fault changed it.

    Attributes:
        number: Its number in the journal.
        errno: What the medium answered; 0 when it was stored.
        runs: What it brought, by LBA.
    """

    number: int
    errno: int
    runs: list[Run]


class _Piece(NamedTuple):
    """Consecutive sectors within one run and one extent."""

    view: View
    place: Place | None
    lba: int | None
    size: int
    run: Run
    skipped: int
    """Sectors of the run that lie before this piece."""
    arrival: int | None = None

    def part(self, start: int, count: int) -> _Piece:
        """Sectors ``start`` to ``start + count`` of this piece."""
        place, lba = self.place, self.lba
        return self._replace(
            place=None if place is None else Place(place.file_id, place.sector + start),
            lba=None if lba is None else lba + start,
            size=count,
            skipped=self.skipped + start,
        )

    @property
    def stamp(self) -> Stamp | None:
        """The stamp of the first sector, or what is left of it."""
        return self.run.stamp and self.run.stamp.advanced(self.skipped)

    @property
    def in_its_place(self) -> bool:
        """Whether the stamps name the very file and offset at which they lie."""
        stamp, place = self.stamp, self.place
        if stamp is None or place is None:
            return False
        return (stamp.file_id, stamp.offset) == (place.file_id, place.sector * SECTOR_BYTES)


class Oracle:
    """Judges one run.

    Args:
        ledger: What the workload did.
        file_map: Where its files lie, taken after the last write.
        run_id: That its stamps carry.
    """

    def __init__(self, ledger: Ledger, file_map: FileMap, run_id: int) -> None:
        self._ledger = ledger
        self._map = file_map
        self._run_id = run_id

    def judge_host(self, file_id: int, runs: Iterable[Run]) -> Judgement:
        """Judge what the host read of one file.

        Args:
            file_id: Which file.
            runs: By the file's sectors.  Sectors that no run covers are not there (the file is
                too short): acknowledged ones are lost.
        """
        out = Collector()
        covered = bytearray(len(self._ledger.states(file_id)))
        for run in runs:
            _cover(covered, run.sector, run.count)
            for sector, count, lba in self._map.split_file(file_id, run.sector, run.count):
                place, skipped = Place(file_id, sector), sector - run.sector
                self._weigh(out, _Piece(View.HOST, place, lba, count, run, skipped))
        self._weigh_missing(out, View.HOST, file_id, covered)
        return out.judgement()

    def judge_medium(self, runs: Iterable[Run]) -> Judgement:
        """Judge what the medium holds.

        Args:
            runs: By LBA.  LBAs that no run covers are taken for zero: holes of a sparse medium.
        """
        out = Collector()
        covered = {f: bytearray(len(self._ledger.states(f))) for f in self._ledger.files}
        for run in runs:
            for lba, count, place in self._map.split_disk(run.sector, run.count):
                piece = _Piece(View.MEDIUM, place, lba, count, run, lba - run.sector)
                if place is None:
                    self._weigh_stray(out, piece)
                else:
                    _cover(covered.get(place.file_id, bytearray()), place.sector, count)
                    self._weigh(out, piece)
        for file_id, mask in covered.items():
            self._weigh_missing(out, View.MEDIUM, file_id, mask)
        return out.judgement()

    def judge_arrivals(self, arrivals: Iterable[Arrival]) -> Judgement:
        """Judge every write of the journal, in order, also those that were repaired later.

        A stamp that names another place than it arrived at is misdirected.  Where files are
        overwritten in place, an older write that arrives after a newer one is stale, and zeros or
        foreign bytes that arrive over a stamp are findings, too.
        """
        out = Collector()
        newest: dict[int, int] = {}
        for arrival in arrivals:
            for run in arrival.runs:
                for lba, count, place in self._map.split_disk(run.sector, run.count):
                    skipped, number = lba - run.sector, arrival.number
                    piece = _Piece(View.ARRIVAL, place, lba, count, run, skipped, number)
                    self._weigh_arrival(out, piece, newest, stored=arrival.errno == 0)
        return out.judgement()

    # -- a piece at a place of a file --------------------------------------------------------

    def _weigh(self, out: Collector, piece: _Piece) -> None:
        """Judge sectors that are part of a file, alike states together."""
        place = piece.place
        assert place is not None
        states = self._ledger.states(place.file_id)[place.sector : place.sector + piece.size]
        states = states + [UNWRITTEN] * (piece.size - len(states))
        start = 0
        for at in range(1, piece.size + 1):
            # The ledger makes equal neighbours one object: identity suffices, and is quick.
            if at == piece.size or states[at] is not states[start]:
                self._weigh_alike(out, piece.part(start, at - start), states[start])
                start = at

    def _weigh_alike(self, out: Collector, piece: _Piece, state: SectorState) -> None:
        kind, stamp = piece.run.kind, piece.stamp
        if kind is SectorKind.STAMP and stamp is not None and stamp.run_id == self._run_id:
            if not piece.in_its_place:
                self._weigh_misplaced(out, piece, state)
                return
            sector_class = _class_of(stamp, state)
        elif kind is SectorKind.UNREADABLE and state.open:
            # What a failed write left may be unreadable, too: a file system's checksum, or the
            # medium's own, no longer fits.
            sector_class = SectorClass.INDETERMINATE
        elif kind in _ALWAYS_WRONG:
            sector_class = _ALWAYS_WRONG[kind]
        elif state.sure is None:
            if state.open:
                out.tally(SectorClass.INDETERMINATE, piece.size)
            return
        else:
            zero = kind is SectorKind.ZERO
            sector_class = SectorClass.ZEROED if zero else SectorClass.FOREIGN
        self._conclude(out, piece, sector_class, state)

    def _weigh_misplaced(self, out: Collector, piece: _Piece, state: SectorState) -> None:
        """Judge stamps of ours that name another place than they lie at."""
        for start in range(piece.size):
            part = piece.part(start, 1)
            stamp = part.stamp
            assert stamp is not None
            if state.sure is None and not self._map.in_place(stamp.file_id):
                # An old copy, in blocks that were given to this file before its data came.
                out.tally(SectorClass.INDETERMINATE, 1)
            else:
                self._conclude(out, part, SectorClass.MISDIRECTED, state)

    def _weigh_missing(self, out: Collector, view: View, file_id: int, covered: bytearray) -> None:
        """Judge the sectors of a file that no run covers."""
        at = covered.find(0)
        while at >= 0:
            stop = covered.find(1, at)
            stop = len(covered) if stop < 0 else stop
            for sector, count, lba in self._map.split_file(file_id, at, stop - at):
                hole = Run(sector, count, SectorKind.ZERO)
                piece = _Piece(view, Place(file_id, sector), lba, count, hole, 0)
                if view is View.MEDIUM and lba is not None:
                    self._weigh(out, piece)
                else:
                    self._weigh_absent(out, piece)
            at = covered.find(0, stop)

    def _weigh_absent(self, out: Collector, piece: _Piece) -> None:
        """Judge sectors that exist nowhere."""
        place = piece.place
        assert place is not None
        for start, state in enumerate(
            self._ledger.states(place.file_id)[place.sector : place.sector + piece.size]
        ):
            if state.sure is not None:
                part = piece.part(start, 1)
                self._conclude(out, part, SectorClass.LOST, state, seen="no such sector")
            elif state.open:
                out.tally(SectorClass.INDETERMINATE, 1)

    # -- a piece outside of files, and arrivals -----------------------------------------------

    def _weigh_stray(self, out: Collector, piece: _Piece) -> None:
        """Judge sectors outside of files: only a stamp that certainly belongs elsewhere counts."""
        if piece.run.kind is not SectorKind.STAMP:
            return
        for start in range(piece.size):
            part = piece.part(start, 1)
            if part.stamp is not None and part.stamp.run_id == self._run_id:
                home = self._home(part.stamp)
                if home not in (None, part.lba) and self._map.in_place(part.stamp.file_id):
                    self._conclude(out, part, SectorClass.MISDIRECTED, UNWRITTEN)

    def _weigh_arrival(
        self, out: Collector, piece: _Piece, newest: dict[int, int], *, stored: bool
    ) -> None:
        kind, stamp, place, lba = piece.run.kind, piece.stamp, piece.place, piece.lba
        assert lba is not None
        if kind in (SectorKind.TORN, SectorKind.CORRUPT):
            self._conclude(out, piece, _ALWAYS_WRONG[kind], UNWRITTEN)
        elif kind is SectorKind.STAMP and stamp is not None and stamp.run_id == self._run_id:
            if piece.in_its_place:
                self._weigh_order(out, piece, newest, stored=stored)
            else:
                self._weigh_stray(out, piece)
        elif place is not None and self._map.in_place(place.file_id):
            zero = kind is SectorKind.ZERO
            for at in range(lba, lba + piece.size):
                if at in newest:
                    sector_class = SectorClass.ZEROED if zero else SectorClass.FOREIGN
                    self._conclude(out, piece.part(at - lba, 1), sector_class, UNWRITTEN)

    def _weigh_order(
        self, out: Collector, piece: _Piece, newest: dict[int, int], *, stored: bool
    ) -> None:
        """Judge stamps that arrived where they belong by what had arrived there before."""
        stamp, lba = piece.stamp, piece.lba
        assert stamp is not None
        assert lba is not None
        in_place = self._map.in_place(stamp.file_id)
        for at in range(lba, lba + piece.size):
            if in_place and newest.get(at, 0) > stamp.sequence:
                expected = f"nothing older than write {newest[at]}"
                part = piece.part(at - lba, 1)
                self._conclude(out, part, SectorClass.STALE, UNWRITTEN, expected=expected)
                continue
            out.tally(SectorClass.OK, 1)
            if stored:
                newest[at] = stamp.sequence

    # -- words ---------------------------------------------------------------------------------

    def _home(self, stamp: Stamp) -> int | None:
        """The LBA at which a stamp belongs: by the map, else by its own word."""
        home = self._map.lba_of(stamp.file_id, stamp.offset // SECTOR_BYTES)
        if home is None and stamp.lba != UNKNOWN_LBA:
            return stamp.lba
        return home

    def _conclude(
        self,
        out: Collector,
        piece: _Piece,
        sector_class: SectorClass,
        state: SectorState,
        *,
        seen: str = "",
        expected: str = "",
    ) -> None:
        if sector_class in (SectorClass.OK, SectorClass.INDETERMINATE):
            out.tally(sector_class, piece.size)
            return
        stamp, place = piece.stamp, piece.place
        away = sector_class is SectorClass.MISDIRECTED and stamp is not None
        out.add(
            Finding(
                view=piece.view,
                sector_class=sector_class,
                lba=piece.lba,
                belongs_lba=self._home(stamp) if away and stamp is not None else None,
                file="" if place is None else self._map.path(place.file_id),
                offset=None if place is None else place.sector * SECTOR_BYTES,
                expected=expected or _expected_words(state, place),
                seen=seen or self._seen_words(piece),
                count=piece.size,
                arrival=piece.arrival,
            )
        )

    def _seen_words(self, piece: _Piece) -> str:
        run, stamp = piece.run, piece.stamp
        if run.kind is SectorKind.FOREIGN:
            return "bytes without a stamp"
        if run.kind is not SectorKind.STAMP or stamp is None:
            return run.note or run.kind.value
        if stamp.run_id != self._run_id:
            return f"a stamp of another run ({stamp.run_id:#x})"
        words = f"generation {stamp.generation} (write {stamp.sequence})"
        return words if piece.in_its_place else f"{words} of {self._map.path(stamp.file_id)}"


_ALWAYS_WRONG = {
    SectorKind.TORN: SectorClass.TORN,
    SectorKind.CORRUPT: SectorClass.CORRUPT,
    SectorKind.UNREADABLE: SectorClass.UNREADABLE,
}
"""Damage as such.  Not even an unconfirmed write excuses a tear or wrong bits: a sector is written
whole or not at all."""


def _class_of(stamp: Stamp, state: SectorState) -> SectorClass:
    """Judge a stamp that lies in its place by its generation and write."""

    def is_it(attempt: Attempt) -> bool:
        return (attempt.generation, attempt.sequence) == (stamp.generation, stamp.sequence)

    if any(is_it(attempt) for attempt in state.legal):
        return SectorClass.INDETERMINATE if state.open else SectorClass.OK
    if any(is_it(attempt) for attempt in state.superseded):
        return SectorClass.LOST if stamp.sequence >= state.previous else SectorClass.STALE
    return SectorClass.FOREIGN


def _expected_words(state: SectorState, place: Place | None) -> str:
    choices = [f"generation {a.generation} (write {a.sequence})" for a in state.legal]
    return " or ".join(choices) or ("nothing of ours" if place is None else "its own data")


def _cover(mask: bytearray, start: int, count: int) -> None:
    stop = min(start + count, len(mask))
    if start < stop:
        mask[start:stop] = b"\1" * (stop - start)
