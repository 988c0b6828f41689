"""Decides which fault fires at which transfer or access.

Pure, and a function of the plan alone: the decision about the m-th match of a rule depends on
the plan's seed, the rule's name and m, so neither other rules nor the process that asks can
disturb it.  Every rule counts every match; of the rules that want to fire at the same match the
first one in the plan does, and the others keep their turn.
"""

from __future__ import annotations

import zlib
from typing import Generic, TypeVar

import msgspec

from rig.errors import ApiViolationError
from rig.faults.plan import (
    NO_LIMIT,
    EndpointFault,
    Fault,
    Layer,
    MediumFault,
    MediumOp,
    Plan,
    When,
)
from rig.usb.urb import Direction

_64_BITS = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15  # SplitMix64's step: 2**64 divided by the golden ratio, odd
Effect = TypeVar("Effect", "EndpointEffect", "MediumEffect")


class EndpointTransfer(msgspec.Struct, frozen=True):
    """A bulk transfer that is about to run.

    Attributes:
        direction: Of the endpoint.
        endpoint_address: With bit 7 set for IN (USB 2.0 §9.6.6).
        length_bytes: Of the URB's buffer, not of the data that will move.
    """

    direction: Direction
    endpoint_address: int
    length_bytes: int


class MediumAccess(msgspec.Struct, frozen=True):
    """An access of the medium: `blocks` blocks of 512 bytes from `lba` on."""

    op: MediumOp
    lba: int
    blocks: int


class EndpointEffect(msgspec.Struct, frozen=True):
    """What is to happen to a transfer.

    Attributes:
        when: How much of the data moves before the error.
        status: The URB's status, a negative errno.
    """

    when: When
    status: int


class MediumEffect(msgspec.Struct, frozen=True):
    """What is to happen to an access: it ends with `errno` (positive) and nothing else."""

    errno: int


class Fired(msgspec.Struct, Generic[Effect], frozen=True):
    """A rule that fired.

    Attributes:
        rule_name: Its name in the plan.
        match: At its so-manyth match, counted from 1.
        fault: What is to happen.
    """

    rule_name: str
    match: int
    fault: Effect


class _Trigger:
    """One rule's counters."""

    def __init__(self, rule: Fault, seed: int) -> None:
        self.rule = rule
        self.matches = 0
        self.fired = 0
        self._key = _mix(seed ^ zlib.crc32(rule.name.encode()) << 32)

    def wants(self) -> bool:
        """Count one match and tell whether the rule wants to fire at it."""
        self.matches += 1
        rule = self.rule
        if rule.times != NO_LIMIT and self.fired >= rule.times:
            return False
        if rule.nth is not None:
            return self.matches >= rule.nth
        if rule.every is not None:
            return self.matches % rule.every == 0
        return rule.probability is not None and self._draw() < rule.probability

    def _draw(self) -> float:
        # A hash instead of a generator's stream: a match's luck does not depend on how often, or
        # in which process, the generator was asked before.
        return _mix(self._key + self.matches * _GAMMA) / 2**64


def _mix(value: int) -> int:
    """Scatter 64 bits: SplitMix64's output function (Steele, Lea, Flood, OOPSLA 2014)."""
    value &= _64_BITS
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _64_BITS
    return value ^ value >> 31


class Injector:
    """Answers one layer's question: does this one fail, and how?

    Args:
        plan: The fault plan.
        layer: Whose rules are asked; the others' are not even counted.
    """

    def __init__(self, plan: Plan, layer: Layer) -> None:
        self._triggers = [_Trigger(rule, plan.seed) for rule in plan.of_layer(layer)]
        self._layer = layer
        self._phase: str | None = None

    @property
    def phase(self) -> str | None:
        """The workload's phase as last told."""
        return self._phase

    def set_phase(self, name: str | None) -> None:
        """Tell in which phase the workload is; rules with another `phase` do not match."""
        self._phase = name

    @property
    def planned(self) -> dict[str, int]:
        """How often each rule may fire at most; -1 for no limit."""
        return {t.rule.name: t.rule.times for t in self._triggers}

    @property
    def fired(self) -> dict[str, int]:
        """How often each rule has fired."""
        return {t.rule.name: t.fired for t in self._triggers}

    @property
    def matches(self) -> dict[str, int]:
        """How many matches each rule has seen."""
        return {t.rule.name: t.matches for t in self._triggers}

    def on_transfer(self, transfer: EndpointTransfer) -> Fired[EndpointEffect] | None:
        """Ask about a bulk transfer that is about to run.

        Raises:
            ApiViolationError: This is not the endpoint layer's injector.
        """
        self._require(Layer.ENDPOINT)
        winner = None
        for trigger in self._triggers:
            rule = trigger.rule
            if (
                isinstance(rule, EndpointFault)
                and rule.direction == transfer.direction
                and transfer.length_bytes >= rule.min_bytes
                and rule.phase in (None, self._phase)
                and trigger.wants()
                and winner is None
            ):
                trigger.fired += 1
                effect = EndpointEffect(rule.when, rule.status.code)
                winner = Fired(rule.name, trigger.matches, effect)
        return winner

    def on_access(self, access: MediumAccess) -> Fired[MediumEffect] | None:
        """Ask about an access of the medium that is about to happen.

        Raises:
            ApiViolationError: This is not the medium layer's injector.
        """
        self._require(Layer.MEDIUM)
        winner = None
        for trigger in self._triggers:
            rule = trigger.rule
            if (
                isinstance(rule, MediumFault)
                and rule.op == access.op
                and _overlaps(rule.lba, access)
                and rule.phase in (None, self._phase)
                and trigger.wants()
                and winner is None
            ):
                trigger.fired += 1
                winner = Fired(rule.name, trigger.matches, MediumEffect(rule.error.code))
        return winner

    def _require(self, layer: Layer) -> None:
        if self._layer is not layer:
            raise ApiViolationError(
                f"The injector of layer '{self._layer}' was asked as '{layer}'."
            )


def _overlaps(lbas: tuple[int, int] | None, access: MediumAccess) -> bool:
    """Whether the access touches one of the LBAs from first to last, inclusive."""
    if lbas is None:
        return True
    return access.lba <= lbas[1] and access.lba + access.blocks > lbas[0]
