"""The real store meets the real oracle: each effect on the medium is seen, and called by its name.

A host writes two files through the store, twice or more, each time with a flush, and reads them
back; the three views are judged.  What a correct stack must survive gives no finding.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.faults.reader import parse_plan
from rig.faults.rules.medium import MediumFault
from rig.faults.triggers import Injector
from rig.gadget.journal import Op, Record, read_journal
from rig.gadget.store import Store
from rig.integrity.evidence import MediumJournal, Served
from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.guilt import Jury
from rig.integrity.judgement import Guilty, Judgement, View, combine
from rig.integrity.ledger import (
    Flushed,
    FlushFailed,
    WriteFailed,
    WriteReturned,
    WriteStarted,
)
from rig.integrity.model import Model
from rig.integrity.oracle import Arrival, Oracle
from rig.integrity.scan import Scanner, scan
from rig.integrity.stamp import SECTOR_BYTES, Stamp, encode

RUN_ID = 5
ACCESS_BLOCKS = 32
FILE_SECTORS = 64
LBAS = {1: 64, 2: 256}
MEDIUM_BLOCKS = 512
TORN_BYTES = 9 * SECTOR_BYTES + 200


class Host:
    """Writes and reads files through a store, and keeps the ledger."""

    def __init__(self, directory: Path, rules: str) -> None:
        self.directory = directory
        plan = parse_plan(f'name = "t"\nseed = 3\n{rules}', "t")
        self.store = Store(
            directory / "medium.img",
            directory / "journal.bin",
            MEDIUM_BLOCKS * SECTOR_BYTES,
            Injector(plan, MediumFault),
        )
        self.ledger = Model()
        files = [
            MappedFile(
                f, f"/{f}", FILE_SECTORS * SECTOR_BYTES, True, [Extent(0, lba, FILE_SECTORS)]
            )
            for f, lba in LBAS.items()
        ]
        self.map = FileMap(files)
        self.oracle = Oracle(self.ledger, self.map, RUN_ID)
        self._sequence = 0

    def write_all(self, generation: int) -> None:
        for file_id in LBAS:
            for first in range(0, FILE_SECTORS, ACCESS_BLOCKS):
                self._write(file_id, first, generation)
            error = self.store.flush().error
            self.ledger.apply(FlushFailed(file_id, error) if error else Flushed(file_id))

    def _write(self, file_id: int, first: int, generation: int) -> None:
        self._sequence += 1
        number = self._sequence
        lba = LBAS[file_id] + first
        stamp = Stamp(RUN_ID, file_id, first * SECTOR_BYTES, lba, generation, 0, number)
        data = b"".join(encode(stamp.advanced(i)) for i in range(ACCESS_BLOCKS))
        self.ledger.apply(WriteStarted(file_id, first, ACCESS_BLOCKS, generation, number))
        error = self.store.write(lba * SECTOR_BYTES, data).error
        ended = WriteFailed(file_id, number, error) if error else WriteReturned(file_id, number)
        self.ledger.apply(ended)

    def host_view(self) -> Judgement:
        views = []
        for file_id, lba in LBAS.items():
            scanner = Scanner(0)
            for first in range(0, FILE_SECTORS, ACCESS_BLOCKS):
                size = ACCESS_BLOCKS * SECTOR_BYTES
                answer = self.store.read((lba + first) * SECTOR_BYTES, size)
                if answer.error:
                    scanner.feed_unreadable(ACCESS_BLOCKS)
                else:
                    scanner.feed(answer.data)
            views.append(self.oracle.judge_host(file_id, scanner.finish()))
        return combine(views)

    def medium_view(self) -> Judgement:
        return self.oracle.judge_medium(scan((self.directory / "medium.img").read_bytes(), 0))

    def arrival_view(self) -> Judgement:
        return self.oracle.judge_arrivals(self.journal().writes)

    def journal(self) -> MediumJournal:
        found = read_journal([(self.directory / "journal.bin").read_bytes()])
        records = [r for r in found if isinstance(r, Record)]

        def fault(record: Record) -> str:
            return record.injected.name.lower() if record.injected else ""

        def lba(record: Record) -> int:
            return record.offset_bytes // SECTOR_BYTES

        return MediumJournal(
            [
                Arrival(r.sequence, r.error, scan(r.payload, lba(r)), fault(r))
                for r in records
                if r.op is Op.WRITE
            ],
            [
                Served(r.sequence, lba(r), r.length_bytes // SECTOR_BYTES, r.error, fault(r))
                for r in records
                if r.op is Op.READ
            ],
            [r.sequence for r in records if r.op is Op.FLUSH and not r.error],
            volatile=any(r.volatile for r in records),
            power_cuts=[r.sequence for r in records if r.op is Op.POWER_CUT],
        )

    def guilty(self, host: Judgement) -> set[Guilty | None]:
        """Who is, for all that the host and the medium show."""
        seen = combine([host, self.medium_view()])
        medium = scan((self.directory / "medium.img").read_bytes(), 0)
        jury = Jury(self.oracle, self.journal(), medium)
        return {finding.guilty for finding in jury.blame(seen).findings}

    def classes(self, host: Judgement | None = None) -> dict[View, set[str]]:
        views = {
            View.HOST: host or self.host_view(),
            View.MEDIUM: self.medium_view(),
            View.ARRIVAL: self.arrival_view(),
        }
        return {
            view: {name.value for name, count in seen.counts.items() if count} - {"ok"}
            for view, seen in views.items()
        }


def rule(op: str, effect: str, trigger: str, more: str = "") -> str:
    return f'[[fault]]\nlayer = "medium"\nop = "{op}"\neffect = "{effect}"\n{trigger}\n{more}\n'


SECOND_ROUND = "nth = 5"  # of the writes: the first one of the second generation
THIRD_READ = "nth = 3"


@pytest.mark.parametrize(
    ("rules", "host", "medium"),
    [
        (rule("write", "lost", SECOND_ROUND), {"lost"}, {"lost"}),
        (rule("write", "lost", SECOND_ROUND, "times = 5"), {"lost"}, {"lost"}),
        (
            rule("write", "torn", SECOND_ROUND, f"torn_bytes = {TORN_BYTES}"),
            {"torn", "lost"},
            {"torn", "lost"},
        ),
        (
            rule("write", "misdirected", SECOND_ROUND, "shift_blocks = 192"),
            {"lost"},  # of the second file it hits, there is a newer generation yet to come
            {"lost"},
        ),
        (
            rule("write", "misdirected", "nth = 8", "shift_blocks = -192"),
            {"lost", "misdirected"},
            {"lost", "misdirected"},
        ),
        (rule("read", "misdirected", THIRD_READ), {"misdirected"}, set()),
        (rule("write", "flip", SECOND_ROUND), {"corrupt"}, {"corrupt"}),
        (rule("read", "flip", THIRD_READ), {"corrupt"}, set()),
        (rule("read", "stale", THIRD_READ), {"lost"}, set()),
        (rule("read", "stale", THIRD_READ, "versions = 2"), {"zeroed"}, set()),
        (rule("read", "error", THIRD_READ), {"unreadable"}, set()),
        (rule("flush", "lie", "nth = 1", "times = -1"), set(), {"zeroed"}),
        (rule("flush", "lie", "nth = 3", "times = -1"), set(), {"lost"}),
        (
            rule("write", "power-cut", "nth = 6"),
            {"indeterminate", "lost"},
            {"indeterminate", "lost"},
        ),
    ],
    ids=[
        *("lost", "lost-for-a-while", "torn", "misdirected-write", "misdirected-on-another"),
        *("misdirected-read", "flipped-write", "flipped-read", "stale-read", "staler-read"),
        *("read-error", "lying-flush", "later-lying-flush", "power-cut"),
    ],
)
def test_an_effect_that_corrupts_is_called_by_its_name(
    tmp_path: Path, rules: str, host: set[str], medium: set[str]
) -> None:
    stage = Host(tmp_path, rules)
    stage.write_all(1)
    stage.write_all(2)
    seen = stage.host_view()
    classes = stage.classes(seen)
    assert set(stage.store.injector.fired.values()) != {0}
    assert classes == {View.HOST: host, View.MEDIUM: medium, View.ARRIVAL: set()}
    assert stage.guilty(seen) == {Guilty.MEDIUM}


@pytest.mark.parametrize(
    "rules",
    [
        rule("write", "delay", SECOND_ROUND, "delay_s = 0.1"),
        rule("write", "hang", SECOND_ROUND),
        rule("read", "delay", THIRD_READ, "delay_s = 0.1"),
        rule("flush", "hang", "nth = 2"),
        rule("read", "power-cut", "nth = 1", "lba = [500, 511]"),
    ],
    ids=["late-write", "hung-write", "late-read", "hung-flush", "power-cut-after-the-flush"],
)
def test_an_effect_that_a_correct_stack_survives_gives_no_finding(
    tmp_path: Path, rules: str
) -> None:
    stage = Host(tmp_path, rules)
    stage.write_all(1)
    stage.write_all(2)
    stage.store.read(511 * SECTOR_BYTES, SECTOR_BYTES)
    assert stage.classes() == {View.HOST: set(), View.MEDIUM: set(), View.ARRIVAL: set()}
    assert stage.store.injector.fired == {"medium-1": 1}


@pytest.mark.parametrize("op", ["write", "flush"])
def test_an_error_that_the_host_was_told_of_is_no_accusation(tmp_path: Path, op: str) -> None:
    stage = Host(tmp_path, rule(op, "error", "nth = 1"))
    stage.write_all(1)
    assert stage.classes()[View.MEDIUM] == {"indeterminate"}


def test_a_lie_costs_nothing_until_the_power_is_cut(tmp_path: Path) -> None:
    stage = Host(tmp_path, rule("flush", "lie", "nth = 3", "times = -1"))
    stage.write_all(1)
    stage.write_all(2)
    assert stage.classes()[View.HOST] == set()
    stage.store.power_cut()
    assert stage.classes()[View.HOST] == {"lost"}


def test_a_staler_read_of_thrice_written_blocks_is_stale(tmp_path: Path) -> None:
    stage = Host(tmp_path, rule("read", "stale", "nth = 1", "versions = 2"))
    for generation in (1, 2, 3):
        stage.write_all(generation)
    assert stage.classes()[View.HOST] == {"stale"}
