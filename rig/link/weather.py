"""What lasts on the link, whatever connections there are: slowness and standstill.  Pure.

A *hold* (stall, partition) stands on the link, not on a connection: one that is made meanwhile
suffers from it, too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from rig.faults.release import ReleasedBy
from rig.faults.rules.link import HOLDING, SLOWING, LinkEffect, LinkKind, Way
from rig.faults.triggers import Draws, Fired
from rig.link.actions import Released


@dataclass(frozen=True, slots=True)
class Lasting:
    """An effect between two times."""

    rule_name: str
    effect: LinkEffect
    since_s: float
    until_s: float
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def of(cls, fired: Fired[LinkEffect], now_s: float) -> Lasting:
        """Return the effect of a rule that begins now."""
        for_s = fired.effect.for_s
        until_s = math.inf if for_s is None else now_s + for_s
        return cls(fired.rule_name, fired.effect, now_s, until_s)

    def concerns(self, way: Way) -> bool:
        """Whether it befalls what goes this way."""
        return self.effect.kind is LinkKind.PARTITION or self.effect.way in (Way.BOTH, way)

    def released(self, now_s: float, by: ReleasedBy) -> Released:
        """Return the news of its end."""
        waited_s = round(now_s - self.since_s, 3)
        return Released(self.rule_name, self.effect.kind, waited_s, by)


class Weather:
    """All effects that last on the link, in the order in which they began."""

    def __init__(self) -> None:
        self._lasting: list[Lasting] = []

    def begin(self, lasting: Lasting) -> None:
        """Let one begin."""
        assert lasting.effect.kind in HOLDING | SLOWING
        self._lasting.append(lasting)

    def expire(self, now_s: float) -> list[Released]:
        """End those whose time is over."""
        over = [one for one in self._lasting if one.until_s <= now_s]
        self._lasting = [one for one in self._lasting if one.until_s > now_s]
        return [one.released(now_s, ReleasedBy.DEADLINE) for one in over]

    def release(self, now_s: float) -> list[Released]:
        """End all."""
        over, self._lasting = self._lasting, []
        return [one.released(now_s, ReleasedBy.COMMAND) for one in over]

    @property
    def standing(self) -> list[str]:
        """The rules of all that last."""
        return [one.rule_name for one in self._lasting]

    @property
    def next_s(self) -> float:
        """When the next one ends; never is infinity."""
        return min((one.until_s for one in self._lasting), default=math.inf)

    @property
    def is_partition(self) -> bool:
        """Whether nobody can call anybody."""
        return any(one.effect.kind is LinkKind.PARTITION for one in self._lasting)

    def holds(self, way: Way) -> bool:
        """Whether nothing passes this way."""
        return any(one.effect.kind in HOLDING and one.concerns(way) for one in self._lasting)

    def slowness(self, way: Way) -> tuple[float, float | None]:
        """Return what befalls the next octets of a way: a delay in s, and octets a second, if any.

        Each jitter takes its next number by that, so ask once for what goes on together.
        """
        late_s, rates = 0.0, []
        for one in self._lasting:
            if one.effect.kind not in SLOWING or not one.concerns(way):
                continue
            if one.effect.bytes_per_s is not None:
                rates.append(one.effect.bytes_per_s)
            else:
                late_s += lateness_s(one.effect, next(one.numbers))
        return late_s, min(rates, default=None)


def lateness_s(effect: LinkEffect, number: int) -> float:
    """How late a delay or jitter makes its so-manyth piece."""
    assert effect.delay_ms is not None
    most_s = effect.delay_ms / 1000
    if effect.kind is LinkKind.DELAY:
        return most_s
    return most_s * Draws("jitter", effect.luck).chance(number)
