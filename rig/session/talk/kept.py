"""Which rules of a session belong into a plan, and with which triggers.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from rig.faults.phases import Phase
from rig.faults.plan import Fault, Plan
from rig.faults.rules.base import TRIGGERS
from rig.faults.rules.device import DeviceFault, DeviceKind
from rig.session.snapshot import FaultRow
from rig.session.talk.journal import Deed, Entry
from rig.session.talk.making import unused

_KEY = re.compile(r"'(\w+)'")


class _Rule:
    """What became of a rule."""

    def __init__(self, rule: Fault) -> None:
        self.rule = rule
        self.hands: list[float] = []
        self.fired = 0
        self.gone = False


def kept_rules(
    plan: Plan, entries: Iterable[Entry], rows: Iterable[FaultRow]
) -> tuple[list[Fault], list[str]]:
    """Return the rules of a plan, and the names of those that are left out: they never fired.

    Args:
        plan: Its rules were there from the beginning.
        entries: What was done, and not undone.
        rows: The rules that there are.
    """
    return _kept(_told(plan, entries, rows))


def _told(plan: Plan, entries: Iterable[Entry], rows: Iterable[FaultRow]) -> list[_Rule]:
    """Say what became of each rule, in the order in which they came."""
    all_rules = [_Rule(rule) for rule in plan.faults]
    living = {one.rule.name: one for one in all_rules}
    for entry in entries:
        if entry.deed is Deed.ADDED:
            added = [_Rule(_from(rule, entry.at_s)) for rule in entry.rules]
            all_rules += added
            living |= {one.rule.name: one for one in added}
        known = [living[name] for name in entry.names if name in living]
        for one in known:
            if entry.deed is Deed.FIRED:
                one.hands.append(entry.at_s)
            if entry.deed is Deed.ARMED:
                one.rule = _from(one.rule, entry.at_s)
        if entry.deed is Deed.REMOVED:
            for one, fired in zip(known, entry.fired, strict=False):
                one.gone, one.fired = True, fired
                del living[one.rule.name]
    there = {row.name: row for row in rows}
    for name, one in living.items():
        row = there.get(name)
        # A rule that nobody has any more, and nobody removed, was used up before its process ended.
        one.fired = row.fired if row is not None else 1
        one.gone = row is not None and not row.armed
    return all_rules


def _from(rule: Fault, at_s: float) -> Fault:
    """Return a rule that goes by the clock from when it was armed on."""
    if rule.at_s is None or rule.phase not in (None, Phase.WRITE):
        return rule
    return msgspec.structs.replace(rule, at_s=max(rule.at_s, round(at_s, 1)))


def _kept(told: Sequence[_Rule]) -> tuple[list[Fault], list[str]]:
    """Return the rules of the plan, and the names of those that are left out."""
    kept: list[Fault] = []
    left_out: list[str] = []
    names: set[str] = set()
    for one in _plugged(told):
        rules = [_by_clock(one.rule, at_s) for at_s in one.hands]
        if one.fired > len(one.hands) or not (one.hands or one.gone):
            rules.insert(0, one.rule)
        if not rules:
            left_out.append(one.rule.name)
        for rule in rules:
            name = unused(rule.name, names)
            names.add(name)
            kept.append(msgspec.structs.replace(rule, name=name, phase=rule.phase or Phase.WRITE))
    return kept, left_out


def _plugged(told: Iterable[_Rule]) -> list[_Rule]:
    """Join an unplugging for ever with the plugging behind it: one rule that lasts so long."""
    joined: list[_Rule] = []
    away: _Rule | None = None
    for one in told:
        rule = one.rule
        if (
            isinstance(rule, DeviceFault)
            and rule.kind is DeviceKind.SOFT_DISCONNECT
            and rule.at_once
        ):
            if rule.for_s == 0:
                if away is not None:
                    for_s = round((rule.at_s or 0.0) - (away.rule.at_s or 0.0), 1)
                    away.rule = msgspec.structs.replace(
                        rule, name=away.rule.name, at_s=away.rule.at_s, for_s=for_s
                    )
                away = None
                continue
            away = one if rule.for_s is None else None
        joined.append(one)
    return joined


def _by_clock(rule: Fault, at_s: float) -> Fault:
    """Return a rule that fires at a moment what another one has fired by hand."""
    changes: dict[str, Any] = dict.fromkeys(TRIGGERS) | {
        "at_s": round(at_s, 1),
        "phase": Phase.WRITE,
    }
    changed = msgspec.structs.replace(rule, **changes, times=1, interval=1, space=0)
    usual = {field.name: field.default for field in msgspec.structs.fields(rule)}
    # What is about events is of no use in a rule that goes by the clock alone.
    while (found := _KEY.search(changed.contradiction())) and found[1] in usual:
        key = found[1]
        if getattr(changed, key) == usual[key]:
            break
        changed = msgspec.structs.replace(changed, **{key: usual[key]})
    return changed
