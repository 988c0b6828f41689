"""The quick part of judging: sectors that hold just what they must are counted, not looked at.

Millions of sectors are compared as columns; what is left over, in the order in which it was seen,
is for the oracle's exact rules.  Both must agree: what passes here is ``ok`` there.  Pure, and
only for the station: it needs numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rig.integrity.filemap import FileMap
from rig.integrity.model import Model
from rig.integrity.scan import Run
from rig.integrity.stamp import SECTOR_BYTES, SectorKind, Stamp

_Numbers = NDArray[np.int64]
_Stamped = NDArray[np.uint64]
_Mask = NDArray[np.bool_]

CHUNK_SECTORS = 1 << 20
"""So many sectors are compared at once: it bounds the memory."""
_NO_STAMP = Stamp(0, 0, 0, 0, 0, 0, 0)
_NOWHERE = -1


class Rest(NamedTuple):
    """Sectors of one run that are not plainly right.

    Attributes:
        run: The run.
        skipped: Sectors of it that lie before these.
        size: How many.
    """

    run: Run
    skipped: int
    size: int


class Expected:
    """What each sector of each file must hold, as columns.

    Sectors of all files are numbered through (their *rank*), file after file.

    Args:
        model: Of the run.
        run_id: That its stamps carry.
        settled: See `rig.integrity.model.Model.legal`.
        files: Of these files alone; None for all.
    """

    def __init__(
        self, model: Model, run_id: int, *, settled: bool, files: list[int] | None = None
    ) -> None:
        self.run_id = run_id
        chosen = model.files if files is None else files
        self._ids = np.array(chosen, np.int64)
        self._sizes = np.array([model.sectors(number) for number in chosen], np.int64)
        self._bases = np.cumsum(self._sizes) - self._sizes
        total = int(self._sizes.sum())
        self.sequence: _Stamped = np.zeros(total, np.uint64)
        self.generation: _Stamped = np.zeros(total, np.uint64)
        self.alone: _Mask = np.zeros(total, np.bool_)
        """There is one write that must be there, with that sequence and generation."""
        self.covered: _Mask = np.zeros(total, np.bool_)
        """Some run told of the sector."""
        for file_id, base in zip(chosen, self._bases.tolist(), strict=True):
            self._fill(model, file_id, slice(base, base + model.sectors(file_id)), settled=settled)

    def _fill(self, model: Model, file_id: int, part: slice, *, settled: bool) -> None:
        cells, where = np.unique(
            model.cells(file_id, 0, part.stop - part.start), return_inverse=True
        )
        only = [model.legal_of_cell(file_id, c, settled=settled).only for c in cells.tolist()]
        self.alone[part] = np.array([w is not None for w in only], np.bool_)[where]
        self.sequence[part] = np.array([w.sequence if w else 0 for w in only], np.uint64)[where]
        self.generation[part] = np.array([w.generation if w else 0 for w in only], np.uint64)[where]

    def ranks(self, file_ids: _Numbers, sectors: _Numbers) -> _Numbers:
        """Number sectors through; -1 for those that the model does not know."""
        if not len(self._ids):
            return np.full(len(sectors), _NOWHERE, np.int64)
        row = np.searchsorted(self._ids, file_ids, "right") - 1
        known = (self._ids[row] == file_ids) & (sectors < self._sizes[row]) & (row >= 0)
        return np.where(known, self._bases[row] + sectors, _NOWHERE)

    def part(self, file_id: int, first: int = 0, count: int | None = None) -> slice:
        """The ranks of consecutive sectors of one file, as far as the model knows them."""
        row = int(np.searchsorted(self._ids, file_id))
        if row == len(self._ids) or self._ids[row] != file_id:
            return slice(0, 0)
        base, size = int(self._bases[row]), int(self._sizes[row])
        stop = size if count is None else min(first + count, size)
        return slice(base + min(first, size), base + stop)


class Places:
    """Says of many LBAs at once which file's sector lies there.

    Args:
        file_map: Where the files lie.
    """

    def __init__(self, file_map: FileMap) -> None:
        rows = np.array(file_map.rows, np.int64).reshape(-1, 4)
        self._lbas, self._counts, self._ids, self._sectors = rows.T

    def of(self, lbas: _Numbers) -> tuple[_Numbers, _Numbers]:
        """Return file ids, -1 where no file lies, and the sectors of the files."""
        if not len(self._lbas):
            return np.full(len(lbas), _NOWHERE, np.int64), np.zeros(len(lbas), np.int64)
        row = np.searchsorted(self._lbas, lbas, "right") - 1
        inside = lbas - self._lbas[row]
        there = (row >= 0) & (inside < self._counts[row])
        ids = np.where(there, self._ids[row], _NOWHERE)
        return ids, np.where(there, self._sectors[row] + inside, 0)


class Stamped:
    """Sectors that bear stamps of the run, as columns: each run is laid out sector by sector.

    Args:
        runs: Of stamps only.
        numbers: Which of the caller's runs each of them is.
    """

    def __init__(self, runs: Sequence[Run], numbers: _Numbers) -> None:
        counts = np.array([run.count for run in runs], np.int64)
        starts = np.cumsum(counts) - counts
        self._row = np.repeat(np.arange(len(runs)), counts)
        self._stamps = [run.stamp or _NO_STAMP for run in runs]
        self.run = numbers[self._row]
        self.skipped = np.arange(int(counts.sum()), dtype=np.int64) - starts[self._row]
        self.at = np.array([run.sector for run in runs], np.int64)[self._row] + self.skipped
        """The sector as the runs count: an LBA, or a number within a file."""

    def column(self, name: str) -> _Stamped:
        """One field of the stamps; offsets are those of each sector."""
        found = np.array([getattr(stamp, name) for stamp in self._stamps], np.uint64)[self._row]
        if name == "offset":
            found = found + self.skipped.astype(np.uint64) * np.uint64(SECTOR_BYTES)
        return found

    def in_place(self, file_ids: _Numbers, sectors: _Numbers) -> _Mask:
        """Which of them name the very file and offset at which they lie."""
        offsets = sectors.astype(np.uint64) * np.uint64(SECTOR_BYTES)
        there = self.column("file_id") == file_ids.astype(np.uint64)
        found: _Mask = there & (self.column("offset") == offsets) & (file_ids != _NOWHERE)
        return found


def sift(
    runs: Sequence[Run], expected: Expected, places: Places | None, file_id: int = 0
) -> tuple[int, list[Rest]]:
    """Count the sectors that hold just what they must; `Expected.covered` notes them.

    Args:
        runs: What was seen.
        expected: What must be there.
        places: Where files lie, if the runs count LBAs.
        file_id: Of what file the runs are, if they count its sectors.

    Returns:
        The number of right sectors, and all others in the order of the runs.
    """
    right, pieces = 0, []
    for columns in lay_out(runs, expected.run_id):
        if places is None:
            ids, sectors = np.full(len(columns.at), file_id, np.int64), columns.at
        else:
            ids, sectors = places.of(columns.at)
        ranks = expected.ranks(ids, sectors)
        good = columns.in_place(ids, sectors) & (ranks != _NOWHERE)
        good &= expected.alone[ranks] if len(expected.alone) else False
        if len(expected.alone):
            good &= expected.sequence[ranks] == columns.column("sequence")
            good &= expected.generation[ranks] == columns.column("generation")
            expected.covered[ranks[good]] = True
        right += int(good.sum())
        pieces.append(stretches(columns, ~good))
    return right, merged(runs, expected.run_id, pieces)


def lay_out(runs: Sequence[Run], run_id: int) -> Iterator[Stamped]:
    """Lay out the runs that bear stamps of this run, a bounded number of sectors at a time."""
    chosen: list[Run] = []
    numbers: list[int] = []
    size = 0
    for number, run in enumerate(runs):
        if not is_ours(run, run_id):
            continue
        if chosen and size + run.count > CHUNK_SECTORS:
            yield Stamped(chosen, np.array(numbers, np.int64))
            chosen, numbers, size = [], [], 0
        chosen.append(run)
        numbers.append(number)
        size += run.count
    if chosen:
        yield Stamped(chosen, np.array(numbers, np.int64))


def is_ours(run: Run, run_id: int) -> bool:
    """Whether a run bears whole stamps of this run."""
    return run.kind is SectorKind.STAMP and run.stamp is not None and run.stamp.run_id == run_id


def stretches(columns: Stamped, chosen: _Mask, *more: _Numbers) -> _Numbers:
    """Join neighbours that were chosen.

    Args:
        columns: The sectors.
        chosen: Which of them.
        more: Columns that must not change within a stretch.

    Returns:
        Rows of (number of the run, sectors skipped, count, row of the first in the columns).
    """
    at = np.flatnonzero(chosen)
    if not len(at):
        return np.zeros((0, 4), np.int64)
    new = np.ones(len(at), np.bool_)
    new[1:] = (np.diff(at) != 1) | (np.diff(columns.run[at]) != 0)
    for column in more:
        new[1:] |= np.diff(column[at]) != 0
    starts = np.flatnonzero(new)
    counts = np.diff(np.append(starts, len(at)))
    first = at[starts]
    return np.stack((columns.run[first], columns.skipped[first], counts, first), axis=1)


def merged(runs: Sequence[Run], run_id: int, pieces: Iterable[_Numbers]) -> list[Rest]:
    """Put stretches of our stamps, and all other runs, in the order of the runs."""
    found = [(n, skipped, count) for piece in pieces for n, skipped, count, _ in piece.tolist()]
    found += [(n, 0, run.count) for n, run in enumerate(runs) if not is_ours(run, run_id)]
    return [Rest(runs[number], skipped, count) for number, skipped, count in sorted(found)]
