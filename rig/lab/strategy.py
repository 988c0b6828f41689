"""How a lab of two machines gets from one state to another: the labgrid strategy.

::

    off <-> booted <-> bound <-> attached          any -> broken

    booted     both machines run and can be reached over SSH
    bound      the gadget is bound to its UDC, and the back end listens
    attached   the front end is attached, and the front machine has the disk

Upwards each step starts something, downwards it is undone in the opposite order.  A transition that
fails makes the lab broken: it keeps the first error and refuses all later transitions with it, so
that one breakage is not fifty failures.
"""

from __future__ import annotations

import inspect
import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import attr
from labgrid import target_factory
from labgrid.strategy import Strategy

from rig.errors import ApiViolationError, LaunchFailure, LostVMError, MachineError, RigError
from rig.guest_images.image import BOOTED
from rig.lab import on_front
from rig.lab.daemons import Daemon
from rig.lab.environment import Role
from rig.lab.machine import Machine
from rig.lab.qemu import RigQEMUDriver
from rig.lab.ssh import RigSSHDriver
from rig.progress import Progress, Silent

FIRST_LINE_DEADLINE_S = 20.0
"""Until a guest's console shows its first line; some boots never do (see `_boot`)."""

BOOT_DEADLINE_S = 75.0
"""From the first line to the guest's word that it can be reached; 2 busy cores without KVM."""

STOP_DEADLINE_S = 20.0
"""For a daemon that is told to stop in a transition; longer is an error."""

ABANDON_DEADLINE_S = 5.0
"""For each daemon when the lab is shut down: the guests are thrown away with all they hold."""

_log = logging.getLogger(__name__)


class LabState(StrEnum):
    """The states of a lab, in the order in which it goes through them."""

    OFF = "off"
    BOOTED = "booted"
    BOUND = "bound"
    ATTACHED = "attached"
    BROKEN = "broken"


_ORDER = (LabState.OFF, LabState.BOOTED, LabState.BOUND, LabState.ATTACHED)


@dataclass(frozen=True, slots=True)
class Setup:
    """What runs on the machines.

    Attributes:
        gadget: Command line of the daemon that plays the device, on the back machine.
        back: Command line of the back end.
        front: Command line of the front end.
        ready_deadline_s: How long each daemon may take until it is ready.
        disk_deadline_s: How long the front machine's kernel may take to show the disk.
    """

    gadget: Sequence[str]
    back: Sequence[str]
    front: Sequence[str]
    ready_deadline_s: float = 60.0
    disk_deadline_s: float = 60.0


@target_factory.reg_driver
@attr.s(eq=False)
class RigStrategy(Strategy):  # type: ignore[misc] # labgrid is untyped
    """Moves the targets ``back`` and ``front`` of one environment together.

    It belongs to a target of its own, because labgrid's strategies know one target only.
    """

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        # Not `state`: that is labgrid's, and says whether the driver is bound.
        self.status = LabState.OFF
        self.setup: Setup | None = None
        self.progress: Progress = Silent()
        self.boot_retries = 0
        self.machines: dict[Role, Machine] = {}
        self.daemons: dict[str, Daemon] = {}
        self.disk = ""
        self._stop_deadline_s = STOP_DEADLINE_S
        self._up: dict[LabState, Callable[[], None]] = {
            LabState.BOOTED: self._boot,
            LabState.BOUND: self._bind,
            LabState.ATTACHED: self._attach,
        }
        self._down: dict[LabState, Callable[[], None]] = {
            LabState.BOOTED: self._power_off,
            LabState.BOUND: self._unbind,
            LabState.ATTACHED: self._detach,
        }

    def transition(self, state: LabState | str) -> None:
        """Bring the lab to a state, one step at a time.

        Raises:
            ApiViolationError: The state is ``broken``, or needs a `Setup` that is not there.
            MachineError: A step failed, now or before; the lab is broken.
        """
        wanted = LabState(state)
        if wanted not in _ORDER:
            raise ApiViolationError(f"A lab cannot be brought to the state {wanted.value!r}.")
        if wanted in (LabState.BOUND, LabState.ATTACHED) and self.setup is None:
            raise ApiViolationError(
                f"A lab without a setup cannot be {wanted.value}.",
                hint="Assign the daemons' command lines to lab.setup first.",
            )
        self.check()
        self._wanted = wanted
        try:
            self._walk(wanted)
        except Exception as error:
            self.broken = error
            self.status = LabState.BROKEN
            raise

    def check(self) -> None:
        """Return if the lab is not broken.

        Raises:
            MachineError: The lab is broken; with the first error.
        """
        if self.broken is not None:
            raise MachineError(
                f"The lab is broken: {getattr(self.broken, 'message', self.broken)}",
                hint=getattr(self.broken, "hint", ""),
            ) from self.broken

    def shut_down(self) -> None:
        """Stop everything from any state, also a broken one; errors are logged, not raised."""
        self._stop_deadline_s = ABANDON_DEADLINE_S
        # What a user of the lab started stands on top of the rest.
        extra = [
            daemon.stop
            for machine in self.machines.values()
            for daemon in reversed(machine.daemons)
            if daemon not in self.daemons.values()
        ]
        undoings: list[Callable[[], object]] = [
            *(partial(stop, ABANDON_DEADLINE_S) for stop in extra),
            *(partial(self._stop, name) for name in ("front", "back", "gadget")),
            self._power_off,
        ]
        for undo in undoings:
            try:
                undo()
            except Exception as error:
                # The next one must be undone all the same.
                _log.warning("While the lab was shut down: %s", error)
        if self.status is not LabState.BROKEN:
            self.status = LabState.OFF

    def machine(self, role: Role) -> Machine:
        """Return a machine that is up.

        Raises:
            ApiViolationError: The lab is off.
            MachineError: The lab is broken, and the machine never came up.
        """
        if role not in self.machines:
            self.check()
            raise ApiViolationError(f"The {role.value} machine is off.")
        return self.machines[role]

    def processes(self) -> list[int]:
        """Return the process IDs of all QEMUs and SSH masters that run for the lab."""
        pids: list[int] = []
        for role in Role:
            ssh = self._target(role).get_driver("RigSSHDriver", activate=False)
            pids += [pid for pid in (self.driver(role).pid, ssh.pid) if pid is not None]
        return pids

    def driver(self, role: Role) -> RigQEMUDriver:
        """Return the QEMU driver of a machine."""
        driver: RigQEMUDriver = self._target(role).get_driver("RigQEMUDriver", activate=False)
        return driver

    def _walk(self, wanted: LabState) -> None:
        while self.status is not wanted:
            here = _ORDER.index(self.status)
            if here < _ORDER.index(wanted):
                self._up[_ORDER[here + 1]]()
                self.status = _ORDER[here + 1]
            else:
                self._down[self.status]()
                self.status = _ORDER[here - 1]
        for machine in self.machines.values():
            machine.health.check()

    def _target(self, role: Role) -> Any:
        return self.target.env.get_target(role.value)

    def _boot(self) -> None:
        """Boot both machines; try once more if one stays silent.

        Guests on a busy station were seen to hang before their first console line.  A crash, or
        QEMU's end, is an answer and not tried again.
        """
        try:
            self._power_on()
        except LostVMError as error:
            if any(self.driver(role).health.lost for role in Role):
                raise
            self.boot_retries += 1
            self.progress.note(f"{error.message}  The boot is tried once more.")
            self._power_off()
            self._power_on()

    def _power_on(self) -> None:
        with self.progress.step("start the machines"):
            for role in Role:
                driver = self.driver(role)
                driver.target.activate(driver)
                driver.on()
            for role in Role:
                self.driver(role).powered_console.wait_for(r"\S", FIRST_LINE_DEADLINE_S)
        for role in Role:
            with self.progress.step(f"reach the {role.value} machine"):
                self.machines[role] = self._reach(role)

    def _reach(self, role: Role) -> Machine:
        driver = self.driver(role)
        driver.powered_console.wait_for(BOOTED, BOOT_DEADLINE_S)
        target = self._target(role)
        target.get_resource("NetworkService").port = driver.forwarded_port(22)
        ssh: RigSSHDriver = target.get_driver("RigSSHDriver", activate=False)
        try:
            target.activate(ssh)
        except RigError:
            raise
        except Exception as error:  # labgrid has no narrower one for a connection that fails
            raise LaunchFailure(f"Machine {role.value!r} cannot be reached: {error}.") from error
        return Machine(role.value, ssh, Path(driver.log_directory), driver.health, driver.console)

    def _power_off(self) -> None:
        while self.machines:
            self.machines.popitem()[1].stop_daemons(ABANDON_DEADLINE_S)
        # The front end's QEMU is the client of the link's socket: it goes first.
        for role in reversed(Role):
            target, driver = self._target(role), self.driver(role)
            target.deactivate(target.get_driver("RigSSHDriver", activate=False))
            # Deactivation powers off; a driver whose start failed is active too.
            target.deactivate(driver)

    def _bind(self) -> None:
        assert self.setup is not None
        deadline_s = self.setup.ready_deadline_s
        back = self.machines[Role.BACK]
        with self.progress.step("bind the gadget, start the back end"):
            # Side by side: both take a while to start, and neither cares which is first.
            gadget = self._start(back, "gadget", self.setup.gadget)
            listener = self._start(back, "back", self.setup.back)
            if self._wanted is LabState.ATTACHED:
                # The front end calls until it is answered; it may start meanwhile.
                self._start(self.machines[Role.FRONT], "front", self.setup.front)
            gadget.wait_event("ready", deadline_s)
            listener.wait_event("listening", deadline_s)

    def _unbind(self) -> None:
        self._stop("back")
        self._stop("gadget")

    def _attach(self) -> None:
        assert self.setup is not None
        front = self.machines[Role.FRONT]
        with self.progress.step("attach the front end"):
            daemon = self.daemons.get("front") or self._start(front, "front", self.setup.front)
            daemon.wait_event("attached", self.setup.ready_deadline_s)
        with self.progress.step("wait for the disk"):
            self.disk = wait_for_disk(front, self.setup.disk_deadline_s)

    def _detach(self) -> None:
        self.disk = ""
        self._stop("front")

    def _start(self, machine: Machine, name: str, argv: Sequence[str]) -> Daemon:
        self.daemons[name] = machine.start_daemon(argv, name)
        return self.daemons[name]

    def _stop(self, name: str) -> None:
        daemon = self.daemons.pop(name, None)
        if daemon is None:
            return
        status = daemon.stop(self._stop_deadline_s)
        if status is None and not daemon.machine_lost:
            raise MachineError(
                f"Daemon {name!r} did not end within {self._stop_deadline_s:g} s of being told to.",
                hint=f"Its log is {daemon.log}.",
            )
        if status:
            _log.warning("Daemon %r ended with status %s; its log is %s", name, status, daemon.log)


def wait_for_disk(front: Machine, deadline_s: float) -> str:
    """Wait on a machine for the disk behind its vhci_hcd; return the device node.

    Raises:
        MachineError: It did not come in time; with what was there instead.
    """
    # Sent as text: it then needs nothing of the rig on the machine, and no package's import time.
    argv = ["python3", "-I", "-S", "-c", inspect.getsource(on_front), f"{deadline_s:g}"]
    done = front.run(shlex.join(argv), deadline_s + 30.0)
    if done.status != 0:
        raise MachineError(
            f"No disk came up behind vhci_hcd on machine {front.name!r} in {deadline_s:g} s.",
            hint=f"It has {done.stdout.strip()} {done.stderr.strip()}".rstrip(),
        )
    return done.stdout.strip()
