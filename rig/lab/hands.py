"""What is done to machines and their daemons when a fault plan asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rig.errors import ApiViolationError
from rig.faults.rules.machine import DaemonName, MachineFault, MachineRole
from rig.lab.environment import Role
from rig.lab.powering import Powering
from rig.lab.strategy import RigStrategy, Setup
from rig.lab.timetable import DEEDS, Deed, Step

COMMAND_DEADLINE_S = 30.0

READY = {"gadget": "ready", "back": "listening", "link": "listening", "front": "attached"}
"""The event by which each daemon says that it does its part."""
RUNS_ON = {Role.BACK: ("gadget", "back", "link"), Role.FRONT: ("front",)}
"""The daemons of a machine, in the order in which they are started."""


class Hands:
    """Does the deeds of a timetable, in a lab.

    Args:
        strategy: Of the lab, which must be attached.
        started: Called with the name of each daemon that was started anew.
    """

    def __init__(self, strategy: RigStrategy, started: Callable[[str], None]) -> None:
        self._strategy = strategy
        self._crew = strategy.crew
        self._powering = strategy.powering
        self._started = started
        self._stopped: set[str] = set()  # daemons that stand still by SIGSTOP

    def keep_medium(self) -> None:
        """Let the back machine's disk hold at once what is written to it.

        The device that is plugged into a machine does not lose its power with it: what the gadget's
        medium has taken, it must have when the machine is back.

        Raises:
            MachineError: The machine did not do it.
        """
        # And what it has not written yet: a rule may come when the medium has been in use.
        command = self._powering.unit(Role.BACK).keep_command
        self._crew.machines[Role.BACK].check(command, COMMAND_DEADLINE_S)

    def do(self, step: Step) -> None:
        """Do one deed, to its end.

        Raises:
            MachineError: A machine or a daemon did not do its part.
        """
        role = _role(step.machine)
        name = step.daemon.value if step.daemon is not None else ""
        match step.deed:
            case Deed.KILL_DAEMON:
                self._signal(role, name, "KILL")
            case Deed.STOP_DAEMON:
                self._signal(role, name, "STOP")
                self._stopped.add(name)
            case Deed.CONTINUE_DAEMON:
                self._continue(role, name)
            case Deed.START_DAEMON:
                self._start(role, name)
            case Deed.PAUSE:
                self._powering.unit(role).pause()
            case Deed.RESUME:
                self._powering.unit(role).resume()
            case Deed.KILL:
                self._powering.unit(role).kill()
            case Deed.SHUT_DOWN:
                self._shut_down(role)
            case Deed.CUT_POWER:
                self._cut_power(role)
            case Deed.BRING_UP:
                self._bring_up(role)
            case Deed.CUT_PORT:
                self._powering.unit(role).switch_port(on=False)
            case Deed.POWER_PORT:
                self._powering.unit(role).switch_port(on=True)

    def _signal(self, role: Role, name: str, signal: str) -> None:
        pid = self._crew.daemons[name].pid()
        self._crew.machines[role].check(f"kill -{signal} {pid}", COMMAND_DEADLINE_S)

    def _continue(self, role: Role, name: str) -> None:
        self._signal(role, name, "CONT")
        self._stopped.discard(name)

    def _setup(self) -> Setup:
        if self._strategy.setup is None:
            raise ApiViolationError("A lab without a setup has no daemons to start.")
        return self._strategy.setup

    def _start(self, role: Role, name: str) -> None:
        setup = self._setup()
        words: Sequence[str] = getattr(setup, name)
        daemon = self._crew.replace(role, name, words)
        if name != DaemonName.FRONT:  # who has to wait for the others, who may be away
            daemon.wait_event(READY[name], setup.ready_deadline_s)
        self._started(name)

    def _shut_down(self, role: Role) -> None:
        for name in self._stopped & set(RUNS_ON[role]):
            self._continue(role, name)  # or it would not hear that it is to end
        for name in reversed(self._present(role)):
            daemon = self._crew.daemons[name]
            daemon.stop(self._crew.stop_deadline_s)
        self._crew.machines[role].check("sync", COMMAND_DEADLINE_S)
        self._cut_power(role)

    def _cut_power(self, role: Role) -> None:
        self._powering.cut_power(role)
        self._stopped -= set(RUNS_ON[role])

    def _bring_up(self, role: Role) -> None:
        self._powering.power_up(role)
        if role is Role.BACK:
            self.keep_medium()
        for name in self._present(role):
            self._start(role, name)

    def _present(self, role: Role) -> list[str]:
        return [name for name in RUNS_ON[role] if name in self._crew.daemons]


def check_able(powering: Powering, fault: MachineFault) -> None:
    """Return if what a rule asks for can be done to its machine.

    Raises:
        MachineError: It cannot be, and what is missing.
    """
    if fault.daemon is None:
        deeds = [deed for deed in DEEDS[fault.kind] if deed is not None]
        powering.check_able(_role(fault.machine), deeds, f"Fault '{fault.name}' ({fault.kind})")


def _role(machine: MachineRole) -> Role:
    return Role(machine.value)
