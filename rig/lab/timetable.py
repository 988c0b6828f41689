"""When which machine or daemon is to be struck, and when it is to come back.  Pure.

Every effect is a deed and, later, the deed that undoes it.  A machine that is down (paused, or
without power) cannot be spoken to: what else is to happen to it waits until it is back, and what is
to happen to a daemon waits until that is.  What was killed for good suffers nothing any more.

A machine that loses its power takes with it what was done to its daemons: that is over then.  When
a deed could not be done (`Timetable.give_up`) nothing is begun any more, and only what stands still
goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from rig.faults.release import ReleasedBy
from rig.faults.rules.machine import DaemonName, MachineEffect, MachineKind, MachineRole
from rig.faults.triggers import Fired, MachineInjector


class Deed(StrEnum):
    """What is done to a machine, or to a daemon on it."""

    KILL_DAEMON = "kill-daemon"
    START_DAEMON = "start-daemon"
    STOP_DAEMON = "stop-daemon"
    CONTINUE_DAEMON = "continue-daemon"
    PAUSE = "pause"
    RESUME = "resume"
    KILL = "kill"
    CUT_POWER = "cut-power"
    SHUT_DOWN = "shut-down"
    BRING_UP = "bring-up"
    CUT_PORT = "cut-port"
    POWER_PORT = "power-port"


DEEDS: dict[MachineKind, tuple[Deed, Deed | None]] = {
    MachineKind.KILL_DAEMON: (Deed.KILL_DAEMON, Deed.START_DAEMON),
    MachineKind.STOP_DAEMON: (Deed.STOP_DAEMON, Deed.CONTINUE_DAEMON),
    MachineKind.PAUSE: (Deed.PAUSE, Deed.RESUME),
    MachineKind.KILL: (Deed.KILL, None),
    MachineKind.POWER_CYCLE: (Deed.CUT_POWER, Deed.BRING_UP),
    MachineKind.REBOOT: (Deed.SHUT_DOWN, Deed.BRING_UP),
    MachineKind.PORT_POWER: (Deed.CUT_PORT, Deed.POWER_PORT),
}
"""What brings an effect about, and what ends it."""
TAKES_DOWN = frozenset({Deed.PAUSE, Deed.KILL, Deed.CUT_POWER, Deed.SHUT_DOWN})
TAKES_POWER = TAKES_DOWN - {Deed.PAUSE}
GOES_ON = frozenset({Deed.RESUME, Deed.CONTINUE_DAEMON})
"""What is to be undone even in a lab that is given up: what stands still would hold up its end."""


class Step(msgspec.Struct, frozen=True):
    """One deed.

    Attributes:
        deed: What is done.
        machine: To which machine.
        daemon: To which daemon on it; None: to the machine itself.
        fired: The rule's firing, for the deed that begins it; None for the one that ends it.
        rule: The rule's name.
        since_s: When the effect began.
        by: Who ends the effect, for the deed that ends it.
        cut_short: The effects on the machine's daemons that are over with this deed: what would
            have ended each.
    """

    deed: Deed
    machine: MachineRole
    daemon: DaemonName | None
    fired: Fired[MachineEffect] | None
    rule: str
    since_s: float
    by: ReleasedBy = ReleasedBy.DEADLINE
    cut_short: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class _End:
    at_s: float
    step: Step


class Timetable:
    """All deeds of a plan, in order.

    Ask `next_step` again and again, with the time; do what it returns before asking again.

    Args:
        injector: Machine faults; its clock is that of all times here.
    """

    def __init__(self, injector: MachineInjector) -> None:
        self._injector = injector
        self._waiting: list[Fired[MachineEffect]] = []
        self._ends: list[_End] = []
        self._down: set[MachineRole] = set()
        self._dead: set[MachineRole] = set()
        self._given_up = False

    @property
    def standing(self) -> list[str]:
        """The rules whose effect has begun, or is about to, and has not ended."""
        return [fired.rule_name for fired in self._waiting] + [e.step.rule for e in self._ends]

    def next_step(self, now_s: float) -> Step | None:
        """Return what is to be done now; None: nothing."""
        if not self._given_up:
            self._waiting += [f for f in self._injector.due() if f.effect.machine not in self._dead]
        ended = [end for end in self._ends if end.at_s <= now_s and self._can_end(end.step)]
        if ended:
            first = min(ended, key=lambda end: end.at_s)
            self._ends.remove(first)
            if first.step.daemon is None:
                self._down.discard(first.step.machine)
            return first.step
        for fired in self._waiting:
            if self._can_begin(fired.effect):
                self._waiting.remove(fired)
                return self._begin(fired, now_s)
        return None

    def next_s(self) -> float | None:
        """When to ask `next_step` again; None: not unless something else happens."""
        times = [end.at_s for end in self._ends if self._can_end(end.step)]
        due_s = self._injector.next_due_s() if not self._given_up else None
        times += [due_s] if due_s is not None else []
        return min(times, default=None)

    def release(self, now_s: float, by: ReleasedBy = ReleasedBy.COMMAND) -> int:
        """Let all that has begun end now, and nothing begin that waits.

        Returns:
            How much had begun.
        """
        self._waiting.clear()
        self._ends = [
            _End(now_s, msgspec.structs.replace(end.step, by=by)) if end.at_s > now_s else end
            for end in self._ends
        ]
        return len(self._ends)

    def give_up(self, now_s: float) -> None:
        """Let what stands still go on now, and nothing else happen any more."""
        self._given_up = True
        self._ends = [end for end in self._ends if end.step.deed in GOES_ON]
        self.release(now_s, ReleasedBy.END)

    def _begin(self, fired: Fired[MachineEffect], now_s: float) -> Step:
        effect = fired.effect
        deed, undoing = DEEDS[effect.kind]
        step = Step(deed, effect.machine, effect.daemon, fired, fired.rule_name, now_s)
        if deed in TAKES_DOWN:
            self._down.add(effect.machine)
        if undoing is not None:
            assert effect.for_s is not None
            end = msgspec.structs.replace(step, deed=undoing, fired=None)
            self._ends.append(_End(now_s + effect.for_s, end))
        if deed in TAKES_POWER:
            # Its daemons come back with it, or never.
            lost = [
                end
                for end in self._ends
                if end.step.machine is effect.machine and end.step.daemon is not None
            ]
            self._ends = [end for end in self._ends if end not in lost]
            over = (msgspec.structs.replace(end.step, by=ReleasedBy.END) for end in lost)
            step = msgspec.structs.replace(step, cut_short=tuple(over))
        if deed is Deed.KILL:
            self._dead.add(effect.machine)
            self._waiting = [f for f in self._waiting if f.effect.machine not in self._dead]
        return step

    def _can_begin(self, effect: MachineEffect) -> bool:
        busy = {(end.step.machine, end.step.daemon) for end in self._ends}
        return effect.machine not in self._down and (effect.machine, effect.daemon) not in busy

    def _can_end(self, step: Step) -> bool:
        return step.daemon is None or step.machine not in self._down
