"""The rules of a live rig, in processes of the station."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rig.control.commands import FaultCommands
from rig.control.server import served_by_thread
from rig.control.ways import Ways, remove_ways
from rig.daemon import Command, Events
from rig.errors import MachineError, UserError
from rig.faults.plan import NO_FAULTS, Fault
from rig.faults.reader import parse_rule
from rig.faults.rules.endpoint import EndpointFault
from rig.faults.rules.medium import MediumAccess, MediumFault, MediumOp
from rig.faults.triggers import Injector
from rig.session.live.rules import AwayError, LiveRules

WRITE = MediumAccess(MediumOp.WRITE, 0, 1)


def endpoint(name: str) -> Fault:
    table = {"layer": "endpoint", "direction": "out", "status": "EPROTO", "when": "before"}
    return parse_rule({**table, "nth": 1, "name": name})


def medium(name: str, times: int = 1) -> Fault:
    table = {"layer": "medium", "op": "write", "error": "EIO"}
    return parse_rule({**table, "nth": 1, "times": times, "name": name})


class Site:
    """A store and a back end that are controlled on the station."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.control = directory / "control"
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.store = Injector(NO_FAULTS, MediumFault, lambda: 0.0)
        self.running: dict[str, ExitStack] = {}
        self.start("store", self.store)
        self.start("back", Injector(NO_FAULTS, EndpointFault, lambda: 0.0))
        Ways(str(self.control), {}).save(directory)
        self.rules = LiveRules(directory, lambda: (), lambda: self.silent)

    def start(self, name: str, injector: Injector[Any, Any]) -> None:
        commands = FaultCommands(f"rig {name}", injector, Events(io.BytesIO()))

        def obey(command: Command) -> object:
            self.asked.append(f"{name} {command.do}")
            return {"released": 2} if command.do == "release" else commands.obey(command)

        self.running[name] = ExitStack()
        self.running[name].enter_context(served_by_thread(self.control, name, obey))

    def stop(self, name: str) -> None:
        self.running.pop(name).close()

    def close(self) -> None:
        self.rules.close()
        for one in self.running.values():
            one.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.close()


def test_rules_go_to_their_processes_and_are_shown_there(site: Site) -> None:
    assert site.rules.add([endpoint("cut"), medium("bad")], armed=False) == ["cut", "bad"]
    rows = {row.name: (row.process, row.layer, row.armed, row.fired) for row in site.rules.rows()}
    assert rows == {
        "cut": ("station/back", "endpoint", False, 0),
        "bad": ("station/store", "medium", False, 0),
    }


def test_a_change_asks_nobody_whom_it_does_not_concern(site: Site) -> None:
    site.rules.add([endpoint("cut")], armed=True)
    site.asked.clear()
    site.rules.change("disarm", "cut")
    assert site.asked == ["back disarm", "back list"]
    assert not site.rules.rows()[0].armed


def test_what_fired_is_seen_at_the_next_look(site: Site) -> None:
    site.rules.add([medium("bad")], armed=True)
    site.store.set_phase("write")
    assert site.store.ask(WRITE) is not None
    site.rules.look()
    assert site.rules.rows()[0].fired == 1


def test_a_rule_that_another_program_has_added_is_found_by_its_name(site: Site) -> None:
    site.rules.look()
    site.store.add(medium("theirs"))  # type: ignore[arg-type]
    rule, armed = site.rules.remove("theirs")
    assert (rule.name, armed) == ("theirs", True)
    assert site.rules.rows() == []


def test_a_name_that_nobody_has_is_a_sentence(site: Site) -> None:
    with pytest.raises(UserError, match="There is no rule 'none'"):
        site.rules.change("fire", "none")


def test_what_hangs_is_released_and_counted(site: Site) -> None:
    assert site.rules.release() == 2


def test_a_process_that_stands_still_is_not_asked_and_is_named(site: Site) -> None:
    site.silent.add("back")
    with pytest.raises(MachineError, match="'back' stands still"):
        site.rules.add([endpoint("cut")], armed=True)
    assert site.rules.add([medium("bad")], armed=True) == ["bad"]
    assert not [asked for asked in site.asked if asked.startswith("back")]


def test_a_process_that_began_anew_is_found_and_gets_what_can_still_fire(site: Site) -> None:
    site.rules.add([medium("spent"), medium("thrice", times=3)], armed=True)
    site.rules.add([medium("waits")], armed=False)
    site.store.set_phase("write")
    assert site.store.ask(WRITE) is not None  # of each rule that is armed the match counts
    kept = site.rules.of("store")
    assert {one.rule.name: one.fired for one in kept} == {"spent": 1, "thrice": 0, "waits": 0}

    site.stop("store")
    anew = Injector(NO_FAULTS, MediumFault, lambda: 0.0)
    anew.add(medium("of-the-plan"))  # type: ignore[arg-type]
    site.start("store", anew)
    site.rules.restore("store", kept)

    rows = {row.name: (row.armed, row.planned) for row in site.rules.rows()}
    assert rows == {"thrice": (True, 3), "waits": (False, 1)}


def test_at_the_end_nothing_can_be_changed_and_nobody_is_asked(site: Site) -> None:
    site.rules.look()
    site.rules.close()
    site.asked.clear()
    with pytest.raises(MachineError, match="ends"):
        site.rules.add([medium("bad")], armed=True)
    assert site.asked == []


def test_a_lab_that_has_gone_is_a_sentence(site: Site) -> None:
    remove_ways(site.directory)
    with pytest.raises(MachineError, match="No lab runs"):
        site.rules.look()


def test_who_was_there_before_and_is_away_is_told_with_its_machine(site: Site) -> None:
    site.rules.look()
    site.stop("store")
    with pytest.raises(AwayError, match=r"'store' on machine station is away.*wait live"):
        site.rules.add([medium("bad")], armed=True)
    site.start("store", Injector(NO_FAULTS, MediumFault, lambda: 0.0))
    assert site.rules.add([medium("bad")], armed=True) == ["bad"]


def test_who_never_was_there_is_missing_as_ever(site: Site) -> None:
    cut = parse_rule({"layer": "link", "effect": "cut", "nth": 1, "name": "cut"})
    with pytest.raises(UserError, match="needs a process 'link'"):
        site.rules.add([cut], armed=True)


def test_while_everybody_is_looked_for_anew_the_rules_of_before_are_shown(site: Site) -> None:
    site.rules.add([medium("bad")], armed=True)
    remove_ways(site.directory)
    site.stop("store")
    with pytest.raises(MachineError):
        site.rules.look()
    assert [row.name for row in site.rules.rows()] == ["bad"]
