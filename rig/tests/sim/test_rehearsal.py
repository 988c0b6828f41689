"""A plan in simulation: the schedule it tells, and the promise kept under it."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.faults.explain import firings
from rig.faults.load import load_plan, shipped_plans
from rig.faults.plan import MOST_SEED, Plan
from rig.faults.reader import parse_plan
from rig.sim.promise import BrokenError, Rule
from rig.sim.rehearsal import Rehearsal
from rig.splitdriver.policy import Policy

CUT = """
name = "cut"
[[fault]]
layer = "endpoint"
direction = "out"
stage = "data"
nth = 7
when = "before"
status = "EPROTO"
"""


@pytest.mark.parametrize("name", list(shipped_plans()))
def test_no_rule_is_broken_under_a_shipped_plan_and_it_fires_the_same_twice(name: str) -> None:
    plan = load_plan(name)
    firings = Rehearsal(plan).run()
    assert Rehearsal(plan).run() == firings
    fired = Counter(one.rule for one in firings)
    times = {rule.name: rule.times for rule in plan.faults}
    assert all(count <= times[rule] or times[rule] < 0 for rule, count in fired.items())


@pytest.mark.parametrize("name", ["demo", "csw", "cuts", "noisy", "medium-errors", "cable-xhci"])
def test_every_fault_of_a_plan_fires(name: str) -> None:
    plan = load_plan(name)
    fired = Counter(one.rule for one in Rehearsal(plan).run())
    assert fired == {rule.name: rule.times for rule in plan.faults}


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, MOST_SEED))
def test_the_same_plan_and_seed_fire_the_same_faults_at_the_same_moments(seed: int) -> None:
    plan = load_plan("noisy", seed)
    assert Rehearsal(plan).run() == Rehearsal(plan).run()


def test_what_is_explained_is_what_fires() -> None:
    plan = load_plan("noisy")
    fired = Rehearsal(plan).run()
    for rule in plan.faults:
        told = list(islice(firings(rule, plan.seed), rule.times))
        assert [one.match for one in fired if one.rule == rule.name] == told


def test_what_stands_behind_a_failed_urb_runs_under_policy_naive_and_is_seen() -> None:
    with pytest.raises(BrokenError) as caught:
        Rehearsal(parse_plan(CUT, "cut"), Policy.NAIVE).run()
    assert caught.value.rule is Rule.BEHIND
    assert len(Rehearsal(parse_plan(CUT, "cut")).run()) == 1


def test_a_command_that_always_fails_is_given_up() -> None:
    plan = parse_plan(CUT.replace("nth = 7", "nth = 7\ntimes = -1"), "cut")
    with pytest.raises(BrokenError, match="Command 3 failed 6 times"):
        Rehearsal(plan).run()


def test_without_faults_nothing_fires() -> None:
    assert Rehearsal(Plan(name="calm")).run() == []
