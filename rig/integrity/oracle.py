"""The oracle: does every sector hold what the model says it must?

It sees three views (the host's files, the medium, and every write as it arrived) as runs, and
judges them by the model, the file map and the run's id.  Who is guilty, where the views disagree,
is said by `rig.integrity.guilt`.

Rules that keep it from crying wolf:

* what a failed or unconfirmed write left is legal, old, new or unreadable, until a confirmed write
  covers it;
* a sector that no confirmed write covers may hold anything but a torn or corrupt stamp of ours, or
  one that belongs elsewhere;
* where a file system does not overwrite in place, old copies of our stamps lie around
  legally: outside the files' present extents only in-place files are judged.

What plainly is as it must be is counted by `rig.integrity.sieve`; this module has the exact rules
for all else.  Pure, and only for the station: it needs numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from rig.integrity.arrivals import Arrival, Arrived, Order
from rig.integrity.filemap import FileMap, Place
from rig.integrity.judgement import Collector, Judgement, SectorClass, View
from rig.integrity.ledger import ZEROS
from rig.integrity.model import NOTHING, Legal, Model, Write
from rig.integrity.piece import Piece, Teller
from rig.integrity.scan import Run
from rig.integrity.sieve import Expected, Places, is_ours, sift
from rig.integrity.stamp import SECTOR_BYTES, SectorKind, Stamp

__all__ = ["Arrival", "Oracle"]


class Oracle:
    """Judges one run.

    Args:
        model: What the workload did.
        file_map: Where its files lie, taken after the last write.
        run_id: That its stamps carry.
    """

    def __init__(self, model: Model, file_map: FileMap, run_id: int) -> None:
        self._model = model
        self._map = file_map
        self._run_id = run_id
        self._places = Places(file_map)
        self._teller = Teller(file_map, run_id)

    def judge_host(self, file_id: int, runs: list[Run], *, partial: bool = False) -> Judgement:
        """Judge what the host read of one file.

        Args:
            file_id: Which file.
            runs: By the file's sectors.
            partial: Not all of the file was read.  Else sectors that no run covers are not there
                (the file is too short): acknowledged ones are lost.
        """
        out = Collector()
        expected = Expected(self._model, self._run_id, settled=True, files=[file_id])
        right, rest = sift(runs, expected, None, file_id)
        out.tally(SectorClass.OK, right)
        for run, skipped, size in rest:
            first = run.sector + skipped
            expected.covered[expected.part(file_id, first, size)] = True
            for sector, count, lba in self._map.split_file(file_id, first, size):
                place = Place(file_id, sector)
                self._weigh(out, Piece(View.HOST, place, lba, count, run, sector - run.sector))
        if not partial:
            self._weigh_missing(out, View.HOST, file_id, expected)
        return out.judgement()

    def judge_medium(
        self, runs: list[Run], *, view: View = View.MEDIUM, partial: bool = False
    ) -> Judgement:
        """Judge what the medium, or the disk as the host sees it, holds.

        Args:
            runs: By LBA.
            view: ``host`` if the host read its disk: then it must see what was answered for.
            partial: Not all was read.  Else LBAs that no run covers are taken for zero: holes of
                a sparse medium.
        """
        out = Collector()
        expected = Expected(self._model, self._run_id, settled=view is View.HOST)
        right, rest = sift(runs, expected, self._places)
        out.tally(SectorClass.OK, right)
        for run, skipped, size in rest:
            for lba, count, place in self._map.split_disk(run.sector + skipped, size):
                piece = Piece(view, place, lba, count, run, lba - run.sector)
                if place is None:
                    self._weigh_stray(out, piece)
                else:
                    expected.covered[expected.part(place.file_id, place.sector, count)] = True
                    self._weigh(out, piece)
        for file_id in () if partial else self._model.files:
            self._weigh_missing(out, view, file_id, expected)
        return out.judgement()

    def judge_arrivals(self, arrivals: Iterable[Arrival]) -> Judgement:
        """Judge every write of the journal, in order, also those that were repaired later.

        A stamp that names another place than it arrived at is misdirected.  Where files are
        overwritten in place, an older write that arrives after a newer one is stale, and zeros or
        foreign bytes that arrive over a stamp are findings, too.
        """
        out = Collector()
        expected = Expected(self._model, self._run_id, settled=False)
        arrived = Arrived(list(arrivals), self._run_id, expected, self._places, self._map)
        right, rest = arrived.sifted()
        out.tally(SectorClass.OK, right)
        for number, order, (run, skipped, size) in rest:
            for lba, count, place in self._map.split_disk(run.sector + skipped, size):
                piece = Piece(View.ARRIVAL, place, lba, count, run, lba - run.sector, number)
                self._weigh_arrival(out, piece, order)
        return out.judgement()

    # -- single sectors --------------------------------------------------------------------------

    def allows(self, seen: Run, lba: int, *, view: View) -> bool:
        """Whether a sector may hold what was seen, in the view of the host or the medium."""
        out = Collector()
        piece = Piece(view, self._map.place_of(lba), lba, 1, seen, 0)
        if piece.place is None:
            self._weigh_stray(out, piece)
        else:
            self._weigh(out, piece)
        return not out.judgement().failed

    def was_right(self, seen: Run, lba: int) -> bool:
        """Whether what was seen is a write of that very sector, be it superseded."""
        stamp = seen.stamp
        piece = Piece(View.MEDIUM, self._map.place_of(lba), lba, 1, seen, 0)
        if stamp is None or not (self.is_ours(seen) and piece.in_its_place):
            return False
        write = self._model.write_of(stamp.file_id, stamp.sequence)
        return write is not None and write.generation == stamp.generation

    def is_ours(self, seen: Run) -> bool:
        """Whether what was seen is a whole stamp of this run."""
        return is_ours(seen, self._run_id)

    # -- a piece at a place of a file --------------------------------------------------------

    def _weigh(self, out: Collector, piece: Piece) -> None:
        """Judge sectors that are part of a file, alike states together."""
        place = piece.place
        assert place is not None
        cells = self._model.cells(place.file_id, place.sector, piece.size)
        for start, stop in _alike(cells):
            legal = self._model.legal_of_cell(
                place.file_id, int(cells[start]), settled=piece.view is View.HOST
            )
            self._weigh_alike(out, piece.part(start, stop - start), legal)

    def _weigh_alike(self, out: Collector, piece: Piece, legal: Legal) -> None:
        kind, stamp = piece.run.kind, piece.stamp
        unsure = legal.only is None and bool(legal.writes)
        zeros = kind is SectorKind.ZERO and any(w.generation == ZEROS for w in legal.writes)
        if kind is SectorKind.STAMP and stamp is not None and stamp.run_id == self._run_id:
            if not piece.in_its_place:
                self._weigh_misplaced(out, piece, legal)
                return
            sector_class = self._class_of(piece, stamp, legal)
        elif zeros or (kind is SectorKind.UNREADABLE and unsure):
            # What a failed write left may be unreadable, too: a file system's checksum, or the
            # medium's own, no longer fits.
            sector_class = SectorClass.INDETERMINATE if unsure else SectorClass.OK
        elif kind in _ALWAYS_WRONG:
            sector_class = _ALWAYS_WRONG[kind]
        elif not legal.based:
            if legal.writes:
                out.tally(SectorClass.INDETERMINATE, piece.size)
            return
        else:
            zero = kind is SectorKind.ZERO
            sector_class = SectorClass.ZEROED if zero else SectorClass.FOREIGN
        self._conclude(out, piece, sector_class, legal)

    def _class_of(self, piece: Piece, stamp: Stamp, legal: Legal) -> SectorClass:
        """Judge stamps that lie in their place by their generation and write."""

        def is_it(write: Write) -> bool:
            return (write.generation, write.sequence) == (stamp.generation, stamp.sequence)

        if any(is_it(write) for write in legal.writes):
            return SectorClass.OK if legal.only else SectorClass.INDETERMINATE
        assert piece.place is not None
        write = self._model.write_of(stamp.file_id, stamp.sequence)
        if write is None or not is_it(write) or not write.covers(piece.place.sector):
            return SectorClass.FOREIGN
        return SectorClass.LOST if stamp.sequence >= legal.previous else SectorClass.STALE

    def _weigh_misplaced(self, out: Collector, piece: Piece, legal: Legal) -> None:
        """Judge stamps of ours that name another place than they lie at."""
        for part in self._by_home(piece):
            stamp = part.stamp
            assert stamp is not None
            if not legal.based and not self._map.in_place(stamp.file_id):
                # An old copy, in blocks that were given to this file before its data came.
                out.tally(SectorClass.INDETERMINATE, part.size)
            else:
                self._conclude(out, part, SectorClass.MISDIRECTED, legal)

    def _by_home(self, piece: Piece) -> Iterator[Piece]:
        """Cut stamped sectors where the places that they name part."""
        stamp = piece.stamp
        assert stamp is not None
        first, start = stamp.offset // SECTOR_BYTES, 0
        for _, count, _ in self._map.split_file(stamp.file_id, first, piece.size):
            yield piece.part(start, count)
            start += count

    def _weigh_missing(self, out: Collector, view: View, file_id: int, expected: Expected) -> None:
        """Judge the sectors of a file that no run covers."""
        covered = expected.covered[expected.part(file_id)]
        for start, stop in _alike(covered):
            if covered[start]:
                continue
            for sector, count, lba in self._map.split_file(file_id, start, stop - start):
                hole = Run(sector, count, SectorKind.ZERO)
                piece = Piece(view, Place(file_id, sector), lba, count, hole, 0)
                if view is View.MEDIUM and lba is not None:
                    self._weigh(out, piece)
                else:
                    self._weigh_absent(out, piece)

    def _weigh_absent(self, out: Collector, piece: Piece) -> None:
        """Judge sectors that exist nowhere."""
        place = piece.place
        assert place is not None
        cells = self._model.cells(place.file_id, place.sector, piece.size)
        for start, stop in _alike(cells):
            legal = self._model.legal_of_cell(
                place.file_id, int(cells[start]), settled=piece.view is View.HOST
            )
            part = piece.part(start, stop - start)
            if any(write.generation == ZEROS for write in legal.writes):
                sector_class = SectorClass.OK if legal.only else SectorClass.INDETERMINATE
                out.tally(sector_class, part.size)
            elif legal.based:
                self._conclude(out, part, SectorClass.LOST, legal, seen="no such sector")
            elif legal.writes:
                out.tally(SectorClass.INDETERMINATE, part.size)

    # -- a piece outside of files, and arrivals -----------------------------------------------

    def _weigh_stray(self, out: Collector, piece: Piece) -> None:
        """Judge sectors outside of files: only a stamp that certainly belongs elsewhere counts."""
        stamp = piece.stamp
        ours = piece.run.kind is SectorKind.STAMP and stamp is not None
        if not ours or stamp is None or stamp.run_id != self._run_id:
            return
        if not self._map.in_place(stamp.file_id):
            return
        for part in self._by_home(piece):
            if part.stamp is not None and self._teller.home(part.stamp) not in (None, part.lba):
                self._conclude(out, part, SectorClass.MISDIRECTED, NOTHING)

    def _weigh_arrival(self, out: Collector, piece: Piece, order: Order) -> None:
        kind, stamp, place = piece.run.kind, piece.stamp, piece.place
        if kind in (SectorKind.TORN, SectorKind.CORRUPT):
            self._conclude(out, piece, _ALWAYS_WRONG[kind], NOTHING)
        elif kind is SectorKind.STAMP and stamp is not None and stamp.run_id == self._run_id:
            if not piece.in_its_place:
                self._weigh_stray(out, piece)
            elif self._overtook(stamp, order.newest):
                words = f"nothing older than write {order.newest}"
                self._conclude(out, piece, SectorClass.STALE, NOTHING, expected=words)
            else:
                out.tally(SectorClass.OK, piece.size)
        elif place is not None and self._map.in_place(place.file_id):
            zero = kind is SectorKind.ZERO
            sector_class = SectorClass.ZEROED if zero else SectorClass.FOREIGN
            written = order.written_before(place, piece.size)
            for start, stop in _alike(written):
                if written[start]:
                    self._conclude(out, piece.part(start, stop - start), sector_class, NOTHING)

    def _overtook(self, stamp: Stamp, newest: int) -> bool:
        """Whether the newer write that arrived before must have come after this one."""
        old = self._model.write_of(stamp.file_id, stamp.sequence)
        new = self._model.write_of(stamp.file_id, newest)
        # Of two that were in flight at once either may arrive first.
        return old is None or new is None or old.precedes(new)

    def _conclude(
        self,
        out: Collector,
        piece: Piece,
        sector_class: SectorClass,
        legal: Legal,
        *,
        seen: str = "",
        expected: str = "",
    ) -> None:
        if sector_class in (SectorClass.OK, SectorClass.INDETERMINATE):
            out.tally(sector_class, piece.size)
        else:
            out.add(self._teller.finding(piece, sector_class, legal, seen=seen, expected=expected))


_ALWAYS_WRONG = {
    SectorKind.TORN: SectorClass.TORN,
    SectorKind.CORRUPT: SectorClass.CORRUPT,
    SectorKind.UNREADABLE: SectorClass.UNREADABLE,
}
"""Damage as such.  Not even an unconfirmed write excuses a tear or wrong bits: a sector is written
whole or not at all."""


def _alike(values: NDArray[np.int32] | NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each stretch of equal neighbours."""
    if not len(values):
        return
    cuts = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = [0, *cuts.tolist()]
    yield from zip(starts, [*starts[1:], len(values)], strict=True)
