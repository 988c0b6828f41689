"""Tells a plan in words: what will fire, and at which matches.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

from rig.faults.plan import Expect, Fault, Plan, layer_of
from rig.faults.rules.base import NO_LIMIT, Rule
from rig.faults.shown import many
from rig.faults.triggers import Draws

SHOWN = 8
"""So many matches are listed of a rule."""
LOOKED_AT = 1_000_000
"""So many matches are looked at before a rule is said to be improbable."""

_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
FOOTNOTE = (
    "Each rule counts its own matches, and those alone. Of two rules that want the same one, the"
    " first in the file fires; the other counts it, and fires at its next chance."
)


def explain(plan: Plan) -> str:
    """Return what a plan does, in paragraphs."""
    rules = many(len(plan.faults), "rule")
    place = f" It is for attachment {plan.attachment}." if plan.attachment else ""
    paragraphs = [f"Plan '{plan.name}', seed {plan.seed}: {rules}.{place} {_expected(plan)}"]
    paragraphs += [_paragraph(fault, plan.seed) for fault in plan.faults]
    return "\n\n".join([*paragraphs, FOOTNOTE] if plan.faults else paragraphs)


def firings(rule: Rule[Any, Any], seed: int) -> Iterator[int]:
    """The matches, counted from 1, at which a rule fires if no other takes its place.

    Args:
        rule: One with something to count.
        seed: The plan's.
    """
    numbers: Iterator[int]
    if rule.nth is not None:
        numbers = count(rule.nth)
    elif rule.every is not None:
        numbers = count(rule.every, rule.every)
    elif rule.probability is not None:
        draws, probability = Draws(rule.name, seed), rule.probability
        drawn = range(rule.interval, LOOKED_AT + 1, rule.interval)
        numbers = (match for match in drawn if draws.chance(match) < probability)
    else:
        numbers = count(1)
    return islice(numbers, None if rule.times == NO_LIMIT else rule.times)


def moments(rule: Rule[Any, Any], seed: int) -> str:
    """Say when a rule fires: ``at matches 3, 17 and 40``."""
    phase = f"phase '{rule.phase}'" if rule.phase else "the workload"
    if rule.at_once:
        return f"{rule.at_s:g} s after {phase} began"
    if rule.at_s is not None:
        which = {NO_LIMIT: "every match", 1: "the first match"}.get(
            rule.times, f"the first {rule.times} matches"
        )
        return f"at {which} from {rule.at_s:g} s after {phase} began"
    counted = f" in {phase}" if rule.phase else ""
    if rule.space:
        counted += f", counted from the one on that uses up the first {many(rule.space, 'byte')}"
    said = _matches(rule, seed) + counted
    if rule.probability is None:
        return said
    each = "each match" if rule.interval == 1 else f"every {_ordinal(rule.interval)} match"
    limit = {NO_LIMIT: "without a limit", 1: "at most once"}.get(
        rule.times, f"at most {rule.times} times"
    )
    return f"with probability {rule.probability:g} at {each}, {limit}; with this seed {said}"


def _matches(rule: Rule[Any, Any], seed: int) -> str:
    if rule.nth is not None and rule.times == NO_LIMIT:
        return f"at match {rule.nth} and all that follow"
    numbers = list(islice(firings(rule, seed), SHOWN + 1))
    if not numbers:
        return f"at none of the first {LOOKED_AT} matches"
    if len(numbers) > SHOWN:
        listed = ", ".join(map(str, numbers[:SHOWN]))
        last = f" (match {rule.nth + rule.times - 1} is the last)" if rule.nth is not None else ""
        return f"at matches {listed} and so on{last}"
    *first, last = map(str, numbers)
    return f"at matches {', '.join(first)} and {last}" if first else f"at match {last}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else _ENDINGS.get(number % 10, "th")
    return f"{number}{ending}"


def _paragraph(fault: Fault, seed: int) -> str:
    return (
        f"{fault.name} ({layer_of(fault)})\n  what  {fault.words()}\n  when  {moments(fault, seed)}"
    )


def _expected(plan: Plan) -> str:
    match plan.expect:
        case Expect.PASS:
            return "A correct stack passes."
        case Expect.INDETERMINATE:
            return "A correct stack loses nothing, but the run may fail to prove it."
    classes = " or ".join(plan.classes)
    return f"Data is corrupted: the verdict must be 'fail', with sectors that are {classes}."
