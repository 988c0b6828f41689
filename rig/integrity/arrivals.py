"""The order in which writes arrived: which of them came after a newer one, or over a stamp.

Pure, and only for the station: it needs numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from rig.integrity.filemap import FileMap, Place
from rig.integrity.scan import Run
from rig.integrity.sieve import Expected, Places, Rest, Stamped, is_ours, lay_out, stretches

_NEVER = np.iinfo(np.int64).max


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """One write as it arrived at the medium, before any fault changed it.

    Attributes:
        number: Its number in the journal.
        errno: What the medium answered; 0 when it was stored.
        runs: What it brought, by LBA.
        injected: What a fault of the medium did to it, as the journal names it; empty for nothing.
    """

    number: int
    errno: int
    runs: list[Run]
    injected: str = ""


class Order:
    """What had arrived before a stretch did.

    Attributes:
        newest: The newest write of any of its sectors that had been stored; 0 for none.
    """

    def __init__(self, arrived: Arrived, run: int, newest: int) -> None:
        self._arrived = arrived
        self._run = run
        self.newest = newest

    def written_before(self, place: Place, count: int) -> NDArray[np.bool_]:
        """Whether a stamp of ours had been stored in each of some sectors."""
        return self._arrived.written_before(self._run, place, count)


class Arrived:
    """All arrivals of a run, to be sifted.

    Args:
        arrivals: In order.
        run_id: That the run's stamps carry.
        expected: Numbers the sectors.
        places: Where the files lie.
        file_map: Likewise.
    """

    def __init__(
        self,
        arrivals: Sequence[Arrival],
        run_id: int,
        expected: Expected,
        places: Places,
        file_map: FileMap,
    ) -> None:
        self._runs = [run for arrival in arrivals for run in arrival.runs]
        self._owners = [arrival for arrival in arrivals for _ in arrival.runs]
        self._stored = np.array([owner.errno == 0 for owner in self._owners], np.bool_)
        self._run_id, self._expected, self._places = run_id, expected, places
        ids = [row[2] for row in file_map.rows]
        self._in_place = np.array(sorted({i for i in ids if file_map.in_place(i)}), np.int64)
        size = len(expected.alone)
        self._newest = np.zeros(size, np.uint64)
        self._first = np.full(size, _NEVER, np.int64)
        """The run that first stored a stamp in a sector."""

    def sifted(self) -> tuple[int, list[tuple[int, Order, Rest]]]:
        """Count what arrived as it should.

        Returns:
            The number of right sectors, and all others, in order: the number of the journal's
            record, what had come before, and the sectors.
        """
        right = 0
        rows = [
            (number, 0, run.count, 0)
            for number, run in enumerate(self._runs)
            if not is_ours(run, self._run_id)
        ]
        for columns in lay_out(self._runs, self._run_id):
            ids, sectors = self._places.of(columns.at)
            ranks = self._expected.ranks(ids, sectors)
            there = columns.in_place(ids, sectors)
            known = np.flatnonzero(there & (ranks >= 0))
            newest = np.zeros(len(there), np.uint64)
            newest[known] = self._pass(columns, known, ranks[known])
            stale = (newest > columns.column("sequence")) & np.isin(ids, self._in_place)
            newest[~stale] = 0
            right += int((there & ~stale).sum())
            found = stretches(columns, ~there | stale, newest.astype(np.int64), ids)
            rows += [
                (run, skipped, count, int(newest[at])) for run, skipped, count, at in found.tolist()
            ]
        return right, [self._rest(*row) for row in sorted(rows)]

    def _rest(self, run: int, skipped: int, count: int, newest: int) -> tuple[int, Order, Rest]:
        rest = Rest(self._runs[run], skipped, count)
        return self._owners[run].number, Order(self, run, newest), rest

    def _pass(
        self, columns: Stamped, known: NDArray[np.int64], ranks: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """Let stamps arrive; return for each the newest that had been stored there before."""
        if not len(known):
            return np.zeros(0, np.uint64)
        order = np.argsort(ranks, kind="stable")
        rank, at = ranks[order], known[order]
        stored = self._stored[columns.run[at]]
        sequence = np.where(stored, columns.column("sequence")[at], np.uint64(0))
        heads = np.ones(len(rank), np.bool_)
        heads[1:] = rank[1:] != rank[:-1]
        # One running maximum over all sectors: the number of the group is the higher digit.
        values, dense = np.unique(sequence, return_inverse=True)
        carried = self._newest[rank]
        base = np.cumsum(heads) * (len(rank) + 1)
        highest = np.maximum.accumulate(base + dense)
        upto = np.maximum(values[highest - base], carried)
        before = np.where(heads, carried, np.roll(upto, 1))
        tails = np.append(heads[1:], True)
        self._newest[rank[tails]] = upto[tails]
        runs = np.where(stored, columns.run[at], _NEVER)
        np.minimum.at(self._first, rank, runs)
        found = np.empty(len(rank), np.uint64)
        found[order] = before
        return found

    def written_before(self, run: int, place: Place, count: int) -> NDArray[np.bool_]:
        """See `Order.written_before`; ``run`` is the number of the run that arrives."""
        found = np.zeros(count, np.bool_)
        part = self._first[self._expected.part(place.file_id, place.sector, count)]
        found[: len(part)] = part < run
        return found
