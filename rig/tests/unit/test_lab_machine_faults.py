"""Machine faults in their thread, with hands that note what they do."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest

from rig.daemon import Command, Events
from rig.errors import LostVMError, MachineError, UserError
from rig.faults.reader import parse_plan
from rig.lab import machine_faults
from rig.lab.machine_faults import MachineFaults
from rig.lab.timetable import Deed, Step

DEADLINE_S = 10.0
KILL = 'machine = "back"\neffect = "kill-daemon"\ndaemon = "back"\nat_s = 0\nfor_s = 0.01'
PAUSE = 'machine = "front"\neffect = "pause"\nat_s = 0\nfor_s = 600'


class Hands:
    """Note deeds."""

    def __init__(self) -> None:
        self.deeds: list[Deed] = []
        self.fails: Deed | None = None
        self.error: Exception = LostVMError("The machine is gone.", hint="Look for it.")
        self.paused = threading.Event()

    def do(self, step: Step) -> None:
        if step.deed is self.fails:
            raise self.error
        self.deeds.append(step.deed)
        if step.deed is Deed.PAUSE:
            self.paused.set()


class Stage:
    def __init__(self, *rules: str) -> None:
        text = "".join(
            f'[[fault]]\nname = "{name}"\nlayer = "machine"\n{rule}\n'
            for name, rule in zip("abc", rules, strict=False)
        )
        plan = parse_plan(f'name = "x"\n{text}', "x.toml")
        self.hands, self.told = Hands(), io.BytesIO()
        self.faults = MachineFaults(plan, self.hands, Events(self.told))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.told.getvalue().splitlines()]


def test_what_is_struck_comes_back_and_both_are_told() -> None:
    stage = Stage(KILL)
    with stage.faults as faults:
        assert faults.planned == {"a": 1}
        faults.set_phase("write")
        faults.settle(DEADLINE_S)
        assert faults.fired == {"a": 1}
    assert stage.hands.deeds == [Deed.KILL_DAEMON, Deed.START_DAEMON]
    fault, released = stage.events
    assert (fault["event"], fault["layer"], fault["rule"]) == ("fault", "machine", "a")
    assert (fault["effect"], fault["machine"], fault["daemon"]) == ("kill-daemon", "back", "back")
    assert (released["event"], released["deed"]) == ("released", "start-daemon")
    assert released["by"] == "deadline"


def test_nothing_is_struck_before_its_phase() -> None:
    stage = Stage(KILL + '\nphase = "read"')
    with stage.faults as faults:
        faults.set_phase("write")
        faults.settle(DEADLINE_S)
        assert faults.fired == {"a": 0}


def test_what_stands_still_can_be_released_by_command() -> None:
    stage = Stage(PAUSE)
    with stage.faults as faults:
        faults.set_phase("write")
        assert stage.hands.paused.wait(DEADLINE_S)
        with pytest.raises(MachineError, match=r"not back in 0\.01 s"):
            faults.settle(0.01)
        faults.release()
        faults.settle(DEADLINE_S)
    assert stage.hands.deeds == [Deed.PAUSE, Deed.RESUME]
    assert stage.events[-1]["by"] == "command"


def test_what_cannot_be_done_is_told_to_whoever_waits() -> None:
    stage = Stage(KILL)
    stage.hands.fails = Deed.START_DAEMON
    with stage.faults as faults:
        faults.set_phase("write")
        with pytest.raises(MachineError, match="gone") as failed:
            faults.settle(DEADLINE_S)
    assert failed.value.hint == "Look for it."
    assert stage.events[-1]["event"] == "error"


@pytest.mark.parametrize(
    "error", [LostVMError("The machine is gone."), RuntimeError("a surprise"), OSError(5, "Gone")]
)
def test_what_stands_still_goes_on_although_another_deed_failed(error: Exception) -> None:
    stop = 'machine = "back"\neffect = "stop-daemon"\ndaemon = "gadget"\nat_s = 0\nfor_s = 600'
    stage = Stage(PAUSE, stop, KILL.replace("at_s = 0", "at_s = 0.01"))
    stage.hands.fails, stage.hands.error = Deed.KILL_DAEMON, error
    with stage.faults as faults:
        faults.set_phase("write")
        with pytest.raises(MachineError, match=r"surprise|[Gg]one"):
            faults.settle(DEADLINE_S)
        assert faults.release() == 0
    assert stage.hands.deeds[2:] == [Deed.RESUME, Deed.CONTINUE_DAEMON]
    told = [(e["event"], e["rule"], e.get("by")) for e in stage.events]
    assert told[2:] == [("error", "c", None), ("released", "a", "end"), ("released", "b", "end")]


def test_after_a_deed_that_failed_nothing_else_is_struck_and_who_asks_for_it_is_told() -> None:
    stage = Stage(KILL)
    stage.hands.fails = Deed.KILL_DAEMON
    with stage.faults as faults:
        faults.set_phase("write")
        with pytest.raises(MachineError, match="gone"):
            faults.settle(DEADLINE_S)
        for again in (lambda: faults.fire("a"), lambda: faults.obey(Command(1, "add", {}))):
            with pytest.raises(MachineError, match="gone"):
                again()
        assert faults.obey(Command(2, "release", {})) == {"released": 0}
        assert faults.obey(Command(3, "faults", {}))["fired"] == {"a": 1}
    assert stage.hands.deeds == []


def test_what_is_cut_short_by_the_loss_of_its_machines_power_is_told_as_over() -> None:
    stop = 'machine = "front"\neffect = "stop-daemon"\ndaemon = "front"\nat_s = 0\nfor_s = 600'
    off = 'machine = "front"\neffect = "power-cycle"\nat_s = 0.01'
    stage = Stage(stop, off)
    with stage.faults as faults:
        faults.set_phase("write")
        faults.settle(DEADLINE_S)
    told = [(e["event"], e["rule"]) for e in stage.events]
    assert told == [("fault", "a"), ("fault", "b"), ("released", "a"), ("released", "b")]
    over = stage.events[2]
    assert (over["deed"], over["by"]) == ("cut-power", "end")


def test_a_deed_that_ends_when_nobody_listens_any_more_is_told_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine_faults, "CLOSE_DEADLINE_S", 0.0)
    stage = Stage(PAUSE)
    go_on = threading.Event()
    do = stage.hands.do

    def slow(step: Step) -> None:
        do(step)
        assert go_on.wait(DEADLINE_S)

    monkeypatch.setattr(stage.hands, "do", slow)
    with stage.faults as faults:
        faults.set_phase("write")
        assert stage.hands.paused.wait(DEADLINE_S)
    stage.told.close()
    go_on.set()
    faults._thread.join(DEADLINE_S)
    assert not faults._thread.is_alive()


def test_a_rule_can_be_fired_by_hand() -> None:
    stage = Stage(KILL.replace("at_s = 0", "at_s = 3600"))
    with stage.faults as faults:
        with pytest.raises(UserError, match="no rule 'b'"):
            faults.fire("b")
        faults.fire("a")
        faults.settle(DEADLINE_S)
    assert stage.events[0]["by_hand"] is True


def test_rules_are_added_and_what_stands_still_released_by_commands() -> None:
    stage = Stage(KILL.replace("at_s = 0", "at_s = 3600"))
    pause = {"layer": "machine", "machine": "front", "effect": "pause", "at_s": 0, "for_s": 600}
    with stage.faults as faults:
        faults.set_phase("write")
        assert faults.obey(Command(1, "add", {"rules": [pause]})) == ["machine-1"]
        assert stage.hands.paused.wait(DEADLINE_S)
        assert faults.obey(Command(2, "release", {})) == {"released": 1}
        faults.settle(DEADLINE_S)
        assert faults.obey(Command(3, "faults", {}))["fired"] == {"a": 0, "machine-1": 1}
    assert stage.hands.deeds == [Deed.PAUSE, Deed.RESUME]
    assert [event["event"] for event in stage.events] == ["control", "fault", "released"]
