"""A second look, by another path, before a reader's word is believed.

What a reader saw wrong is read again: the file, past caches that were dropped; and the raw disk at
its LBAs, past the file system.  Together with the medium that tells a bad read from a bad write,
and where the bad read came about::

    file again   raw disk   medium
    right        -          -         transient: one bad read
    wrong        right      -         file only: above the disk
    wrong        wrong      right     disk too: below the file system
    wrong        wrong      wrong     medium too: a bad write, or a bad medium

A second look takes nothing back: wrong data that a reader was given once stays a finding.  One
thing it does: a sector that was *unreadable* and is right the second time was no wrong data, since
the reader had been told; it is forgiven, and counted as what it is.

Pure, and only for the station; `rig.integrity.second_look` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from rig.integrity.judgement import (
    Finding,
    Judgement,
    Reread,
    SectorClass,
    View,
    joined,
    told,
)
from rig.integrity.looks import SecondLook, Wanted
from rig.integrity.oracle import Oracle
from rig.integrity.scan import Run
from rig.integrity.stamp import SECTOR_BYTES

LIMIT_SECTORS = 1 << 16
"""No more than so many sectors (32 MiB) are read again: the first ones tell the same."""


class Settled(msgspec.Struct, frozen=True):
    """What is left of a first judgement.

    Attributes:
        judgement: With `Reread` in each finding that was looked at again.
        forgiven: Findings of sectors that could not be read, and were right the second time.
    """

    judgement: Judgement
    forgiven: list[Finding]


def wanted(judgement: Judgement, limit_sectors: int = LIMIT_SECTORS) -> list[Wanted]:
    """Say what is to be read again: what the host's view of files shows wrong.

    Args:
        judgement: Of that view.
        limit_sectors: No more than so many in all.
    """
    found: list[Wanted] = []
    left = limit_sectors
    for finding in judgement.findings:
        file_id, offset = finding.keys.file_id, finding.offset
        if finding.view is not View.HOST or file_id is None or offset is None or not left:
            continue
        count = min(finding.count, left)
        left -= count
        sector = offset // SECTOR_BYTES
        found.append(Wanted(file_id, finding.file, sector, count, finding.lba))
    return found


def settle(
    oracle: Oracle, first: Judgement, look: SecondLook, medium: Sequence[Run] = ()
) -> Settled:
    """Weigh a first judgement by a second look.

    Args:
        oracle: Of the same run.
        first: Of the host's view.
        look: What was read again.
        medium: What the medium holds, by LBA.
    """
    judge = _Second(oracle, look, medium)
    counts, pieces, forgiven = dict(first.counts), [], []
    for finding in first.findings:
        for piece in judge.cut(finding):
            loud = piece.sector_class is SectorClass.UNREADABLE
            if not (loud and piece.reread is Reread.TRANSIENT):
                pieces.append(piece)
                continue
            forgiven.append(piece)
            counts[SectorClass.UNREADABLE] -= piece.count
            for sector_class, count in judge.classes(piece).items():
                counts[sector_class] += count
    return Settled(Judgement(counts, _whole(pieces)), _whole(forgiven))


def _whole(pieces: list[Finding]) -> list[Finding]:
    return [told(finding) for finding in joined(pieces)]


class _Second:
    """The second look, ready to be asked about single sectors."""

    def __init__(self, oracle: Oracle, look: SecondLook, medium: Sequence[Run]) -> None:
        self._oracle = oracle
        runs: dict[int, list[Run]] = {}
        for one in look.files:
            runs.setdefault(one.file_id, []).extend(one.runs)
        self._files = {
            file_id: _Seen(seen, oracle.judge_host(file_id, seen, partial=True), in_file=True)
            for file_id, seen in runs.items()
        }
        disk = list(look.disk)
        self._disk = _Seen(disk, oracle.judge_medium(disk, view=View.HOST, partial=True))
        held = list(medium)
        self._medium = _Seen(held, oracle.judge_medium(held, partial=True))

    def cut(self, finding: Finding) -> list[Finding]:
        """Cut a finding where what was seen the second time differs, and say what it was."""
        file_id, offset = finding.keys.file_id, finding.offset
        seen = self._files.get(file_id) if file_id is not None else None
        if finding.view is not View.HOST or seen is None or offset is None:
            return [finding]
        first = offset // SECTOR_BYTES
        edges = {at - first for at in seen.edges}
        if finding.lba is not None:
            edges |= {at - finding.lba for at in (*self._disk.edges, *self._medium.edges)}
        starts = [0, *sorted(at for at in edges if 0 < at < finding.count)]
        stops = [*starts[1:], finding.count]
        return [
            msgspec.structs.replace(
                finding.part(start, stop - start), reread=self._of(seen, finding, first, start)
            )
            for start, stop in zip(starts, stops, strict=True)
        ]

    def _of(self, seen: _Seen, finding: Finding, first: int, start: int) -> Reread | None:
        again = seen.right(first + start)
        if again is not False:
            return Reread.TRANSIENT if again else None
        lba = None if finding.lba is None else finding.lba + start
        disk = None if lba is None else self._disk.right(lba)
        if disk is None or lba is None:
            return None
        if disk:
            return Reread.FILE_ONLY
        return Reread.MEDIUM_TOO if self._medium.right(lba) is False else Reread.DISK_TOO

    def classes(self, piece: Finding) -> dict[SectorClass, int]:
        """What the sectors of a piece were the second time."""
        assert piece.keys.file_id is not None
        assert piece.offset is not None
        first = piece.offset // SECTOR_BYTES
        runs = self._files[piece.keys.file_id].part(first, piece.count)
        return self._oracle.judge_host(piece.keys.file_id, runs, partial=True).counts


class _Seen:
    """What was read, and which of it was wrong."""

    def __init__(self, runs: Iterable[Run], judgement: Judgement, *, in_file: bool = False) -> None:
        self._runs = list(runs)
        self._wrong: list[tuple[int, int]] = []
        for finding in judgement.findings:
            at = finding.lba
            if in_file:
                at = None if finding.offset is None else finding.offset // SECTOR_BYTES
            if at is not None:
                self._wrong.append((at, at + finding.count))

    @property
    def edges(self) -> set[int]:
        """Where right or wrong or unseen may change."""
        spans = [(run.sector, run.sector + run.count) for run in self._runs]
        return {edge for span in (*spans, *self._wrong) for edge in span}

    def right(self, sector: int) -> bool | None:
        """Whether a sector was right; None if it was not read."""
        if not any(run.sector <= sector < run.sector + run.count for run in self._runs):
            return None
        return not any(start <= sector < stop for start, stop in self._wrong)

    def part(self, sector: int, count: int) -> list[Run]:
        """The runs of consecutive sectors, cut to them."""
        found = []
        for run in self._runs:
            start = max(run.sector, sector)
            stop = min(run.sector + run.count, sector + count)
            if start < stop:
                stamp = run.stamp and run.stamp.advanced(start - run.sector)
                found.append(Run(start, stop - start, run.kind, stamp, run.note))
        return found
