"""The watchdog: what makes no progress is told, and who waits in the kernel."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from rig.integrity.tasks import Blockage, Task, parse_stat
from rig.integrity.watchdog import Watchdog

STAT = "{pid} ({name}) {state} 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0\n"


def test_a_line_of_proc_is_read_also_with_brackets_in_the_name() -> None:
    line = STAT.format(pid=7, name="a) (b", state="D", started=55)
    assert parse_stat(line, 3) == Task(7, "a) (b", "D", 55, 3)


@pytest.mark.parametrize("line", ["", "7 (x", "7 (x) D 1 2", "x (y) D " + "1 " * 30])
def test_what_is_no_such_line_is_none(line: str) -> None:
    assert parse_stat(line) is None


def test_a_task_that_did_not_run_meanwhile_was_in_state_d_all_the_time() -> None:
    blockage = Blockage()
    stuck = Task(7, "sync", "D", 55, 3)
    assert blockage.look([stuck], 10.0)[0].for_s == 0.0
    assert blockage.look([stuck], 14.0)[0].for_s == 4.0
    assert blockage.longest is not None
    assert (blockage.longest.pid, blockage.longest.for_s) == (7, 4.0)


@pytest.mark.parametrize("other", [Task(7, "sync", "D", 55, 4), Task(7, "new", "D", 99, 3)])
def test_one_that_ran_meanwhile_or_is_another_begins_anew(other: Task) -> None:
    blockage = Blockage()
    blockage.look([Task(7, "sync", "D", 55, 3)], 10.0)
    assert blockage.look([other], 14.0)[0].for_s == 0.0


def test_one_that_sleeps_is_none_of_them() -> None:
    assert Blockage().look([Task(7, "sync", "S", 55, 3)], 1.0) == []


class Bench:
    """A watchdog over a ``/proc`` and a clock of its own."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.now_s = 100.0
        self.told: list[dict[str, Any]] = []
        self.came = threading.Condition()
        (proc / "self/task").mkdir(parents=True)
        (proc / "sysrq-trigger").touch()
        self.task(9, "jbd2/sda1", "D", ["io_schedule", "jbd2_journal_commit_transaction"])
        self.task(8, "bash", "S", [])
        self.dog = Watchdog(
            self.emit, stall_s=15.0, look_s=0.001, proc=proc, clock=lambda: self.now_s
        )

    def task(self, pid: int, name: str, state: str, frames: list[str]) -> None:
        place = self.proc / str(pid)
        place.mkdir()
        (place / "stat").write_text(STAT.format(pid=pid, name=name, state=state, started=5))
        (place / "status").write_text("Name:\tx\nvoluntary_ctxt_switches:\t12\n")
        (place / "stack").write_text("".join(f"[<0>] {f}+0x12/0x30\n" for f in frames))

    def emit(self, event: str, **fields: Any) -> None:
        with self.came:
            self.told.append({"event": event, **fields})
            self.came.notify_all()

    def wait(self, event: str) -> dict[str, Any]:
        with self.came:
            assert self.came.wait_for(lambda: any(e["event"] == event for e in self.told), 10.0)
            return next(e for e in self.told if e["event"] == event)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_stall_is_told_with_the_stacks_of_who_waits_and_so_is_its_end(bench: Bench) -> None:
    bench.dog.start()
    with bench.dog.watching("write ext4"):
        bench.now_s += 16.0
        stalled = bench.wait("stalled")
        bench.dog.beat()
        bench.wait("went_on")
    bench.dog.stop()
    assert stalled["step"] == "write ext4"
    assert stalled["quiet_s"] >= 15.0
    (task,) = stalled["tasks"]
    assert (task.name, task.stack[0]) == ("jbd2/sda1", "io_schedule+0x12/0x30")
    assert (bench.proc / "sysrq-trigger").read_text() == "w"


def test_transfers_of_the_disk_are_progress_of_a_step_that_another_program_takes(
    bench: Bench, tmp_path: Path
) -> None:
    stat = tmp_path / "stat"
    stat.write_text("1 0 8 0\n")
    with bench.dog.watching("check ext4", stat):
        for moved in range(20):
            bench.now_s += 10.0
            stat.write_text(f"{moved} 0 16 0\n")
            bench.dog._look()
    assert [e for e in bench.told if e["event"] == "stalled"] == []


def test_the_longest_wait_is_told_when_a_step_ends_if_it_is_longer_than_any_before(
    bench: Bench,
) -> None:
    for waits_s in (8.0, 2.0):
        with bench.dog.watching("write ext4"):
            bench.now_s += 4.0
            bench.dog._look()
            bench.now_s += waits_s - 4.0
            bench.dog._look()
        (bench.proc / "9/status").write_text(f"voluntary_ctxt_switches:\t{waits_s}\n".split(".")[0])
    blocked = [e for e in bench.told if e["event"] == "blocked"]
    assert [(e["step"], e["pid"], e["for_s"]) for e in blocked] == [("write ext4", 9, 4.0)]


def test_between_steps_nothing_is_watched(bench: Bench) -> None:
    with bench.dog.watching("write ext4"):
        pass
    bench.now_s += 100.0
    bench.dog.start()
    bench.dog.stop()
    assert bench.told == []
