"""What the medium's journal, and a tap on the front machine, tell of the sectors in question.

Pure, and only for the station: it needs numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from rig.integrity.arrivals import Arrival
from rig.integrity.scan import Run


class Served(msgspec.Struct, frozen=True, array_like=True):
    """One read, as the medium answered it.

    Attributes:
        number: Its number in the journal.
        lba: First LBA.
        count: How many.
        errno: What it was answered with; 0 for data.
        injected: What a fault of the medium did to it, as the journal names it; empty for nothing.
    """

    number: int
    lba: int
    count: int
    errno: int = 0
    injected: str = ""

    @property
    def wrong(self) -> bool:
        """Whether the answer was not the medium's data."""
        return bool(self.errno) or self.injected not in _ONLY_LATE


_ONLY_LATE = frozenset({"", "delay", "hang"})


class MediumJournal(msgspec.Struct, frozen=True):
    """All that the medium was asked for, in order.

    Attributes:
        writes: As they arrived.
        reads: As they were answered; those that were answered rightly may be left out.
        flushes: Numbers of the flushes that were answered with 0.
        volatile: The medium has a cache that a power cut empties.
        power_cuts: Numbers of the records that say that it was emptied.
    """

    writes: Sequence[Arrival] = ()
    reads: Sequence[Served] = ()
    flushes: Sequence[int] = ()
    volatile: bool = False
    power_cuts: Sequence[int] = ()

    def may_cache(self, write: int) -> bool:
        """Whether what a write brought may be in the cache alone."""
        return self.volatile and not any(cut > write for cut in self.power_cuts)


class Brought(NamedTuple):
    """What one write brought to one sector.

    Attributes:
        arrival: The write.
        run: What it brought, of this sector alone.
    """

    arrival: Arrival
    run: Run


class Sectors:
    """Finds what was written to a sector.

    Args:
        arrivals: In order.
    """

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self._rows = [(arrival, run) for arrival in arrivals for run in arrival.runs]
        self._first = np.array([run.sector for _, run in self._rows], np.int64)
        self._end = self._first + np.array([run.count for _, run in self._rows], np.int64)

    def at(self, lba: int) -> list[Brought]:
        """Everything that was brought to a sector, in order."""
        return [
            Brought(arrival, one_sector(run, lba))
            for arrival, run in (self._rows[n] for n in self._over(lba, 1))
        ]

    def cuts(self, lba: int, count: int) -> set[int]:
        """Where what was brought changes within consecutive sectors."""
        rows = self._over(lba, count)
        edges = np.concatenate((self._first[rows], self._end[rows]))
        return set(edges[(edges > lba) & (edges < lba + count)].tolist())

    def _over(self, lba: int, count: int) -> list[int]:
        found: list[int] = np.flatnonzero((self._first < lba + count) & (self._end > lba)).tolist()
        return found


def one_sector(run: Run, sector: int) -> Run:
    """The part of a run that is one of its sectors."""
    stamp = run.stamp and run.stamp.advanced(sector - run.sector)
    return Run(sector, 1, run.kind, stamp, run.note)
