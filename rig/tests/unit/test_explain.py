"""What a plan is said to do is what it does."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.faults.explain import SHOWN, explain, firings, moments
from rig.faults.load import load_plan, shipped_plans
from rig.faults.plan import DataClass, Plan
from rig.faults.reader import parse_rule
from rig.faults.rules.base import NO_LIMIT
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, EndpointTransfer, When
from rig.faults.rules.machine import MachineFault, MachineKind, MachineRole
from rig.faults.triggers import Injector
from rig.integrity.judgement import HARMLESS, SectorClass
from rig.tests.harness.plans import RULES
from rig.usb.urb import Direction


def rule(**fields: object) -> EndpointFault:
    given: dict[str, object] = {
        "name": "r",
        "direction": Direction.OUT,
        "status": EndpointStatus.EPROTO,
        "when": When.BEFORE,
    }
    return EndpointFault(**(given | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"nth": 3}, "at match 3"),
        ({"nth": 3, "times": 2}, "at matches 3 and 4"),
        ({"nth": 3, "times": 3, "phase": "write"}, "at matches 3, 4 and 5 in phase 'write'"),
        ({"nth": 3, "times": -1}, "at match 3 and all that follow"),
        ({"every": 40, "times": 2}, "at matches 40 and 80"),
        ({"every": 2, "times": -1}, "at matches 2, 4, 6, 8, 10, 12, 14, 16 and so on"),
        (
            {"nth": 5, "times": 100},
            "at matches 5, 6, 7, 8, 9, 10, 11, 12 and so on (match 104 is the last)",
        ),
        (
            {"nth": 1, "space": 4096},
            "at match 1, counted from the one on that uses up the first 4096 bytes",
        ),
        (
            {"nth": 1, "space": 1},
            "at match 1, counted from the one on that uses up the first 1 byte",
        ),
        ({"at_s": 2.5}, "at the first match from 2.5 s after the workload began"),
        (
            {"at_s": 2, "times": 3, "phase": "read"},
            "at the first 3 matches from 2 s after phase 'read' began",
        ),
    ],
)
def test_every_trigger_is_said_in_words(fields: dict[str, object], said: str) -> None:
    assert moments(rule(**fields), 1) == said


def test_a_rule_of_the_clock_is_said_with_its_moment() -> None:
    paused = MachineFault(kind=MachineKind.PAUSE, machine=MachineRole.BACK, at_s=3, phase="write")
    assert moments(paused, 1) == "3 s after phase 'write' began"


def test_a_probability_is_said_with_the_matches_that_the_seed_draws() -> None:
    chance = rule(probability=0.05, times=3)
    numbers = list(firings(chance, 7))
    assert moments(chance, 7) == (
        "with probability 0.05 at each match, at most 3 times; with this seed at matches "
        f"{numbers[0]}, {numbers[1]} and {numbers[2]}"
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"times": 1}, "at each match, at most once;"),
        ({"interval": 2}, "at every 2nd match,"),
        ({"interval": 11}, "at every 11th match,"),
        ({"interval": 21, "times": -1}, "at every 21st match, without a limit;"),
        ({"interval": 103, "times": 2}, "at every 103rd match, at most 2 times;"),
    ],
)
def test_numbers_of_a_probability_are_said_as_people_say_them(
    fields: dict[str, object], said: str
) -> None:
    assert said in moments(rule(probability=0.5, **fields), 1)


def test_an_improbable_rule_is_said_to_be_so() -> None:
    assert "at none of the first" in moments(rule(probability=1e-12, interval=1000), 1)


_triggers = st.one_of(
    st.builds(lambda n: {"nth": n}, st.integers(1, 30)),
    st.builds(lambda n: {"every": n}, st.integers(1, 30)),
    st.builds(
        lambda p, i: {"probability": p, "interval": i}, st.floats(0.01, 1), st.integers(1, 5)
    ),
)


@given(
    trigger=_triggers,
    times=st.one_of(st.just(NO_LIMIT), st.integers(1, 5)),
    seed=st.integers(0, 2**70),
)
def test_what_is_explained_is_what_fires(trigger: dict[str, float], times: int, seed: int) -> None:
    told = rule(**trigger, times=times)
    asked = Injector(Plan(name="p", seed=seed, faults=(told,)), EndpointFault)
    fired = [asked.ask(EndpointTransfer(Direction.OUT, 2, 512)) for _ in range(300)]
    seen = [f.match for f in fired if f]
    assert seen[:SHOWN] == [n for n in islice(firings(told, seed), SHOWN) if n <= 300]


@given(rule=RULES, seed=st.integers(0, 2**64))
def test_any_rule_is_told_in_words(rule: dict[str, object], seed: int) -> None:
    try:
        told = parse_rule(rule)
    except UserError:
        return
    text = explain(Plan(name="p", seed=seed, faults=(told,)))
    assert not re.search(r"None|<|\(\)", text)


@pytest.mark.parametrize("name", list(shipped_plans()))
def test_every_rule_of_a_shipped_plan_is_explained(name: str) -> None:
    plan = load_plan(name)
    text = explain(plan)
    for fault in plan.faults:
        assert f"{fault.name} (" in text
    assert not re.search(r"None|<", text)


def test_the_classes_of_a_plan_are_those_of_a_verdict() -> None:
    assert {str(one) for one in DataClass} == {str(one) for one in set(SectorClass) - HARMLESS}
