"""Machine: a daemon or a whole machine stops, or dies."""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

import msgspec

from rig.faults.rules.base import Event, Rule, Seconds, first_true


class MachineKind(StrEnum):
    """What happens to the machine."""

    KILL_DAEMON = "kill-daemon"
    """SIGKILL, and another is started after `for_s`."""
    STOP_DAEMON = "stop-daemon"
    """SIGSTOP, and SIGCONT after `for_s`."""
    PAUSE = "pause"
    """The machine's processors stand still for `for_s`."""
    KILL = "kill"
    """The machine is gone, and does not come back."""
    POWER_CYCLE = "power-cycle"
    """It loses its power, and boots again after `for_s`."""
    REBOOT = "reboot"
    """Its daemons end in order, it is off for `for_s`, and boots again."""
    PORT_POWER = "port-power"
    """The USB port into which its gadget is plugged loses its power for `for_s`."""


class MachineRole(StrEnum):
    """Which machine."""

    FRONT = "front"
    BACK = "back"


class DaemonName(StrEnum):
    """Which of its daemons."""

    FRONT = "front"
    BACK = "back"
    GADGET = "gadget"


DAEMON_KINDS = (MachineKind.KILL_DAEMON, MachineKind.STOP_DAEMON)
"""Effects that a daemon must be named for."""
DAEMONS = {
    MachineRole.FRONT: (DaemonName.FRONT,),
    MachineRole.BACK: (DaemonName.BACK, DaemonName.GADGET),
}
"""Which run where."""
LASTS_S = {
    MachineKind.KILL_DAEMON: 1.0,
    MachineKind.STOP_DAEMON: 10.0,
    MachineKind.PAUSE: 10.0,
    MachineKind.POWER_CYCLE: 0.0,
    MachineKind.REBOOT: 0.0,
    MachineKind.PORT_POWER: 1.0,
}
"""How long it lasts unless a rule says so; what is not here never ends."""


class MachineEffect(msgspec.Struct, frozen=True):
    """What is to happen to which machine, and for how long; None: for ever."""

    kind: MachineKind
    machine: MachineRole
    daemon: DaemonName | None = None
    for_s: float | None = None


class MachineFault(
    Rule[Event, MachineEffect],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="layer",
    tag="machine",
):
    """Something that happens to a machine; it has nothing to count, so it goes by the clock.

    Attributes:
        kind: What happens; ``effect`` in a plan.
        machine: To which machine.
        daemon: To which of its daemons, for effects on one.
        for_s: How long it lasts; `LASTS_S` if left out.
    """

    kind: MachineKind = msgspec.field(name="effect")
    machine: MachineRole
    daemon: DaemonName | None = None
    for_s: Seconds | None = None

    @property
    def at_once(self) -> bool:
        """See `Rule.at_once`."""
        return True

    def contradiction(self) -> str:
        """See `Rule.contradiction`."""
        wants_daemon = self.kind in DAEMON_KINDS
        there = ", ".join(f"'{name}'" for name in DAEMONS[self.machine])
        wrong = first_true(
            (
                wants_daemon and self.daemon is None,
                f"'effect' '{self.kind}' needs a 'daemon'",
            ),
            (
                not wants_daemon and self.daemon is not None,
                f"'daemon' is of no use with 'effect' '{self.kind}'",
            ),
            (
                self.daemon is not None and self.daemon not in DAEMONS[self.machine],
                f"'daemon' is '{self.daemon}', but machine '{self.machine}' has {there}",
            ),
            (
                self.kind is MachineKind.PORT_POWER and self.machine is not MachineRole.BACK,
                f"'effect' '{self.kind}' is for machine 'back': the gadget is plugged in there",
            ),
            (
                self.kind not in LASTS_S and self.for_s is not None,
                f"'for_s' is of no use with 'effect' '{self.kind}': it does not come back",
            ),
        )
        if wrong:
            return wrong
        for key in ("nth", "every", "probability"):
            if getattr(self, key) is not None:
                return f"'{key}' counts matches, and a machine has none; give 'at_s'"
        return Rule.contradiction(self)

    def matches(self, event: Event) -> NoReturn:
        """Never asked: the rule fires at once.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError

    def effect(self, event: Event | None, luck: int) -> MachineEffect:
        """See `Rule.effect`."""
        del event, luck
        for_s = LASTS_S.get(self.kind) if self.for_s is None else self.for_s
        return MachineEffect(self.kind, self.machine, self.daemon, for_s)
