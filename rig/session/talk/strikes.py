"""What commands strike, until it is known what came of it.  Pure over `Deeds`.

A fault that was ordered fires a moment later, and what it takes away is missed later still: until
then everything looks as it did before.  So a strike is *open* until its rule has been seen to have
fired, and the disk has been looked for, and found, after that.
"""

from __future__ import annotations

from collections.abc import Iterable

from rig.faults.plan import Fault, layer_of
from rig.faults.rules.base import STRIKING
from rig.session.deeds import Deeds
from rig.session.snapshot import Mode, Snapshot


class Strikes:
    """See the module.

    Args:
        deeds: Tells how things are.
    """

    def __init__(self, deeds: Deeds) -> None:
        self._deeds = deeds
        self._fired_before: dict[str, int] = {}
        self._landed_s: dict[str, float] = {}

    def added(self, rules: Iterable[Fault]) -> None:
        """Rules were added just now: those that fire at once strike."""
        for rule in rules:
            if rule.at_s == 0 and layer_of(rule) in STRIKING and rule.phase is None:
                self._order(rule.name, 0)

    def fires(self, name: str) -> None:
        """A rule is about to be fired by hand."""
        for row in self._deeds.snapshot().faults:
            if row.name == name and row.layer in STRIKING:
                self._order(name, row.fired)

    def forget(self, name: str) -> None:
        """A rule does not fire: it was refused, or removed."""
        self._fired_before.pop(name, None)
        self._landed_s.pop(name, None)

    def open(self, seen: Snapshot) -> str:
        """Say of the first strike that is open what is missing; empty if none is.

        Args:
            seen: How things are now.
        """
        for name in self._fired_before:
            if name not in self._landed_s and self._has_fired(name, seen):
                self._landed_s[name] = seen.at_s
        for name in list(self._fired_before):
            landed_s = self._landed_s.get(name)
            if landed_s is None:
                return f"{name} has not fired yet."
            if seen.looked_s is None or seen.looked_s <= landed_s:
                return f"The disk has not been seen again since {name} fired."
            self.forget(name)
        return ""

    def _order(self, name: str, fired: int) -> None:
        self.forget(name)
        self._fired_before[name] = fired

    def _has_fired(self, name: str, seen: Snapshot) -> bool:
        row = next((row for row in seen.faults if row.name == name), None)
        if row is not None:
            return row.fired > self._fired_before[name]
        # Its process has gone with the rule; behind that process's end nothing can fire any more.
        return seen.mode is Mode.LIVE and all(machine.whole for machine in seen.machines)
