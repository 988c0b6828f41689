"""Decides which fault fires at which event, or at which moment.

Pure, and a function of the plan alone: the decision about the m-th match of a rule depends on
the plan's seed, the rule's name and m, so neither other rules nor the process that asks can
disturb it.  Every rule counts every match; of the rules that want to fire at the same match the
first one in the plan does, and the others keep their turn.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Generic

import msgspec

from rig.errors import ApiViolationError, UserError
from rig.faults.phases import lies_within
from rig.faults.plan import Plan, layer_of
from rig.faults.rules.base import NO_LIMIT, EffectT, Event, EventT, Layer, Rule
from rig.faults.rules.device import DeviceEffect, DeviceRequest
from rig.faults.rules.endpoint import EndpointEffect, EndpointTransfer
from rig.faults.rules.link import LinkEffect, LinkPiece
from rig.faults.rules.machine import MachineEffect
from rig.faults.rules.medium import MediumAccess, MediumEffect

_64_BITS = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15  # SplitMix64's step: 2**64 divided by the golden ratio, odd
_LUCK = 0xD1B54A32D192ED03  # another odd step, so that luck is not the draw
Clock = Callable[[], float]
"""Seconds since any moment, never backwards."""


class Fired(msgspec.Struct, Generic[EffectT], frozen=True):
    """A rule that fired.

    Attributes:
        rule_name: Its name in the plan.
        match: At its so-manyth counted match, from 1; 0 for one that was not counted.
        effect: What is to happen.
        by_hand: It was asked for by `Injector.fire`, and is not of the plan's schedule.
    """

    rule_name: str
    match: int
    effect: EffectT
    by_hand: bool = False


class Counters(msgspec.Struct, frozen=True):
    """What a rule has done so far.

    Attributes:
        planned: May fire so often; `NO_LIMIT` for no limit.
        matches: Has counted so many.
        fired: Has fired so often, those by hand included.
        armed: Whether it counts and fires at all.
    """

    planned: int
    matches: int
    fired: int
    armed: bool


class Draws:
    """The chance of one rule: a function of seed, name and match.

    A hash instead of a generator's stream: a match's luck does not depend on how often, or in which
    process, a generator was asked before.

    Args:
        rule_name: The rule's name.
        seed: The plan's seed.
    """

    def __init__(self, rule_name: str, seed: int) -> None:
        self._key = _mix(seed ^ zlib.crc32(rule_name.encode()) << 32)

    def chance(self, match: int) -> float:
        """Return a number in [0, 1] that `probability` must exceed."""
        return _mix(self._key + match * _GAMMA) / 2**64

    def luck(self, match: int) -> int:
        """Return 64 bits for whatever else is left to chance."""
        return _mix(self._key + match * _LUCK ^ _64_BITS)


class Schedule:
    """When one rule wants to fire: the order of tests is that of Linux's ``should_fail_ex``.

    Args:
        rule: The rule.
        seed: The plan's seed.
    """

    def __init__(self, rule: Rule[Any, Any], seed: int) -> None:
        self._rule = rule
        self._space_bytes = rule.space
        self.draws = Draws(rule.name, seed)
        self.matches = 0
        self.fired = 0

    @property
    def spent(self) -> bool:
        """Whether `times` is used up."""
        return self._rule.times != NO_LIMIT and self.fired >= self._rule.times

    def wants(self, size_bytes: int) -> bool:
        """Take one match into account and tell whether the rule wants to fire at it."""
        if self._space_bytes > size_bytes:
            self._space_bytes -= size_bytes
            return False
        self.matches += 1
        rule = self._rule
        if self.spent:
            return False
        if rule.nth is not None:
            return self.matches >= rule.nth
        if rule.every is not None:
            return self.matches % rule.every == 0
        if rule.probability is not None:
            due = self.matches % rule.interval == 0
            return due and self.draws.chance(self.matches) < rule.probability
        return True  # at_s: whoever asks has looked at the clock


class _Trigger(Generic[EventT, EffectT]):
    """One rule with its schedule and what was asked for by hand."""

    def __init__(self, rule: Rule[EventT, EffectT], seed: int, *, armed: bool = True) -> None:
        self.rule = rule
        self.schedule = Schedule(rule, seed)
        self.armed = armed
        self.by_hand = False

    def fire(self, event: EventT | None) -> Fired[EffectT]:
        schedule, by_hand = self.schedule, self.by_hand
        self.by_hand = False
        schedule.fired += 1
        effect = self.rule.effect(event, schedule.draws.luck(schedule.matches))
        return Fired(self.rule.name, schedule.matches, effect, by_hand)

    def counters(self) -> Counters:
        schedule = self.schedule
        return Counters(self.rule.times, schedule.matches, schedule.fired, self.armed)


class Injector(Generic[EventT, EffectT]):
    """Answers one layer's question: does this one fail, and how?

    Args:
        plan: The fault plan.
        kind: The layer, told by the type of its rules; the others' rules are not even counted.
        clock_s: Tells the time, for rules with `at_s`; may be left out when there are none.

    Raises:
        ApiViolationError: A rule needs a clock, and there is none.
    """

    def __init__(
        self, plan: Plan, kind: type[Rule[EventT, EffectT]], clock_s: Clock | None = None
    ) -> None:
        self.layer: Layer = layer_of(kind)
        self._kind = kind
        self._seed = plan.seed
        self._clock_s = clock_s
        self._phase: str | None = None
        self._phases_began_s: dict[str, float] = {}  # of the phase, and those that it lies within
        self._began_s: float | None = None
        self._triggers: dict[str, _Trigger[EventT, EffectT]] = {}
        for rule in plan.rules(kind):
            self.add(rule)

    # What the workload tells.

    @property
    def phase(self) -> str | None:
        """The workload's phase as last told."""
        return self._phase

    def set_phase(self, name: str | None) -> None:
        """Tell in which phase the workload is; the first phase begins the workload.

        Rules with another `phase` do not match; None is between phases.  A part of a phase
        (`rig.faults.phases`) does not end the phase, nor begin it anew.
        """
        self._phase = name
        now_s = 0.0 if self._clock_s is None else self._clock_s()
        before, self._phases_began_s = self._phases_began_s, {}
        for phase in lies_within(name):
            began_s = now_s if phase == name else before.get(phase, now_s)
            self._phases_began_s[phase] = began_s
        if name is not None and self._began_s is None:
            self._began_s = now_s

    # What the layer asks.

    def ask(self, event: EventT) -> Fired[EffectT] | None:
        """Ask about an event that is about to happen; None: nothing happens to it."""
        winner = None
        for trigger in self._triggers.values():
            rule = trigger.rule
            if rule.at_once:
                continue
            counts = trigger.armed and self._is_time_of(rule)
            if not (counts or trigger.by_hand) or not rule.matches(event):
                continue
            wants = counts and trigger.schedule.wants(event.size_bytes)
            if winner is None and (wants or trigger.by_hand):
                winner = trigger.fire(event)
        return winner

    def due(self) -> list[Fired[EffectT]]:
        """Return what fires by the clock alone, now; each once."""
        fired = []
        for trigger in self._triggers.values():
            if trigger.rule.at_once and (trigger.by_hand or self._is_due(trigger)):
                trigger.schedule.matches += 1
                fired.append(trigger.fire(None))
        return fired

    def next_due_s(self) -> float | None:
        """Return when `due` is to be asked again, in the clock's time; None: not in this phase."""
        moments = [
            self._clock_s() if trigger.by_hand else self._due_s(trigger.rule)
            for trigger in self._triggers.values()
            if self._clock_s is not None
            and trigger.rule.at_once
            and (trigger.by_hand or (trigger.armed and not trigger.schedule.spent))
        ]
        return min((moment for moment in moments if moment is not None), default=None)

    # Live control.

    def add(self, rule: Rule[EventT, EffectT], *, armed: bool = True) -> None:
        """Take another rule, behind those that there are.

        Raises:
            UserError: Its name is taken.
            ApiViolationError: It is another layer's, or needs a clock and there is none.
        """
        if not isinstance(rule, self._kind):
            raise ApiViolationError(f"Rule '{rule.name}' is not of layer '{self.layer}'.")
        if rule.at_s is not None and self._clock_s is None:
            raise ApiViolationError(f"Rule '{rule.name}' goes by the clock, and there is none.")
        if rule.name in self._triggers:
            raise UserError(
                f"There is a rule '{rule.name}' already.", hint="Remove it, or name the new one."
            )
        self._triggers[rule.name] = _Trigger(rule, self._seed, armed=armed)

    def remove(self, name: str) -> None:
        """Forget a rule.

        Raises:
            UserError: There is none of this name.
        """
        self._trigger(name)
        del self._triggers[name]

    def arm(self, name: str, armed: bool = True) -> None:
        """Let a rule count and fire, or not.

        Raises:
            UserError: There is none of this name.
        """
        self._trigger(name).armed = armed

    def fire(self, name: str) -> None:
        """Let a rule fire at its next match, whatever its phase, trigger and `times` say.

        A rule that fires by the clock alone is `due` at once.

        Raises:
            UserError: There is none of this name.
        """
        self._trigger(name).by_hand = True

    @property
    def active(self) -> bool:
        """Whether there is anything to ask: a rule that counts, or is to fire by hand."""
        return any(trigger.armed or trigger.by_hand for trigger in self._triggers.values())

    @property
    def rules(self) -> tuple[Rule[EventT, EffectT], ...]:
        """The rules, in the order in which they are asked."""
        return tuple(trigger.rule for trigger in self._triggers.values())

    def counters(self) -> dict[str, Counters]:
        """What each rule has done so far, by its name."""
        return {name: trigger.counters() for name, trigger in self._triggers.items()}

    @property
    def planned(self) -> dict[str, int]:
        """How often each rule may fire at most; -1 for no limit."""
        return {name: t.rule.times for name, t in self._triggers.items()}

    @property
    def fired(self) -> dict[str, int]:
        """How often each rule has fired."""
        return {name: t.schedule.fired for name, t in self._triggers.items()}

    @property
    def matches(self) -> dict[str, int]:
        """How many matches each rule has counted."""
        return {name: t.schedule.matches for name, t in self._triggers.items()}

    def _trigger(self, name: str) -> _Trigger[EventT, EffectT]:
        if name not in self._triggers:
            known = ", ".join(self._triggers) or "none"
            raise UserError(f"Layer '{self.layer}' has no rule '{name}'.", hint=f"It has: {known}.")
        return self._triggers[name]

    def _is_time_of(self, rule: Rule[EventT, EffectT]) -> bool:
        """Whether the rule's phase and moment are here."""
        if rule.at_s is None or self._clock_s is None:
            return rule.phase is None or rule.phase in self._phases_began_s
        due_s = self._due_s(rule)
        return due_s is not None and self._clock_s() >= due_s

    def _is_due(self, trigger: _Trigger[EventT, EffectT]) -> bool:
        return trigger.armed and not trigger.schedule.spent and self._is_time_of(trigger.rule)

    def _due_s(self, rule: Rule[EventT, EffectT]) -> float | None:
        """When a rule with `at_s` begins to fire; None: not while things are as they are."""
        if rule.at_s is None:
            return None
        if rule.phase is None:
            return None if self._began_s is None else self._began_s + rule.at_s
        began_s = self._phases_began_s.get(rule.phase)
        return None if began_s is None else began_s + rule.at_s


def _mix(value: int) -> int:
    """Scatter 64 bits: SplitMix64's output function (Steele, Lea, Flood, OOPSLA 2014)."""
    value &= _64_BITS
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _64_BITS
    return value ^ value >> 31


EndpointInjector = Injector[EndpointTransfer, EndpointEffect]
MediumInjector = Injector[MediumAccess, MediumEffect]
DeviceInjector = Injector[DeviceRequest, DeviceEffect]
LinkInjector = Injector[LinkPiece, LinkEffect]
MachineInjector = Injector[Event, MachineEffect]
