"""The command ``wait``, and what else a session waits for.  Pure over `Deeds`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from rig.errors import MachineError, UserError
from rig.session.deeds import Deeds
from rig.session.snapshot import UP, Mode
from rig.session.talk import making
from rig.session.talk.commands import WAITS, one_of
from rig.session.talk.strikes import Strikes

WAIT_S = 60.0
SETTLE_S = 15.0
"""For the first look at machines and endpoints, behind the beginning of the workload."""


class Patient(Protocol):
    """Waits; see `rig.session.waiting.Patience`."""

    def until(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        """Wait until a condition holds; return whether it does in time."""
        ...


class Waits:
    """See the module.

    Args:
        deeds: Tells how things are.
        patience: Waits.
        strikes: What was struck by commands.
        split: Whether the split driver is there, whose back end tells of endpoints.
    """

    def __init__(self, deeds: Deeds, patience: Patient, strikes: Strikes, *, split: bool) -> None:
        self._deeds = deeds
        self._patience = patience
        self._strikes = strikes
        self._split = split

    def wait(self, words: Sequence[str], had: Callable[[], set[str]]) -> list[str]:
        """Do the command.

        Args:
            words: Behind its name.
            had: Returns the names of rules that there are, or were.

        Raises:
            UserError: There is no such thing to wait for, or it does not come about in time.
            MachineError: It cannot come about any more.
        """
        what, rest = one_of(words[0], WAITS), words[1:]
        if what == "fired":
            if not rest:
                raise UserError("'wait fired' needs the name of a rule.")
            return self._fired(rest[0], _deadline(rest[1:]), had)
        not_yet = f"The session is not {what}"
        missing = self._missing if what == Mode.LIVE else str
        self._for(lambda: self._is(what), not_yet, _deadline(rest), missing)
        self.settle()
        return [f"The session is {what}."]

    def settle(self) -> None:
        """Let a session that has just begun see what there is; who does not answer is not seen."""

        def seen() -> bool:
            known = self._deeds.snapshot()
            return known.mode is not Mode.LIVE or bool(known.ports or not self._split)

        self._patience.until(seen, SETTLE_S)

    def _is(self, what: str) -> bool:
        """Whether the workload is live, or paused; what is away, or struck, is not live.

        What was struck a moment ago looks live still: `Strikes` knows until when.
        """
        seen = self._deeds.snapshot()
        if what != Mode.LIVE:
            return seen.mode == what
        whole = all(row.device is not None and row.linked for row in seen.ports)
        up = all(row.whole for row in seen.machines)
        calm = not self._strikes.open(seen)  # also where the rest does not hold: it is noted there
        return seen.mode is Mode.LIVE and not seen.away and whole and up and calm

    @property
    def _mode(self) -> Mode:
        return self._deeds.snapshot().mode

    def _fired(self, name: str, deadline_s: float, had: Callable[[], set[str]]) -> list[str]:
        if name not in had():
            rows = self._deeds.snapshot().faults
            known = ", ".join(row.name for row in rows) or "none"
            raise UserError(f"There is no rule '{name}'.", hint=f"There are: {known}.")

        def fired() -> int:
            return sum(row.fired for row in self._deeds.snapshot().faults if row.name == name)

        self._for(lambda: fired() > 0, f"{name} has not fired", deadline_s)
        count = fired()
        return [f"{name} has fired{'' if count == 1 else f' {count} times'}."]

    def _missing(self) -> str:
        """Say what a session that is not live waits for."""
        seen = self._deeds.snapshot()
        if seen.away or seen.mode is not Mode.LIVE:
            return ""
        struck = [row for row in seen.machines if row.state != UP]
        if struck:
            since_s = seen.at_s - struck[0].since_s
            return f"Machine {struck[0].name} is {struck[0].state}, for {since_s:.0f} s now."
        away = [one.name for row in seen.machines for one in row.daemons if not one.alive]
        if away:
            return f"Away: {', '.join(away)}."
        if any(row.device is None for row in seen.ports):
            return "Nothing is plugged in."
        if not all(row.linked for row in seen.ports):
            return "No front end has the port."
        return self._strikes.open(seen)

    def _for(
        self,
        condition: Callable[[], bool],
        not_yet: str,
        deadline_s: float,
        missing: Callable[[], str] = str,
    ) -> None:
        def over() -> bool:
            return self._mode in (Mode.BROKEN, Mode.ENDED)

        in_time = self._patience.until(lambda: condition() or over(), deadline_s)
        if condition():
            return
        if in_time:
            words = self._deeds.snapshot().words
            raise MachineError(f"{not_yet}, and cannot any more: {words}")
        seen = self._deeds.snapshot()
        why = seen.words if seen.away or seen.mode is Mode.STARTING else missing()
        raise UserError(f"{not_yet} after {deadline_s:g} s. {why}".rstrip())


def _deadline(words: Sequence[str]) -> float:
    return making.seconds(words[0]) if words else WAIT_S
