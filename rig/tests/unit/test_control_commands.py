"""What every process with an injector obeys; what is bad changes nothing."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.control.commands import FaultCommands
from rig.daemon import Command, Events
from rig.errors import UserError
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan
from rig.faults.rules.base import Rule
from rig.faults.rules.medium import MediumAccess, MediumFault, MediumOp
from rig.faults.triggers import Injector

PLAN = """
name = "p"
seed = 1
[[fault]]
name = "third"
layer = "medium"
op = "write"
nth = 3
"""
RULE = {"layer": "medium", "op": "read", "nth": 1}
WRITE = MediumAccess(MediumOp.WRITE, 0, 1)
READ = MediumAccess(MediumOp.READ, 0, 1)


class World:
    """Commands for an injector with one rule, which names no rule `bad`."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.out = io.BytesIO()
        self.added: list[str] = []
        self.injector = Injector(plan or parse_plan(PLAN, "p"), MediumFault, lambda: 0.0)
        self.commands = FaultCommands(
            "rig store",
            self.injector,
            Events(self.out),
            accept=self._accept,
            added=lambda rule: self.added.append(rule.name),
        )

    def _accept(self, rule: Rule[Any, Any]) -> None:
        if rule.name == "bad":
            raise UserError("It cannot be.")

    def do(self, name: str, /, **args: object) -> Any:
        return self.commands.obey(Command(1, name, args))

    def events(self) -> list[Any]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    @property
    def names(self) -> list[str]:
        return [rule.name for rule in self.injector.rules]


@pytest.fixture
def world() -> World:
    return World()


def test_a_list_has_each_rule_and_what_it_has_done(world: World) -> None:
    world.do("phase", name="write")
    world.injector.ask(WRITE)
    told = world.do("list")
    assert (told["layer"], told["phase"]) == ("medium", "write")
    (rule,) = told["rules"]
    assert rule["rule"] == {"name": "third", "layer": "medium", "op": "write", "nth": 3}
    assert (rule["matches"], rule["fired"], rule["planned"], rule["armed"]) == (1, 0, 1, True)
    counters = {"planned": 1, "matches": 1, "fired": 0, "armed": True}
    assert world.do("counters") == {"third": counters}


def test_an_added_rule_fires_and_is_told(world: World) -> None:
    assert world.injector.ask(READ) is None
    assert world.do("add", rules=[RULE]) == ["medium-1"]
    fired = world.injector.ask(READ)
    assert fired is not None
    assert fired.rule_name == "medium-1"
    assert world.added == ["medium-1"]
    (event,) = world.events()
    assert (event["event"], event["do"], event["layer"]) == ("control", "add", "medium")
    assert event["rules"] == ["medium-1"]


def test_rules_are_added_as_text_too(world: World) -> None:
    text = '[[fault]]\nname = "a"\nlayer = "medium"\nop = "read"\nevery = 2\n'
    assert world.do("add", text=text) == ["a"]


def test_a_disarmed_rule_waits_to_be_armed(world: World) -> None:
    world.do("add", rules=[RULE], armed=False)
    assert world.injector.ask(READ) is None
    world.do("arm", name="medium-1")
    assert world.injector.ask(READ) is not None
    world.do("disarm", name="medium-1")
    assert not world.injector.counters()["medium-1"].armed


def test_a_rule_fires_by_hand(world: World) -> None:
    world.do("fire", name="third")
    fired = world.injector.ask(WRITE)
    assert fired is not None
    assert fired.by_hand


def test_what_fired_is_told_also_when_the_rule_is_gone(world: World) -> None:
    world.do("add", rules=[{**RULE, "times": 5}])
    world.injector.ask(READ)
    world.injector.ask(READ)
    world.do("remove", name="medium-1")
    assert world.names == ["third"]
    told = world.do("faults")
    assert told["planned"] == {"third": 1, "medium-1": 2}
    assert told["fired"] == {"third": 0, "medium-1": 2}
    assert told["layers"] == {"third": "medium", "medium-1": "medium"}
    world.do("add", rules=[RULE])
    world.injector.ask(READ)
    assert world.do("faults")["fired"] == {"third": 0, "medium-1": 3}


def test_clear_forgets_all(world: World) -> None:
    world.do("add", rules=[RULE])
    assert world.do("clear") == ["third", "medium-1"]
    assert world.names == []
    assert not world.injector.active


@pytest.mark.parametrize(
    ("do", "args", "complaint"),
    [
        ("dance", {}, "'rig store' knows no command 'dance'"),
        ("add", {}, "needs either"),
        ("add", {"rules": [RULE], "text": "x"}, "needs either"),
        ("add", {"rules": "x"}, "array of objects"),
        ("add", {"rules": [1]}, "array of objects"),
        ("add", {"rules": [RULE], "armed": 1}, "'armed' must be"),
        ("add", {"text": "="}, "not valid TOML"),
        ("add", {"rules": [RULE, {**RULE, "op": "erase"}]}, "'op' is 'erase'"),
        ("add", {"rules": [RULE, {**RULE, "name": "bad"}]}, "It cannot be"),
        ("add", {"rules": [{**RULE, "name": "third"}]}, "already"),
        ("add", {"rules": [{**RULE, "name": "a"}, {**RULE, "name": "a"}]}, "already"),
        ("add", {"rules": [{"layer": "link", "effect": "cut", "nth": 1}]}, "not of layer 'link'"),
        ("add", {"rules": [{"layer": "medium"}]}, "'op' is missing"),
        ("remove", {"name": "x"}, "no rule 'x'"),
        ("fire", {"name": ["third"]}, "must be the name of a rule"),
        ("arm", {}, "must be the name of a rule"),
        ("disarm", {"name": "x"}, "no rule 'x'"),
    ],
)
def test_what_is_bad_is_a_sentence_and_changes_nothing(
    world: World, do: str, args: dict[str, object], complaint: str
) -> None:
    before = world.do("list")
    with pytest.raises(UserError, match=complaint):
        world.do(do, **args)
    assert world.do("list") == before
    assert world.events() == world.added == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(["rules", "text", "armed", "name", "layer", "op", "nth", "effect"])


@given(
    st.sampled_from(["list", "counters", "add", "remove", "arm", "fire", "clear", "phase", "x"]),
    st.dictionaries(KEYS, JSON),
)
def test_whatever_comes_is_answered_or_refused(do: str, args: dict[str, object]) -> None:
    world = World()
    try:
        answer = world.do(do, **args)
    except UserError:
        return
    json.dumps(answer)
