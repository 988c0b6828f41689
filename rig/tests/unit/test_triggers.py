"""When rules fire: against a naive model, and independent of one another."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError
from rig.faults.plan import Fault, Plan
from rig.faults.rules.base import NO_LIMIT
from rig.faults.rules.endpoint import (
    EndpointEffect,
    EndpointFault,
    EndpointStatus,
    EndpointTransfer,
    When,
)
from rig.faults.rules.medium import MediumAccess, MediumEffect, MediumError, MediumFault, MediumOp
from rig.faults.triggers import EndpointInjector, Injector, MediumInjector
from rig.usb.urb import Direction


def medium(name: str = "m", **fields: object) -> MediumFault:
    rule: dict[str, object] = {"name": name, "op": MediumOp.WRITE, "error": MediumError.EIO}
    return MediumFault(**(rule | fields))  # type: ignore[arg-type]


def endpoint(name: str = "e", **fields: object) -> EndpointFault:
    rule: dict[str, object] = {
        "name": name,
        "direction": Direction.OUT,
        "status": EndpointStatus.EPROTO,
        "when": When.MIDDLE,
    }
    return EndpointFault(**(rule | fields))  # type: ignore[arg-type]


def injector(*rules: Fault, seed: int = 1) -> MediumInjector:
    return Injector(Plan(name="t", seed=seed, faults=rules), MediumFault)


def of_endpoints(*rules: Fault) -> EndpointInjector:
    return Injector(Plan(name="t", seed=1, faults=rules), EndpointFault)


def firings(asked: MediumInjector, count: int) -> list[tuple[int, str, int]]:
    """(access, rule, match) of all firings in `count` writes of one block."""
    found = []
    for number in range(1, count + 1):
        fired = asked.ask(MediumAccess(MediumOp.WRITE, number, 1))
        if fired:
            found.append((number, fired.rule_name, fired.match))
    return found


def test_nth_fires_at_the_nth_match_once() -> None:
    assert firings(injector(medium(nth=3)), 10) == [(3, "m", 3)]


def test_nth_with_times_fires_at_the_matches_that_follow_too() -> None:
    assert [f[0] for f in firings(injector(medium(nth=3, times=2)), 10)] == [3, 4]


def test_every_fires_at_every_nth_match_until_times_is_used_up() -> None:
    assert [f[0] for f in firings(injector(medium(every=3, times=2)), 20)] == [3, 6]


def test_no_limit_fires_for_ever() -> None:
    assert len(firings(injector(medium(every=1, times=NO_LIMIT)), 100)) == 100


def test_probability_one_fires_at_every_match() -> None:
    assert len(firings(injector(medium(probability=1.0, times=NO_LIMIT)), 100)) == 100


def test_probability_is_met_in_the_long_run() -> None:
    count = len(firings(injector(medium(probability=0.25, times=NO_LIMIT)), 10_000))
    assert 2300 < count < 2700  # 4.6 standard deviations


def test_chance_is_a_function_of_the_seed() -> None:
    rule = medium(probability=0.1, times=NO_LIMIT)
    once, again = (firings(injector(rule, seed=7), 500) for _ in range(2))
    assert once == again
    assert once != firings(injector(rule, seed=8), 500)


def test_chance_of_one_rule_is_not_disturbed_by_another() -> None:
    rule = medium("a", probability=0.1, times=NO_LIMIT)
    other = medium("b", probability=0.5, op=MediumOp.READ, times=NO_LIMIT)
    both = injector(other, rule)
    found = []
    for number in range(1, 501):
        both.ask(MediumAccess(MediumOp.READ, number, 1))
        fired = both.ask(MediumAccess(MediumOp.WRITE, number, 1))
        found += [(number, fired.rule_name, fired.match)] if fired else []
    assert found == firings(injector(rule), 500)


def test_two_rules_of_one_plan_have_luck_of_their_own() -> None:
    def numbers(name: str) -> list[int]:
        rule = medium(name, probability=0.5, times=NO_LIMIT)
        return [number for number, _, _ in firings(injector(rule), 200)]

    assert numbers("a") != numbers("b")


def test_the_first_rule_wins_and_the_second_keeps_its_turn() -> None:
    found = firings(injector(medium("a", nth=2), medium("b", nth=2)), 5)
    assert found == [(2, "a", 2), (3, "b", 3)]


def test_a_shadowed_rule_counts_the_match() -> None:
    asked = injector(medium("a", every=1, times=NO_LIMIT), medium("b", nth=2))
    firings(asked, 4)
    assert asked.matches == {"a": 4, "b": 4}
    assert asked.fired == {"a": 4, "b": 0}


def test_planned_tells_the_bound_of_every_rule_of_the_layer() -> None:
    asked = injector(medium("a", nth=1, times=3), medium("b", every=2, times=-1), endpoint(nth=1))
    assert asked.planned == {"a": 3, "b": -1}


def test_a_rule_with_a_phase_counts_in_that_phase_only() -> None:
    asked = injector(medium(nth=2, phase="write"))
    assert firings(asked, 5) == []
    asked.set_phase("write")
    assert firings(asked, 1) == []
    asked.set_phase("read")
    assert firings(asked, 5) == []
    asked.set_phase("write")
    assert firings(asked, 1) == [(1, "m", 2)]


@pytest.mark.parametrize(
    ("lba", "blocks", "hit"),
    [(9, 1, False), (9, 2, True), (10, 1, True), (20, 8, True), (21, 8, False), (0, 99, True)],
)
def test_an_access_matches_when_it_touches_the_range(lba: int, blocks: int, hit: bool) -> None:
    asked = injector(medium(lba=(10, 20), nth=1))
    assert (asked.ask(MediumAccess(MediumOp.WRITE, lba, blocks)) is not None) is hit


def test_an_access_of_the_other_kind_does_not_match() -> None:
    asked = injector(medium(nth=1))
    assert asked.ask(MediumAccess(MediumOp.READ, 0, 1)) is None
    assert asked.matches == {"m": 0}


def test_a_medium_fault_carries_a_positive_errno() -> None:
    fired = injector(medium(nth=1)).ask(MediumAccess(MediumOp.WRITE, 0, 1))
    assert fired is not None
    assert fired.effect == MediumEffect(errno.EIO)


def transfer(direction: Direction = Direction.OUT, length_bytes: int = 512) -> EndpointTransfer:
    return EndpointTransfer(direction, 0x02, length_bytes)


def test_an_endpoint_fault_carries_the_moment_and_a_negative_status() -> None:
    asked = of_endpoints(endpoint(nth=1))
    fired = asked.ask(transfer())
    assert fired is not None
    assert fired.effect == EndpointEffect(When.MIDDLE, -errno.EPROTO)


def test_small_transfers_and_the_other_direction_do_not_match() -> None:
    asked = of_endpoints(endpoint(nth=1, min_bytes=4096))
    assert asked.ask(transfer(length_bytes=4095)) is None
    assert asked.ask(transfer(Direction.IN, 4096)) is None
    assert asked.ask(transfer(length_bytes=4096)) is not None


def test_a_layer_takes_its_own_rules_only() -> None:
    with pytest.raises(ApiViolationError, match="'e' is not of layer 'medium'"):
        injector().add(endpoint(nth=1))  # type: ignore[arg-type]


_rules = st.builds(
    lambda kind, n, times: {kind: n, "times": times},
    st.sampled_from(["nth", "every"]),
    st.integers(1, 6),
    st.one_of(st.just(NO_LIMIT), st.integers(1, 4)),
)


def naive(rules: list[dict[str, int]], count: int) -> list[tuple[int, str]]:
    """The semantics in other words: who may fire at access m, given who fired before."""
    found: list[tuple[int, str]] = []
    for m in range(1, count + 1):
        for index, rule in enumerate(rules):
            before = sum(1 for _, name in found if name == str(index))
            due = m >= rule["nth"] if "nth" in rule else m % rule["every"] == 0
            if due and before != rule["times"]:
                found.append((m, str(index)))
                break
    return found


@given(rules=st.lists(_rules, max_size=4), count=st.integers(0, 40))
def test_firings_follow_the_naive_model(rules: list[dict[str, int]], count: int) -> None:
    asked = injector(*(medium(str(i), **rule) for i, rule in enumerate(rules)))
    found = [(number, name) for number, name, _ in firings(asked, count)]
    assert found == naive(rules, count)
    assert asked.fired == {
        str(i): sum(1 for _, name in found if name == str(i)) for i in range(len(rules))
    }
