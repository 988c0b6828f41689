"""Answers that wait: until their time is over, until a command, or not at all any more."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from rig.faults.release import ReleasedBy
from rig.gadget.answers import Hold
from rig.gadget.fuse_loop import Pause
from rig.gadget.holds import Holds, Release

HANG = Hold(45.0, hangs=True, rule_name="r", sequence=7)
DELAY = Hold(0.5, hangs=False, rule_name="d", sequence=8)


class Bench:
    """Holds on a clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.released: list[Release] = []
        self.holds = Holds(self.released.append, lambda: self.now_s)

    def begin(self, hold: Hold) -> tuple[Coroutine[Any, None, None], Pause]:
        """Begin to wait; return the waiting task and its pause."""
        task = self.holds.wait(hold)
        pause = task.send(None)
        assert isinstance(pause, Pause)
        return task, pause


def end(task: Coroutine[Any, None, None]) -> bool:
    """Let a task go on; return whether that ended it."""
    try:
        task.send(None)
    except StopIteration:
        return True
    return False


def test_an_answer_waits_for_its_time() -> None:
    _, pause = Bench().begin(HANG)
    assert pause.until_s == 145.0


def test_a_hang_that_ends_by_itself_is_told() -> None:
    bench = Bench()
    task, _ = bench.begin(HANG)
    bench.now_s += 45.0
    assert end(task)
    assert bench.released == [Release("r", 7, 45.0, ReleasedBy.DEADLINE)]
    assert len(bench.holds) == 0


def test_a_command_releases_all_that_waits_and_the_hangs_are_told() -> None:
    bench = Bench()
    (hang, pause), (delay, other) = bench.begin(HANG), bench.begin(DELAY)
    bench.now_s += 2.0
    assert bench.holds.release() == 2
    assert pause.until_s < bench.now_s
    assert other.until_s < bench.now_s
    assert end(hang)
    assert end(delay)
    assert bench.released == [Release("r", 7, 2.0, ReleasedBy.COMMAND)]


def test_a_hang_that_the_stores_end_cut_short_is_told_so() -> None:
    bench = Bench()
    task, _ = bench.begin(HANG)
    bench.now_s += 1.0
    assert end(task)
    assert bench.released == [Release("r", 7, 1.0, ReleasedBy.END)]


def test_after_a_release_the_next_hang_waits_again() -> None:
    bench = Bench()
    bench.holds.release()
    _, pause = bench.begin(HANG)
    assert pause.until_s > bench.now_s


def test_a_hang_that_is_released_for_good_ends_with_its_device_and_by_no_command() -> None:
    bench = Bench()
    task, pause = bench.begin(HANG)
    bench.now_s += 1.0
    assert bench.holds.release(close=ReleasedBy.END) == 1
    assert pause.until_s < bench.now_s
    assert end(task)
    assert bench.released == [Release("r", 7, 1.0, ReleasedBy.END)]


def test_what_was_let_go_already_is_not_counted_again() -> None:
    bench = Bench()
    task, _ = bench.begin(HANG)
    assert bench.holds.release() == 1
    assert bench.holds.release(close=ReleasedBy.END) == 0
    assert end(task)
    assert [release.by for release in bench.released] == [ReleasedBy.COMMAND]


def test_after_a_release_for_good_nothing_waits_and_a_hangs_end_is_told_all_the_same() -> None:
    bench = Bench()
    bench.holds.release(close=ReleasedBy.END)
    assert end(bench.holds.wait(DELAY))
    assert end(bench.holds.wait(HANG))
    assert bench.released == [Release("r", 7, 0.0, ReleasedBy.END)]


def test_while_a_moment_befalls_the_device_nothing_waits_and_behind_it_it_does_again() -> None:
    bench = Bench()
    task, _ = bench.begin(HANG)
    assert bench.holds.release(close=ReleasedBy.MOMENT) == 1
    assert end(task)
    assert end(bench.holds.wait(HANG))
    assert [release.by for release in bench.released] == [ReleasedBy.MOMENT] * 2
    bench.holds.open()
    _, pause = bench.begin(HANG)
    assert pause.until_s > bench.now_s


def test_a_device_that_is_gone_for_good_does_not_come_back_behind_a_moment() -> None:
    bench = Bench()
    bench.holds.release(close=ReleasedBy.END)
    bench.holds.open()
    assert end(bench.holds.wait(HANG))
