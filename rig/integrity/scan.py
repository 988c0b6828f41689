"""From bytes to observations: what lies where, as runs short enough to send.

The bytes stay on the machine where they lie; the runs go to the station, where the oracle judges
them.  Pure.
"""

from __future__ import annotations

import msgspec

from rig.errors import ApiViolationError
from rig.integrity.stamp import (
    SECTOR_BYTES,
    ZERO_SECTOR,
    SectorKind,
    Stamp,
    count_run,
    decode,
)

_ZERO_SECTORS = 128
_ZEROS = ZERO_SECTOR * _ZERO_SECTORS


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Consecutive sectors that look alike.

    Attributes:
        sector: The first one: an LBA, or a number within a file, as the scan's caller counts.
        count: How many.
        kind: What they are.  In a run of stamps each continues the one before it.
        stamp: Of the first sector; of a damaged one, what its head still names.
        note: What the damage looks like.
    """

    sector: int
    count: int
    kind: SectorKind
    stamp: Stamp | None = None
    note: str = ""


class Scanner:
    """Turns chunks of consecutive bytes into runs; runs continue across chunks.

    Args:
        first_sector: Number of the first sector that will be fed.
    """

    def __init__(self, first_sector: int) -> None:
        self._next = first_sector
        self._open: Run | None = None
        self._runs: list[Run] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            ApiViolationError: They are no whole sectors.
        """
        if len(data) % SECTOR_BYTES:
            raise ApiViolationError(f"A scan was fed {len(data)} bytes, no whole sectors.")
        at = 0
        while at < len(data):
            at += SECTOR_BYTES * (self._continue(data, at) or self._begin(data, at))

    def feed_unreadable(self, count: int) -> None:
        """Note ``count`` sectors whose read ended in an error."""
        if count:
            self._add(Run(self._next, count, SectorKind.UNREADABLE))

    def finish(self) -> list[Run]:
        """End the scan.

        Returns:
            All runs, in order of sectors.
        """
        self._close()
        return self._runs

    def _continue(self, data: bytes, at: int) -> int:
        """Extend the open run by what follows in ``data``; return the sectors taken."""
        run = self._open
        if run is None:
            return 0
        count = 0
        if run.kind is SectorKind.STAMP and run.stamp is not None:
            count = count_run(run.stamp.advanced(run.count), data, at)
        elif run.kind is SectorKind.ZERO:
            count = _count_zero(data, at)
        if count:
            self._extend(run, count)
        return count

    def _begin(self, data: bytes, at: int) -> int:
        """Begin a run with the sector at ``at``, or extend the open one by a like sector."""
        seen = decode(data[at : at + SECTOR_BYTES])
        if isinstance(seen, Stamp):
            self._add(Run(self._next, 1, SectorKind.STAMP, seen))
        else:
            self._add(Run(self._next, 1, seen.kind, seen.head, seen.note))
        return 1

    def _add(self, run: Run) -> None:
        last = self._open
        alike = last is not None and last.kind is run.kind is not SectorKind.STAMP
        if last is not None and alike and not run.note and not last.note:
            self._extend(last, run.count)
            return
        self._close()
        self._open = run
        self._next += run.count

    def _extend(self, run: Run, count: int) -> None:
        self._open = Run(run.sector, run.count + count, run.kind, run.stamp, run.note)
        self._next += count

    def _close(self) -> None:
        if self._open is not None:
            self._runs.append(self._open)
            self._open = None


def scan(data: bytes, first_sector: int) -> list[Run]:
    """Observe ``data``, whose first byte lies at ``first_sector``.

    Raises:
        ApiViolationError: They are no whole sectors.
    """
    scanner = Scanner(first_sector)
    scanner.feed(data)
    return scanner.finish()


def _count_zero(data: bytes, start: int) -> int:
    """Count the zero sectors of ``data`` from byte ``start`` on; by large steps first."""
    at = start
    while data.startswith(_ZEROS, at):
        at += len(_ZEROS)
    while data.startswith(ZERO_SECTOR, at):
        at += SECTOR_BYTES
    return (at - start) // SECTOR_BYTES
