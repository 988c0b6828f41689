"""Plays many schedules, and makes the one that breaks a rule short.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from rig.sim.promise import BrokenError, Rule
from rig.sim.scenario import Handler, generate, scenario_of
from rig.sim.shrink import Played, cost, shrink
from rig.sim.story import Story
from rig.sim.world import World
from rig.splitdriver.policy import Policy

REPORT_EVERY = 64

MORE_STARTS = 3
MORE_SCHEDULES = 1000


class Rules(msgspec.Struct, frozen=True):
    """What is explored.

    Attributes:
        policy: Of both ends.
        window: Of the back end.
        handlers: What clients may do about an error.
    """

    policy: Policy
    window: int = 1
    handlers: tuple[Handler, ...] = tuple(Handler)


class Finding(msgspec.Struct, frozen=True):
    """A rule that was broken.

    Attributes:
        rule: Which.
        text: What happened, a sentence.
        number: Of the schedule that was found, in its seed; None for a replayed one.
        schedule: The shortest one that was made of it, in hexadecimal.
        story: Its events, a line each.
    """

    rule: Rule
    text: str
    number: int | None
    schedule: str
    story: list[str]


class Explored(msgspec.Struct):
    """What came of it.

    Attributes:
        schedules: How many were played.
        moves: How many moves they had.
        broken: How many broke each rule.
        failed_for_nothing: URBs that the policy failed although nothing had happened to them.
        findings: The first of each rule; one at most, unless all are wanted.
    """

    schedules: int = 0
    moves: int = 0
    broken: dict[Rule, int] = {}
    failed_for_nothing: int = 0
    findings: list[Finding] = []


def play(rules: Rules, schedule: bytes, story: Story | None = None) -> Played:
    """Play one schedule."""
    world = World(scenario_of(schedule), rules.policy, rules.window, story)
    rule, text = None, ""
    try:
        world.play(schedule)
    except BrokenError as error:
        rule, text = error.rule, error.text
    return Played(rule, text, world.moves_made, world.client.failed_for_nothing)


def explore(
    rules: Rules,
    seed: int,
    numbers: Sequence[int],
    *,
    keep_going: bool = False,
    played: Callable[[int], None],
) -> Explored:
    """Play the schedules of a seed until one breaks a rule.

    Args:
        rules: What is explored.
        seed: Of the schedules.
        numbers: Which of them.
        keep_going: Play them all, and note the first that breaks each rule.
        played: Told now and then how many have been played.

    Returns:
        What came of it; the findings are not shortened yet (`shortened`).
    """
    explored = Explored()
    for number in numbers:
        schedule = generate(seed, number, rules.handlers)
        end = play(rules, schedule)
        explored.schedules += 1
        explored.moves += end.moves
        explored.failed_for_nothing += end.failed_for_nothing
        if explored.schedules % REPORT_EVERY == 0:
            played(explored.schedules)
        if end.rule is not None:
            if end.rule not in explored.broken:
                explored.findings.append(tell(rules, schedule, number))
            explored.broken[end.rule] = explored.broken.get(end.rule, 0) + 1
            if not keep_going:
                break
    return explored


def shortened(rules: Rules, seed: int, finding: Finding, tried: Callable[[int], None]) -> Finding:
    """Return the same broken rule in the shortest schedule that can be found.

    Some of the seed's next schedules that break it are shortened, too: where one gets stuck,
    another may not.
    """
    starts = [bytes.fromhex(finding.schedule)]
    if finding.number is not None:
        after = range(finding.number + 1, finding.number + 1 + MORE_SCHEDULES)
        others = (generate(seed, number, rules.handlers) for number in after)
        same = (each for each in others if play(rules, each).rule is finding.rule)
        starts += islice(same, MORE_STARTS)
    short = [shrink(start, lambda each: play(rules, each), tried) for start in starts]
    best = min(short, key=lambda each: cost(play(rules, each).moves, each))
    return tell(rules, best, finding.number)


def tell(rules: Rules, schedule: bytes, number: int | None = None) -> Finding:
    """Play a schedule that breaks a rule, and tell how.

    Raises:
        ValueError: It breaks none.
    """
    story = Story()
    end = play(rules, schedule, story)
    if end.rule is None:
        raise ValueError("The schedule breaks no rule.")
    return Finding(end.rule, end.text, number, schedule.hex(), story.lines)
