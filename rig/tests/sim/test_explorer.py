"""What is explored, found, made short and played again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.sim.explorer import Rules, explore, play, shortened, tell
from rig.sim.promise import Rule
from rig.sim.scenario import CHOICES, HEADER_BYTES, Handler, Laggard, generate, scenario_of
from rig.splitdriver.policy import Policy

HOLD = Rules(Policy.HOLD)
NAIVE = Rules(Policy.NAIVE)
ACA = Rules(Policy.ACA)


def nobody(_: int) -> None:
    """Is told how far it is."""


def test_hold_breaks_no_rule() -> None:
    explored = explore(HOLD, 2005, range(3000), played=nobody)
    assert not explored.findings
    assert explored.schedules == 3000
    assert explored.failed_for_nothing == 0


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=HEADER_BYTES + CHOICES + 40))
def test_hold_breaks_no_rule_on_any_octets(schedule: bytes) -> None:
    end = play(HOLD, schedule)
    assert end.rule is None, end.text


def test_naive_runs_urbs_behind_a_failed_one() -> None:
    explored = explore(NAIVE, 1, range(200), keep_going=True, played=nobody)
    assert explored.schedules == 200
    assert explored.broken[Rule.BEHIND] > 20


def test_aca_never_ends_with_a_client_that_resubmits_in_its_handler() -> None:
    rules = Rules(Policy.ACA, handlers=(Handler.RETRY,))
    broken = explore(rules, 1, range(100), keep_going=True, played=nobody).broken
    assert broken[Rule.ENDLESS] > 5


def test_aca_fails_urbs_to_which_nothing_has_happened() -> None:
    rules = Rules(Policy.ACA, handlers=(Handler.UNLINK, Handler.NOTHING))
    assert explore(rules, 1, range(100), keep_going=True, played=nobody).failed_for_nothing


def test_exploring_ends_with_the_first_finding() -> None:
    explored = explore(NAIVE, 1, range(1000), played=nobody)
    (finding,) = explored.findings
    assert finding.number == explored.schedules - 1


def test_a_found_schedule_is_found_again() -> None:
    first, second = (explore(NAIVE, 1, range(1000), played=nobody) for _ in range(2))
    assert first.findings == second.findings


def test_the_short_schedule_breaks_the_same_rule_in_fewer_moves() -> None:
    (finding,) = explore(NAIVE, 1, range(1000), played=nobody).findings
    tried: list[int] = []
    short = shortened(NAIVE, 1, finding, tried.append)
    again = play(NAIVE, bytes.fromhex(short.schedule))
    assert (again.rule, again.text) == (finding.rule, short.text)
    assert again.moves <= 8
    assert again.moves < play(NAIVE, bytes.fromhex(finding.schedule)).moves
    assert tried


def test_making_short_is_deterministic() -> None:
    (finding,) = explore(NAIVE, 7, range(1000), played=nobody).findings
    assert shortened(NAIVE, 7, finding, nobody) == shortened(NAIVE, 7, finding, nobody)


def test_a_story_tells_both_ends() -> None:
    (finding,) = explore(NAIVE, 1, range(1000), played=nobody).findings
    text = "\n".join(shortened(NAIVE, 1, finding, nobody).story)
    for place in ("client", "front's kernel", "back end", "controller"):
        assert place in text


def test_a_schedule_that_breaks_no_rule_has_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="breaks no rule"):
        tell(HOLD, b"")


def test_a_story_changes_nothing() -> None:
    for number in range(30):
        schedule = generate(3, number)
        told = play(HOLD, schedule)
        assert told == play(HOLD, schedule)


# Schedules.


def test_the_empty_schedule_is_one_calm_urb() -> None:
    scenario = scenario_of(b"")
    assert scenario.urbs == (1, 0)
    assert (scenario.faults, scenario.unlinks, scenario.resets) == (0, 0, 0)
    assert scenario.laggards == (Laggard.NOBODY, Laggard.NOBODY)
    assert play(HOLD, b"").rule is None


def test_generated_schedules_have_only_the_handlers_asked_for() -> None:
    seen = {
        handler
        for number in range(200)
        for handler in scenario_of(generate(1, number, (Handler.RETRY, Handler.NOTHING))).handlers
    }
    assert seen == {Handler.RETRY, Handler.NOTHING}


def test_generated_schedules_have_all_that_there_is() -> None:
    scenarios = [scenario_of(generate(1, number)) for number in range(2000)]
    assert {scenario.faults for scenario in scenarios} == {0, 1, 2}
    assert {scenario.unlinks for scenario in scenarios} == {0, 1, 2, 3}
    assert {scenario.urbs[0] for scenario in scenarios} == {1, 2, 3, 4}
    assert {laggard for scenario in scenarios for laggard in scenario.laggards} == set(Laggard)
    for flag in ("resets", "reconfigurations", "link_losses", "another_front", "unplugs", "frames"):
        assert {bool(getattr(scenario, flag)) for scenario in scenarios} == {False, True}
