"""When rules fire: against a naive model, and independent of one another."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError, UserError
from rig.faults.plan import Fault, Plan
from rig.faults.rules.base import NO_LIMIT
from rig.faults.rules.endpoint import (
    EndpointEffect,
    EndpointFault,
    EndpointStatus,
    EndpointTransfer,
    When,
)
from rig.faults.rules.machine import MachineFault, MachineKind, MachineRole
from rig.faults.rules.medium import MediumAccess, MediumEffect, MediumError, MediumFault, MediumOp
from rig.faults.triggers import Counters, Draws, EndpointInjector, Injector, MediumInjector
from rig.tests.harness.clock import Clock
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


def test_a_rule_of_a_phase_counts_in_the_parts_of_it_too() -> None:
    asked = injector(
        medium("whole", nth=2, phase="write"), medium("part", nth=1, phase="write/late")
    )
    asked.set_phase("write")
    assert firings(asked, 1) == []
    asked.set_phase("write/late")
    assert firings(asked, 2) == [(1, "whole", 2), (2, "part", 2)]
    asked.set_phase("write")
    assert asked.matches == {"whole": 3, "part": 2}


def test_a_phase_whose_name_begins_alike_is_no_part_of_another() -> None:
    asked = injector(medium(nth=1, phase="write"))
    asked.set_phase("writer")
    assert firings(asked, 1) == []


def test_octets_of_a_part_of_a_phase_are_counted_from_its_beginning() -> None:
    asked = injector(medium(nth=1, space=2 * 512, phase="write/late"))
    asked.set_phase("write")
    assert firings(asked, 9) == []
    asked.set_phase("write/late")
    assert firings(asked, 3) == [(2, "m", 1)]


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


# Linux's attributes.


def sizes(asked: MediumInjector, *blocks: int) -> list[int]:
    """The numbers, from 1, of the accesses of these sizes that fail."""
    accesses = (MediumAccess(MediumOp.WRITE, 0, count) for count in blocks)
    return [n for n, access in enumerate(accesses, start=1) if asked.ask(access)]


def test_space_lets_bytes_pass_before_matches_count() -> None:
    assert sizes(injector(medium(nth=1, space=2048)), 1, 1, 1, 1, 1) == [4]


def test_a_match_larger_than_what_is_left_of_space_counts() -> None:
    assert sizes(injector(medium(nth=1, space=2048)), 2, 8, 1) == [2]


def test_space_of_exactly_one_match_does_not_hold_it_back() -> None:
    assert sizes(injector(medium(nth=1, space=1024)), 2) == [1]


def test_interval_draws_at_every_so_manyth_match_only() -> None:
    asked = injector(medium(probability=1.0, interval=3, times=NO_LIMIT))
    assert [f[0] for f in firings(asked, 10)] == [3, 6, 9]


def linux(rule: MediumFault, count: int, draws: list[bool]) -> list[int]:
    """``should_fail_ex`` of lib/fault-inject.c, with the draws given."""
    times, space, seen, fired = rule.times, rule.space, 0, []
    for n in range(count):
        if times == 0:
            continue
        if space > 512:
            space -= 512
            continue
        seen += 1
        if seen % rule.interval:
            continue
        if not draws[seen]:
            continue
        times -= times > 0
        fired.append(n + 1)
    return fired


@given(
    interval=st.integers(1, 4),
    times=st.one_of(st.just(NO_LIMIT), st.integers(1, 4)),
    space=st.integers(0, 4096),
    probability=st.floats(0.05, 1),
    seed=st.integers(0, 2**64),
)
def test_a_rule_with_probability_fires_as_linux_would(
    interval: int, times: int, space: int, probability: float, seed: int
) -> None:
    rule = medium(interval=interval, times=times, space=space, probability=probability)
    chances = Draws(rule.name, seed)
    draws = [chances.chance(match) < probability for match in range(61)]
    found = [number for number, _, _ in firings(injector(rule, seed=seed), 60)]
    assert found == linux(rule, 60, draws)


def test_luck_is_a_function_of_seed_rule_and_match() -> None:
    one = Draws("a", 1)
    assert one.luck(3) == Draws("a", 1).luck(3)
    assert len({one.luck(3), one.luck(4), Draws("b", 1).luck(3), Draws("a", 2).luck(3)}) == 4


# The clock.


def by_clock(clock: Clock, *rules: Fault) -> MediumInjector:
    return Injector(Plan(name="t", faults=rules), MediumFault, clock)


WRITE = MediumAccess(MediumOp.WRITE, 0, 1)


def test_a_moment_counts_from_the_first_phase_of_the_workload() -> None:
    clock = Clock()
    asked = by_clock(clock, medium(at_s=2))
    clock.now_s += 50
    assert asked.ask(WRITE) is None
    asked.set_phase("write")
    clock.now_s += 1.9
    assert asked.ask(WRITE) is None
    asked.set_phase("read")
    clock.now_s += 0.2
    assert asked.ask(WRITE) is not None
    assert asked.ask(WRITE) is None


def test_a_moment_of_a_phase_counts_from_its_beginning_and_ends_with_it() -> None:
    clock = Clock()
    asked = by_clock(clock, medium(at_s=2, phase="read", times=NO_LIMIT))
    asked.set_phase("write")
    clock.now_s += 5
    asked.set_phase("read")
    assert asked.ask(WRITE) is None
    clock.now_s += 2
    assert asked.ask(WRITE) is not None
    asked.set_phase(None)
    assert asked.ask(WRITE) is None


def test_a_part_of_a_phase_has_moments_of_its_own_and_keeps_those_of_the_phase() -> None:
    clock = Clock()
    asked = by_clock(
        clock,
        medium("whole", at_s=3, phase="write", times=NO_LIMIT),
        medium("part", at_s=2, phase="write/late"),
    )
    asked.set_phase("write")
    clock.now_s += 2
    asked.set_phase("write/late")
    assert asked.ask(WRITE) is None
    clock.now_s += 1
    fired = asked.ask(WRITE)
    assert fired is not None
    assert fired.rule_name == "whole"
    asked.arm("whole", armed=False)
    assert asked.ask(WRITE) is None
    clock.now_s += 1
    fired = asked.ask(WRITE)
    assert fired is not None
    assert fired.rule_name == "part"


def test_a_phase_that_is_told_again_begins_anew_and_ends_its_part() -> None:
    clock = Clock()
    asked = by_clock(clock, medium("whole", at_s=3, phase="write"), medium(at_s=0, phase="write/x"))
    asked.set_phase("write")
    asked.set_phase("write/x")
    clock.now_s += 3
    asked.set_phase("write")
    assert asked.ask(WRITE) is None


def test_matches_before_the_moment_are_not_counted() -> None:
    clock = Clock()
    asked = by_clock(clock, medium(at_s=1))
    asked.set_phase("write")
    asked.ask(WRITE)
    clock.now_s += 1
    fired = asked.ask(WRITE)
    assert fired is not None
    assert fired.match == 1


def test_a_rule_with_a_moment_needs_a_clock() -> None:
    with pytest.raises(ApiViolationError, match="goes by the clock"):
        injector(medium(at_s=1))


def pause(name: str, at_s: float, phase: str | None = None) -> MachineFault:
    return MachineFault(
        name=name, kind=MachineKind.PAUSE, machine=MachineRole.BACK, at_s=at_s, for_s=1, phase=phase
    )


def test_a_rule_of_the_clock_alone_is_due_once_at_its_moment() -> None:
    clock = Clock()
    asked = Injector(Plan(name="t", faults=(pause("b", 3), pause("a", 2))), MachineFault, clock)
    assert asked.next_due_s() is None
    asked.set_phase("write")
    assert asked.next_due_s() == clock.now_s + 2
    assert asked.due() == []
    clock.now_s += 2
    assert [fired.rule_name for fired in asked.due()] == ["a"]
    assert asked.next_due_s() == clock.now_s + 1
    clock.now_s += 5
    assert [fired.rule_name for fired in asked.due()] == ["b"]
    assert asked.due() == []
    assert asked.next_due_s() is None


def test_a_rule_of_the_clock_waits_for_its_phase() -> None:
    clock = Clock()
    asked = Injector(Plan(name="t", faults=(pause("a", 1, "read"),)), MachineFault, clock)
    asked.set_phase("write")
    clock.now_s += 9
    assert asked.next_due_s() is None
    assert asked.due() == []
    asked.set_phase("read")
    assert asked.next_due_s() == clock.now_s + 1


# Live control.


def test_a_rule_that_is_added_counts_from_then_on() -> None:
    asked = injector()
    asked.ask(WRITE)
    asked.add(medium("new", nth=2))
    assert [f[0] for f in firings(asked, 3)] == [2]


def test_a_name_is_taken_once() -> None:
    with pytest.raises(UserError, match="a rule 'm' already"):
        injector(medium(nth=1)).add(medium(nth=2))


def test_a_rule_that_is_removed_is_forgotten() -> None:
    asked = injector(medium(nth=1))
    asked.remove("m")
    assert asked.ask(WRITE) is None
    assert asked.rules == ()
    with pytest.raises(UserError, match=r"no rule 'm'\. .*It has: none"):
        asked.remove("m")


def test_a_disarmed_rule_neither_counts_nor_fires() -> None:
    asked = injector(medium(nth=2))
    asked.arm("m", False)
    assert firings(asked, 3) == []
    asked.arm("m")
    assert [f[0] for f in firings(asked, 3)] == [2]


def test_a_rule_fires_by_hand_at_its_next_match_and_once() -> None:
    asked = injector(medium(nth=1000, phase="read"))
    asked.fire("m")
    assert asked.ask(MediumAccess(MediumOp.READ, 0, 1)) is None
    fired = asked.ask(WRITE)
    assert fired is not None
    assert (fired.match, fired.by_hand) == (0, True)
    assert asked.ask(WRITE) is None


def test_a_spent_or_disarmed_rule_still_fires_by_hand() -> None:
    asked = injector(medium(nth=1))
    asked.ask(WRITE)
    asked.arm("m", False)
    asked.fire("m")
    assert asked.ask(WRITE) is not None
    assert asked.counters() == {"m": Counters(planned=1, matches=1, fired=2, armed=False)}


def test_a_rule_of_the_clock_fires_by_hand_at_once() -> None:
    clock = Clock()
    asked = Injector(Plan(name="t", faults=(pause("a", 60),)), MachineFault, clock)
    asked.fire("a")
    assert asked.next_due_s() == clock.now_s
    assert [fired.by_hand for fired in asked.due()] == [True]
    assert asked.next_due_s() is None


def test_firing_by_hand_does_not_disturb_the_others() -> None:
    rules = (medium("a", probability=0.2, times=NO_LIMIT), medium("b", nth=10_000))
    calm, disturbed = injector(*rules), injector(*rules)
    seen = []
    for n in range(200):
        if n == 50:
            disturbed.fire("b")
        fired = disturbed.ask(WRITE)
        if fired:
            seen.append((n + 1, fired.rule_name, fired.match))
    expected = firings(calm, 200)
    assert [one for one in seen if one[1] == "a"] == expected
    assert [one[1] for one in seen].count("b") == 1


# The same plan and seed: the same schedule.

_accesses = st.lists(
    st.builds(MediumAccess, st.sampled_from(MediumOp), st.integers(0, 63), st.integers(1, 16)),
    max_size=60,
)
_triggers = st.one_of(
    st.builds(lambda n: {"nth": n}, st.integers(1, 9)),
    st.builds(lambda n: {"every": n}, st.integers(1, 9)),
    st.builds(lambda p: {"probability": p}, st.floats(0.01, 1)),
)


@given(
    triggers=st.lists(_triggers, max_size=5),
    accesses=_accesses,
    seed=st.integers(0, 2**64),
    others=st.integers(0, 3),
)
def test_the_same_plan_and_seed_make_the_same_schedule(
    triggers: list[dict[str, float]], accesses: list[MediumAccess], seed: int, others: int
) -> None:
    rules = [medium(str(i), lba=(0, 31), **one) for i, one in enumerate(triggers)]
    strangers = [endpoint(f"e{i}", nth=1) for i in range(others)]

    def run(*faults: Fault) -> list[object]:
        asked = injector(*faults, seed=seed)
        return [asked.ask(access) for access in accesses]

    once = run(*rules)
    assert once == run(*rules)
    assert once == run(*strangers, *rules), "rules of other layers change nothing"
