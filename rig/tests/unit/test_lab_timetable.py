"""The order of deeds: what is struck comes back, and nothing is done to what is down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.faults.reader import parse_plan
from rig.faults.release import ReleasedBy
from rig.faults.rules.machine import MachineFault, MachineRole
from rig.faults.triggers import Injector
from rig.lab.timetable import TAKES_DOWN, TAKES_POWER, Deed, Step, Timetable

Done = list[tuple[float, Deed]]


class World:
    """A timetable, and a clock."""

    def __init__(self, *rules: str) -> None:
        text = "".join(
            f'[[fault]]\nname = "{i}"\nlayer = "machine"\n{rule}\n' for i, rule in enumerate(rules)
        )
        plan = parse_plan(f'name = "x"\n{text}', "x.toml")
        self.now_s = 0.0
        self.injector = Injector(plan, MachineFault, lambda: self.now_s)
        self.table = Timetable(self.injector)
        self.injector.set_phase("write")
        self.steps: list[tuple[float, Step]] = []

    def run(self, until_s: float) -> None:
        while True:
            while (step := self.table.next_step(self.now_s)) is not None:
                self.steps.append((self.now_s, step))
            next_s = self.table.next_s()
            if next_s is None or next_s > until_s:
                self.now_s = until_s
                return
            assert next_s > self.now_s
            self.now_s = next_s

    def done(self) -> Done:
        return [(at_s, step.deed) for at_s, step in self.steps]


def rule(effect: str, at_s: float, for_s: float | None = None, machine: str = "back") -> str:
    daemon = f'daemon = "{machine}"\n' if effect.endswith("-daemon") else ""
    lasts = "" if for_s is None else f"for_s = {for_s}\n"
    return f'machine = "{machine}"\neffect = "{effect}"\nat_s = {at_s}\n{daemon}{lasts}'


def test_a_daemon_that_was_killed_is_started_again() -> None:
    world = World(rule("kill-daemon", 2, 3))
    world.run(100)
    assert world.done() == [(2.0, Deed.KILL_DAEMON), (5.0, Deed.START_DAEMON)]
    begin, end = (step for _, step in world.steps)
    assert begin.fired is not None
    assert end.fired is None
    assert (end.rule, end.since_s) == ("0", 2.0)


def test_what_is_stopped_or_paused_goes_on_at_its_deadline() -> None:
    world = World(rule("stop-daemon", 1), rule("pause", 2, 4, "front"))
    world.run(100)
    assert world.done() == [
        (1.0, Deed.STOP_DAEMON),
        (2.0, Deed.PAUSE),
        (6.0, Deed.RESUME),
        (11.0, Deed.CONTINUE_DAEMON),
    ]
    assert world.table.standing == []


def test_a_machine_without_power_boots_at_once_or_later() -> None:
    world = World(rule("power-cycle", 1), rule("reboot", 2, 3, "front"))
    world.run(100)
    assert world.done() == [
        (1.0, Deed.CUT_POWER),
        (1.0, Deed.BRING_UP),
        (2.0, Deed.SHUT_DOWN),
        (5.0, Deed.BRING_UP),
    ]


def test_a_daemon_of_a_paused_machine_is_struck_and_mended_when_that_goes_on() -> None:
    world = World(rule("stop-daemon", 1, 2), rule("pause", 2, 10), rule("kill-daemon", 3))
    world.run(100)
    assert world.done() == [
        (1.0, Deed.STOP_DAEMON),
        (2.0, Deed.PAUSE),
        (12.0, Deed.RESUME),
        (12.0, Deed.CONTINUE_DAEMON),
        (12.0, Deed.KILL_DAEMON),
        (13.0, Deed.START_DAEMON),
    ]


def test_a_daemon_whose_machine_lost_power_comes_back_with_it() -> None:
    world = World(rule("kill-daemon", 1, 20), rule("power-cycle", 2, 1))
    world.run(100)
    assert [deed for _, deed in world.done()] == [
        Deed.KILL_DAEMON,
        Deed.CUT_POWER,
        Deed.BRING_UP,
    ]


@pytest.mark.parametrize("ends", ["power-cycle", "reboot", "kill"])
def test_what_was_done_to_a_daemon_is_over_when_its_machine_loses_power(ends: str) -> None:
    front = rule("stop-daemon", 1, 20, "front")
    world = World(rule("stop-daemon", 1, 20), rule(ends, 5), front)
    world.run(6)
    (power,) = [step for _, step in world.steps if step.deed in TAKES_POWER]
    assert [(o.rule, o.since_s, o.by) for o in power.cut_short] == [("0", 1.0, ReleasedBy.END)]
    assert world.table.standing == ["2"]


def test_in_a_timetable_that_is_given_up_only_what_stands_still_goes_on() -> None:
    world = World(
        rule("pause", 1, 50),
        rule("stop-daemon", 0, 50),
        rule("power-cycle", 2, 50, "front"),
        rule("kill-daemon", 3),
        rule("pause", 10, 1),
    )
    world.run(4)
    world.steps.clear()
    world.table.give_up(world.now_s)
    world.run(100)
    assert world.done() == [(4.0, Deed.RESUME), (4.0, Deed.CONTINUE_DAEMON)]
    assert {step.by for _, step in world.steps} == {ReleasedBy.END}
    assert world.table.standing == []
    assert world.table.next_s() is None


def test_what_is_killed_for_good_suffers_nothing_more() -> None:
    world = World(rule("stop-daemon", 1), rule("kill", 2), rule("pause", 3))
    world.run(100)
    assert [deed for _, deed in world.done()] == [Deed.STOP_DAEMON, Deed.KILL]
    assert world.table.standing == []
    assert world.table.next_s() is None


def test_release_brings_all_back_at_once_and_begins_nothing() -> None:
    world = World(rule("pause", 1, 50), rule("stop-daemon", 2, 50, "front"), rule("kill-daemon", 3))
    world.run(4)
    assert world.table.release(world.now_s) == 2
    world.run(100)
    assert {step.by for _, step in world.steps[2:]} == {ReleasedBy.COMMAND}
    assert world.done() == [
        (1.0, Deed.PAUSE),
        (2.0, Deed.STOP_DAEMON),
        (4.0, Deed.RESUME),
        (4.0, Deed.CONTINUE_DAEMON),
    ]


RULES = st.builds(
    rule,
    st.sampled_from(["kill-daemon", "stop-daemon", "pause", "power-cycle", "reboot", "kill"]),
    st.integers(0, 20),
    st.none(),
    st.sampled_from(["front", "back"]),
)


@given(st.lists(RULES, max_size=6))
def test_all_is_over_in_the_end_and_nobody_speaks_to_a_machine_that_is_down(
    rules: list[str],
) -> None:
    world = World(*rules)
    world.run(1000)
    assert world.table.standing == []
    down: set[MachineRole] = set()
    stopped: set[MachineRole] = set()
    for _, step in world.steps:
        if step.deed in (Deed.RESUME, Deed.BRING_UP):
            assert step.machine in down
            down.discard(step.machine)
            continue
        assert step.machine not in down
        if step.deed in TAKES_DOWN:
            down.add(step.machine)
            if step.deed is not Deed.PAUSE:
                stopped.discard(step.machine)
        elif step.fired is not None:
            assert step.machine not in stopped
            stopped.add(step.machine)
        else:
            stopped.remove(step.machine)
    killed = {step.machine for _, step in world.steps if step.deed is Deed.KILL}
    assert down == killed
    begun = sorted(step.rule for _, step in world.steps if step.fired is not None)
    over = [step.rule for _, step in world.steps if step.fired is None]
    over += [one.rule for _, step in world.steps for one in step.cut_short]
    for_good = [step.rule for _, step in world.steps if step.deed is Deed.KILL]
    assert sorted(over + for_good) == begun
    assert not stopped - killed
