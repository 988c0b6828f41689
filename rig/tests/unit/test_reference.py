"""The oracle against a plain one, that looks at each sector by itself, over any history.

The plain one keeps, of one sector, the list of its writes, and says from the rules of
docs/integrity.md what may lie there and what to call what does.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.judgement import SectorClass, View
from rig.integrity.ledger import (
    CacheLost,
    Event,
    Flushed,
    FlushFailed,
    WriteFailed,
    WriteReturned,
    WriteStarted,
)
from rig.integrity.model import Model
from rig.integrity.oracle import Arrival, Oracle
from rig.integrity.scan import Run, scan
from rig.integrity.stamp import SECTOR_BYTES, SectorKind, Stamp, encode

RUN_ID = 3
SECTORS = 4
LBA = 50


class Plain:
    """The writes of one sector: [number, start, end, status, direct]; times are steps."""

    def __init__(self) -> None:
        self.writes: list[list[object]] = []

    def over(self, one: list[object], other: list[object]) -> bool:
        """Whether ``other`` lies over ``one`` for certain, once it is there itself."""
        return one[2] is not None and one[2] < other[1]  # type: ignore[operator]

    def legal(self, *, settled: bool) -> tuple[list[int], bool]:
        """Numbers of the writes that may be there, and whether nothing else may."""

        def promised(write: list[object]) -> bool:
            return write[3] == "flushed" or (
                settled and write[3] == "returned" and write[4] is True
            )

        floors = [write for write in self.writes if promised(write)]
        kept = [w for w in self.writes if not any(self.over(w, floor) for floor in floors)]
        return [w[0] for w in kept], bool(floors)  # type: ignore[misc]

    def class_of(self, seen: int | str, *, settled: bool) -> str | None:
        """The class of a number, ``zero``, ``foreign`` or ``unreadable``; None: not counted."""
        legal, based = self.legal(settled=settled)
        only = based and len(legal) == 1
        if isinstance(seen, int):
            if seen in legal:
                return "ok" if only else "indeterminate"
            return "old" if seen in [w[0] for w in self.writes] else "foreign"
        if seen == "unreadable":
            return "indeterminate" if legal and not only else "unreadable"
        if based:
            return {"zero": "zeroed", "foreign": "foreign"}[seen]
        return "indeterminate" if legal else None


class Both:
    """One history, told to the model and to four plain sectors."""

    def __init__(self) -> None:
        self.model = Model()
        self.sectors = [Plain() for _ in range(SECTORS)]
        self.open: dict[int, tuple[list[list[object]], int]] = {}
        self.number = self.step = 0

    def tell(self, *events: Event) -> None:
        self.model.apply_all(events)

    def take(self, step: tuple[str, int, int, bool]) -> None:
        self.step += 1
        kind, first, count, direct = step
        if kind == "start":
            self.number += 1
            self.tell(WriteStarted(1, first, count, self.number, self.number, direct))
            made: list[list[object]] = []
            for plain in self.sectors[first : first + count]:
                plain.writes.append([self.number, self.step, None, "flying", direct])
                made.append(plain.writes[-1])
            self.open[self.number] = (made, 0)
        elif kind in ("return", "fail") and self.open:
            number = sorted(self.open)[first % len(self.open)]
            made, losses = self.open.pop(number)
            good = kind == "return"
            self.tell(WriteReturned(1, number) if good else WriteFailed(1, number, 5))
            for write in made:
                write[2] = self.step
                write[3] = "returned" if good and not losses else "open"
        elif kind == "flush":
            self.tell(Flushed(1))
            self._turn("returned", "flushed")
        elif kind == "flush_failed":
            self.tell(FlushFailed(1, 5))
            self._turn("returned", "open")
        elif kind == "lost":
            self.tell(CacheLost())
            self._turn("returned", "open")
            self.open = {n: (made, losses + 1) for n, (made, losses) in self.open.items()}

    def _turn(self, before: str, after: str) -> None:
        for plain in self.sectors:
            for write in plain.writes:
                if write[3] == before:
                    write[3] = after


KINDS = st.sampled_from(
    ["start", "start", "return", "return", "fail", "flush", "flush_failed", "lost"]
)
STEPS = st.lists(
    st.tuples(KINDS, st.integers(0, SECTORS - 1), st.integers(1, SECTORS), st.booleans()).map(
        lambda s: (s[0], s[1], min(s[2], SECTORS - s[1]), s[3])
    ),
    max_size=30,
)
SEEN = st.lists(
    st.integers(1, 8) | st.sampled_from(["zero", "foreign", "unreadable"]),
    min_size=SECTORS,
    max_size=SECTORS,
)
OLD = {SectorClass.LOST, SectorClass.STALE}


def observed(sector: int, seen: int | str, at: int) -> Run:
    if isinstance(seen, int):
        stamp = Stamp(RUN_ID, 1, sector * SECTOR_BYTES, LBA + sector, seen, 0, seen)
        return Run(at, 1, SectorKind.STAMP, stamp)
    return Run(at, 1, SectorKind(seen))


@settings(max_examples=150)
@given(STEPS, SEEN)
def test_the_oracle_agrees_with_the_plain_one(
    steps: list[tuple[str, int, int, bool]], seen: list[int | str]
) -> None:
    both = Both()
    for step in steps:
        both.take(step)
    files = [MappedFile(1, "/f", SECTORS * SECTOR_BYTES, True, [Extent(0, LBA, SECTORS)])]
    oracle = Oracle(both.model, FileMap(files), RUN_ID)
    for sector, (plain, what) in enumerate(zip(both.sectors, seen, strict=True)):
        host = oracle.judge_host(1, [observed(sector, what, sector)], partial=True)
        medium = oracle.judge_medium([observed(sector, what, LBA + sector)], partial=True)
        for judgement, settled in ((host, True), (medium, False)):
            classes = [c for c, n in judgement.counts.items() for _ in range(n)]
            expected = plain.class_of(what, settled=settled)
            told = ["old" if c in OLD else c.value for c in classes]
            assert told == ([] if expected is None else [expected])


@settings(max_examples=80)
@given(STEPS, SEEN)
def test_sectors_together_are_judged_as_each_by_itself(
    steps: list[tuple[str, int, int, bool]], seen: list[int | str]
) -> None:
    both = Both()
    for step in steps:
        both.take(step)
    files = [MappedFile(1, "/f", SECTORS * SECTOR_BYTES, True, [Extent(0, LBA, SECTORS)])]
    oracle = Oracle(both.model, FileMap(files), RUN_ID)
    runs = [observed(sector, what, LBA + sector) for sector, what in enumerate(seen)]
    together = oracle.judge_medium(runs, view=View.HOST, partial=True).counts
    for sector_class in SectorClass:
        each = (oracle.judge_medium([r], view=View.HOST, partial=True).counts for r in runs)
        assert together[sector_class] == sum(counts[sector_class] for counts in each)


# -- arrivals ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.booleans()), max_size=20))
def test_arrivals_are_stale_exactly_when_a_newer_one_was_stored_there_before(
    arrived: list[tuple[int, int, bool]],
) -> None:
    model = Model()
    for number in range(1, 5):
        model.apply_all([WriteStarted(1, 0, 3, number, number), WriteReturned(1, number)])
    files = [MappedFile(1, "/f", 3 * SECTOR_BYTES, True, [Extent(0, LBA, 3)])]
    newest: dict[int, int] = {}
    stale, arrivals = [], []
    for order, (sector, number, good) in enumerate(arrived):
        data = encode(Stamp(RUN_ID, 1, sector * SECTOR_BYTES, LBA + sector, number, 0, number))
        arrivals.append(Arrival(order, 0 if good else 5, scan(data, LBA + sector)))
        if newest.get(sector, 0) > number:
            stale.append(order)
        elif good:
            newest[sector] = number
    judgement = Oracle(model, FileMap(files), RUN_ID).judge_arrivals(arrivals)
    assert [finding.arrival for finding in judgement.findings] == stale
    assert judgement.counts[SectorClass.OK] == len(arrived) - len(stale)


# -- size ----------------------------------------------------------------------------------------

MANY = 1 << 20
BLOCK = 64
CEILING_S = 10.0
"""docs/integrity.md has what it takes on a calm machine: about a second a view."""


@pytest.mark.parametrize("shift", [0, BLOCK], ids=["right", "misdirected"])
def test_a_million_sectors_of_small_writes_are_judged_quickly(shift: int) -> None:
    model = Model()
    for number in range(1, MANY // BLOCK + 1):
        first = (number - 1) * BLOCK
        model.apply(WriteStarted(1, first, BLOCK, 1, number))
        model.apply(WriteReturned(1, number))
    model.apply(Flushed(1))
    runs = [
        Run(
            LBA + first,
            BLOCK,
            SectorKind.STAMP,
            Stamp(
                RUN_ID,
                1,
                (first + shift) % MANY * SECTOR_BYTES,
                LBA + (first + shift) % MANY,
                1,
                0,
                (first + shift) % MANY // BLOCK + 1,
            ),
        )
        for first in range(0, MANY, BLOCK)
    ]
    files = [MappedFile(1, "/f", MANY * SECTOR_BYTES, True, [Extent(0, LBA, MANY)])]
    oracle = Oracle(model, FileMap(files), RUN_ID)
    started_s = time.process_time()
    judgement = oracle.judge_medium(runs)
    took_s = time.process_time() - started_s
    sector_class = SectorClass.MISDIRECTED if shift else SectorClass.OK
    assert judgement.counts[sector_class] == MANY
    assert took_s < CEILING_S
