"""Who is at work in a lab: the machines that are up, and the daemons of its set-up by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rig.errors import MachineError
from rig.lab.daemons import Daemon
from rig.lab.environment import LINK_ADDRESSES, Role
from rig.lab.machine import Machine

STOP_DEADLINE_S = 20.0
"""For a daemon that is told to stop in a transition; longer is an error."""

DEAD_DEADLINE_S = 1.0
"""For the connection to one that is dead."""

_log = logging.getLogger(__name__)


class Crew:
    """The machines and daemons of a lab, for whoever brings it from state to state.

    Attributes:
        machines: Those that are up and can be reached.
        daemons: Those that run, by name.
        former: Those that another one has replaced.
        addresses: Of the machines on the link between them.
        stop_deadline_s: How long `stop` gives a daemon.
    """

    def __init__(self) -> None:
        self.machines: dict[Role, Machine] = {}
        self.daemons: dict[str, Daemon] = {}
        self.former: list[Daemon] = []
        self.addresses = dict(LINK_ADDRESSES)
        self.stop_deadline_s = STOP_DEADLINE_S

    def start(self, role: Role, name: str, argv: Sequence[str]) -> Daemon:
        """Start a daemon on a machine.

        Raises:
            MachineError: The machine is lost.
        """
        self.daemons[name] = self.machines[role].start_daemon(argv, name)
        return self.daemons[name]

    def replace(self, role: Role, name: str, argv: Sequence[str]) -> Daemon:
        """Start a daemon in the place of one that has died, or whose machine has.

        Raises:
            MachineError: The machine is lost.
        """
        dead = self.daemons.pop(name, None)
        if dead is not None:
            dead.stop(DEAD_DEADLINE_S)
            self.former.append(dead)
        return self.start(role, name, argv)

    def stop(self, name: str) -> None:
        """Stop a daemon if it runs.

        Raises:
            MachineError: It did not end in time.
        """
        daemon = self.daemons.pop(name, None)
        if daemon is None:
            return
        status = daemon.stop(self.stop_deadline_s)
        if status is None and not daemon.machine_lost:
            raise MachineError(
                f"Daemon {name!r} did not end within {self.stop_deadline_s:g} s of being told to.",
                hint=f"Its log is {daemon.log}.",
            )
        if status and not daemon.machine_lost:
            _log.warning("Daemon %r ended with status %s; its log is %s", name, status, daemon.log)
