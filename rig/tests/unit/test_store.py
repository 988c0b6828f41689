"""The store: data where it belongs, every access in the journal, faults that touch nothing."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import MachineError, UserError
from rig.faults.plan import NO_FAULTS, Plan
from rig.faults.reader import parse_plan
from rig.faults.rules.medium import MediumAccess, MediumFault, MediumOp
from rig.faults.triggers import Injector
from rig.gadget import medium_file
from rig.gadget.answers import Answer, FaultReport
from rig.gadget.journal import Damage, Injected, Op, Record, encode, read_journal
from rig.gadget.rebuild import Rebuilder
from rig.gadget.store import Store

SIZE = 64 * 512
RULE = 'name = "t"\n[[fault]]\nlayer = "medium"\nerror = "EIO"\n'


class Bench:
    """A store in a directory, with a clock that ticks by one."""

    def __init__(self, directory: Path, plan: Plan = NO_FAULTS, size: int = SIZE) -> None:
        self.directory = directory
        self.reports: list[FaultReport] = []
        ticks = iter(range(100, 10_000))
        self.store = Store(
            directory / "medium.img",
            directory / "journal.bin",
            size,
            Injector(plan, MediumFault),
            on_fault=self.reports.append,
            clock_ns=lambda: next(ticks),
        )

    def medium(self) -> bytes:
        return (self.directory / "medium.img").read_bytes()

    def journal(self) -> list[Record | Damage]:
        return list(read_journal([(self.directory / "journal.bin").read_bytes()]))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def failing(tmp_path: Path, rule: str) -> Bench:
    return Bench(tmp_path, parse_plan(RULE + rule, "t"))


def test_a_new_medium_is_sparse_and_reads_as_zeros(bench: Bench) -> None:
    assert bench.store.read(0, SIZE) == Answer(0, bytes(SIZE))
    assert (bench.directory / "medium.img").stat().st_blocks == 0


def test_a_write_lands_at_its_offset_and_nowhere_else(bench: Bench) -> None:
    assert bench.store.write(1024, b"x" * 512) == Answer(0)
    assert bench.medium() == bytes(1024) + b"x" * 512 + bytes(SIZE - 1536)
    assert bench.store.read(1024, 512) == Answer(0, b"x" * 512)


def test_every_access_is_in_the_journal_in_order(bench: Bench) -> None:
    bench.store.write(512, b"y" * 512)
    bench.store.read(0, 1024)
    bench.store.flush()
    assert bench.journal() == [
        Record(0, 100, Op.WRITE, 0, 512, 512, b"y" * 512),
        Record(1, 101, Op.READ, 0, 0, 1024),
        Record(2, 102, Op.FLUSH, 0, 0, 0),
    ]
    assert bench.store.accesses == {Op.READ: 1, Op.WRITE: 1, Op.FLUSH: 1, Op.POWER_CUT: 0}


def test_a_write_fault_leaves_the_medium_untouched_and_journals_what_arrived(
    tmp_path: Path,
) -> None:
    bench = failing(tmp_path, 'op = "write"\nnth = 1')
    assert bench.store.write(0, b"z" * 512) == Answer(errno.EIO)
    assert bench.medium() == bytes(SIZE)
    assert bench.journal() == [
        Record(0, 100, Op.WRITE, errno.EIO, 0, 512, b"z" * 512, Injected.ERROR)
    ]
    assert bench.store.write(0, b"z" * 512) == Answer(0)


def test_a_read_fault_returns_no_data(tmp_path: Path) -> None:
    bench = failing(tmp_path, 'op = "read"\nnth = 1')
    assert bench.store.read(0, 512) == Answer(errno.EIO, b"")


def test_a_fault_is_reported_with_its_rule_and_place(tmp_path: Path) -> None:
    bench = failing(tmp_path, 'op = "write"\nnth = 2')
    bench.store.write(0, bytes(512))
    bench.store.write(2048, bytes(1024))
    (report,) = bench.reports
    assert (report.fired.rule_name, report.fired.match, report.sequence) == ("medium-1", 2, 1)
    assert report.access == MediumAccess(MediumOp.WRITE, 4, 2)


@pytest.mark.parametrize(
    ("offset", "length", "hit"),
    [(0, 1024, False), (1024, 512, True), (1023, 2, True), (1536, 1, False), (1535, 1, True)],
)
def test_a_range_of_one_lba_is_hit_by_each_of_its_bytes(
    tmp_path: Path, offset: int, length: int, hit: bool
) -> None:
    bench = failing(tmp_path, 'op = "read"\nlba = [2, 2]\nnth = 1')
    assert bool(bench.store.read(offset, length).error) is hit


def test_a_read_is_cut_off_at_the_end_of_the_medium(bench: Bench) -> None:
    assert bench.store.read(SIZE - 512, 4096) == Answer(0, bytes(512))
    assert bench.store.read(SIZE, 512) == Answer(0, b"")


def test_a_write_past_the_end_fails_whole(bench: Bench) -> None:
    assert bench.store.write(SIZE - 512, bytes(1024)) == Answer(errno.ENOSPC)
    assert len(bench.medium()) == SIZE


def test_a_second_store_keeps_the_data_and_continues_the_journal(tmp_path: Path) -> None:
    first = Bench(tmp_path)
    first.store.write(0, b"a" * 512)
    first.store.close()
    second = Bench(tmp_path)
    assert second.store.read(0, 512).data == b"a" * 512
    assert [item.sequence for item in second.journal() if isinstance(item, Record)] == [0, 1]


def test_a_torn_tail_of_a_killed_store_is_told_and_numbering_goes_on(tmp_path: Path) -> None:
    first = Bench(tmp_path)
    first.store.write(0, b"a" * 512)
    first.store.close()
    with (tmp_path / "journal.bin").open("ab") as journal:
        journal.write(encode(Record(1, 0, Op.WRITE, 0, 0, 512, bytes(512)))[:100])
    second = Bench(tmp_path)
    assert [damage.torn_tail for damage in second.store.journal_damage] == [True]
    second.store.flush()
    whole = [item.sequence for item in second.journal() if isinstance(item, Record)]
    assert whole == [0, 1]


def test_a_medium_of_another_size_is_refused(tmp_path: Path) -> None:
    Bench(tmp_path).store.close()
    with pytest.raises(UserError, match=rf"has {SIZE} bytes, not 512"):
        Bench(tmp_path, size=512)


@pytest.mark.parametrize("size", [0, -512, 513])
def test_a_size_that_is_no_number_of_blocks_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match="multiple of 512"):
        Bench(tmp_path, size=size)


def test_a_medium_in_use_is_refused_after_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(medium_file, "LOCK_DEADLINE_S", 0.05)
    first = Bench(tmp_path)
    with pytest.raises(UserError, match="in use by another store"):
        Bench(tmp_path)
    first.store.close()


def test_an_access_that_cannot_be_journalled_is_not_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(MachineError, match="journal cannot be written: No space left"):
        bench.store.write(0, bytes(512))


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from rig.faults.plan import NO_FAULTS\n"
        "from rig.faults.rules.medium import MediumFault\n"
        "from rig.faults.triggers import Injector\n"
        "from rig.gadget.store import Store\n"
        "d = Path(sys.argv[1])\n"
        "s = Store(d / 'medium.img', d / 'journal.bin', 32768, Injector(NO_FAULTS, MediumFault))\n"
        "s.write(512, b'k' * 512)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    after = Bench(tmp_path)
    assert after.store.read(512, 512).data == b"k" * 512
    assert after.store.sequence == 2
    assert after.store.journal_damage == []


KILLED = """
import os, signal, sys
from pathlib import Path
from rig.faults.plan import NO_FAULTS
from rig.faults.rules.medium import MediumFault
from rig.faults.triggers import Injector
from rig.gadget.store import Store
d = Path(sys.argv[1])
s = Store(d / 'medium.img', d / 'journal.bin', 32768, Injector(NO_FAULTS, MediumFault))
s.write(0, b'1' * 512)
s.use_cache()
s.write(512, b'2' * 512)
s.flush()
s.write(1024, b'3' * 1024)
s.write(1536, b'4' * 512)
{end}
"""
"""A store gets a volatile cache while it runs, as by a rule that is added to it; it ends with
1024 bytes in there."""


def killed(tmp_path: Path, end: str) -> Bench:
    """Let a process with a store end in some way; return a store that comes after it."""
    script = KILLED.replace("{end}", end)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == (-9 if KILL in end else 0)
    return Bench(tmp_path)


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def test_what_a_killed_stores_cache_held_is_lost_on_the_record(tmp_path: Path) -> None:
    after = killed(tmp_path, KILL)
    last = after.journal()[-1]
    assert isinstance(last, Record)
    assert (last.op, last.value) == (Op.POWER_CUT, 1024)
    assert after.medium()[:2048] == b"1" * 512 + b"2" * 512 + bytes(1024)
    after.store.close()
    again = Bench(tmp_path)
    assert again.store.sequence == after.store.sequence  # it is lost but once


def test_the_journal_of_a_killed_store_makes_the_medium_it_left(tmp_path: Path) -> None:
    after = killed(tmp_path, KILL)
    after.store.write(0, b"5" * 512)
    made = bytearray(SIZE)

    def write(offset: int, data: bytes) -> None:
        made[offset : offset + len(data)] = data

    rebuilder = Rebuilder(lambda at, n: bytes(made[at : at + n]), write, as_stored=True)
    for item in after.journal():
        assert isinstance(item, Record)
        rebuilder.take(item)
    assert made == after.medium()


@pytest.mark.parametrize("end", ["s.close()", f"s.flush()\n{KILL}", f"s.power_cut()\n{KILL}"])
def test_a_store_that_had_nothing_to_lose_has_lost_nothing(tmp_path: Path, end: str) -> None:
    after = killed(tmp_path, end)
    sequence = after.store.sequence
    ends = [r.op for r in after.journal()[-1:] if isinstance(r, Record)]
    assert ends == [Op.POWER_CUT if "power_cut" in end else Op.FLUSH]
    assert sequence == 6


def test_a_rule_that_goes_by_the_clock_cuts_the_power_with_no_access_to_wait_for(
    tmp_path: Path,
) -> None:
    clock = [50.0]
    reports: list[FaultReport] = []
    rule = '[[fault]]\nlayer = "medium"\nop = "write"\neffect = "power-cut"\nat_s = 2\n'
    injector = Injector(parse_plan(f'name = "t"\n{rule}', "t"), MediumFault, lambda: clock[0])
    store = Store(
        tmp_path / "medium", tmp_path / "journal", SIZE, injector, on_fault=reports.append
    )
    assert store.pass_time() == math.inf
    injector.set_phase("write")
    assert store.pass_time() == 52.0
    store.write(0, b"1" * 1024)
    clock[0] = 52.0
    assert store.pass_time() == math.inf
    assert (store.cached_bytes, store.read(0, 4).data) == (0, bytes(4))
    (report,) = reports
    assert (report.access, report.sequence, report.deed.value) == (None, 1, 1024)


_writes = st.lists(st.tuples(st.integers(0, 63), st.integers(1, 4), st.integers(1, 255)))


@given(writes=_writes)
def test_the_journal_replayed_is_the_medium(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, int, int]]
) -> None:
    plan = parse_plan(RULE + 'op = "write"\nevery = 3\ntimes = -1', "t")
    bench = Bench(tmp_path_factory.mktemp("store"), plan)
    for lba, blocks, value in writes:
        bench.store.write(lba * 512, bytes([value]) * (blocks * 512))
    replayed = bytearray(SIZE)
    for item in bench.journal():
        assert isinstance(item, Record)
        if not item.error:
            replayed[item.offset_bytes : item.offset_bytes + len(item.payload)] = item.payload
    assert bench.medium() == bytes(replayed)
    bench.store.close()
