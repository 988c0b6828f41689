"""How a lab of two machines gets from one state to another: the labgrid strategy.

::

    off <-> booted <-> bound <-> attached          any -> broken

    booted     both machines run and can be reached over SSH
    bound      the gadget is bound to its UDC, and its path (`rig.lab.paths`) serves it
    attached   the device is attached, and its client's machine has what the client waits for

Upwards each step starts something, downwards it is undone in the opposite order.  A transition that
fails makes the lab broken: it keeps the first error and refuses all later transitions with it, so
that one breakage is not fifty failures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import attr
from labgrid import target_factory
from labgrid.strategy import Strategy

from rig.control.ways import Ways, remove_ways
from rig.errors import ApiViolationError, LaunchFailure, LostVMError, MachineError, RigError
from rig.guest_images.image import BOOTED
from rig.lab.attachment import DUMMY, Attachment
from rig.lab.cable import Cable
from rig.lab.crew import Crew
from rig.lab.environment import Places, Role
from rig.lab.machine import Machine
from rig.lab.paths import DevicePath, Direct, PathName, Split, UsbIp
from rig.lab.qemu import RigQEMUDriver
from rig.lab.ssh import RigSSHDriver, ssh_argv
from rig.lab.waits import Awaited, wait_for
from rig.progress import Progress, Silent

FIRST_LINE_DEADLINE_S = 20.0
"""Until a guest's console shows its first line; some boots never do (see `_boot`)."""

BOOT_DEADLINE_S = 75.0
"""From the first line to the guest's word that it can be reached; 2 busy cores without KVM."""

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
    """What runs on the machines, and how the device gets to its client.

    Attributes:
        gadget: Command line of the daemon that plays the device, on the back machine.
        back: Command line of the back end; the path ``split`` alone has one.
        front: Command line of the front end; likewise.
        link: Command line of a relay between them, on the back machine; empty for none.
        cable: More options of ``rig cable``; for a lab whose attachment has one.
        path: How the device gets to its client.
        awaits: What the client waits for.
        ready_deadline_s: How long each daemon may take until it is ready.
        client_deadline_s: How long the client's kernel may take to show what is waited for.
    """

    gadget: Sequence[str]
    back: Sequence[str] = ()
    front: Sequence[str] = ()
    link: Sequence[str] = ()
    cable: Sequence[str] = ()
    path: PathName = PathName.SPLIT
    awaits: Awaited = Awaited.DISK
    ready_deadline_s: float = 60.0
    client_deadline_s: float = 60.0

    def device_path(self, attachment: Attachment = DUMMY) -> DevicePath:
        """Return what goes the path, from what the gadget is plugged into."""
        match self.path:
            case PathName.SPLIT:
                return Split(self.back, self.front, self.ready_deadline_s, self.link)
            case PathName.USBIP:
                return UsbIp(attachment.controller, self.ready_deadline_s)
            case PathName.DIRECT:
                return Direct(attachment.controller)


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
        self.attachment = DUMMY
        self.places: Places | None = None
        self.progress: Progress = Silent()
        self.boot_retries = 0
        self.crew = Crew()
        self.machines = self.crew.machines
        self.daemons = self.crew.daemons
        self.found = ""
        self._ssh: dict[str, list[str]] = {}
        # Whoever bound the gadget takes it back, even if the setup was changed meanwhile.
        self._bound: tuple[Setup, DevicePath] | None = None
        self._cable: Cable | None = None
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
        self.crew.stop_deadline_s = ABANDON_DEADLINE_S
        # What a user of the lab started stands on top of the rest.
        extra = [
            daemon.stop
            for machine in self.machines.values()
            for daemon in reversed(machine.daemons)
            if daemon not in self.daemons.values()
        ]
        undoings: list[Callable[[], object]] = [
            *(partial(stop, ABANDON_DEADLINE_S) for stop in extra),
            *(partial(self.crew.stop, name) for name in reversed(self.daemons)),
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

    @property
    def client(self) -> Role:
        """The machine on which the device is used, by the path of the setup.

        Raises:
            ApiViolationError: There is no setup.
        """
        if self.setup is None:
            raise ApiViolationError("A lab without a setup has no client.")
        return self.setup.device_path().client

    @property
    def controller(self) -> str:
        """The host controller behind which the client has the device, as sysfs names it.

        Raises:
            ApiViolationError: There is no setup.
        """
        if self.setup is None:
            raise ApiViolationError("A lab without a setup has no client.")
        return self.setup.device_path(self.attachment).controller

    def cut_power(self, role: Role) -> None:
        """Let a machine lose its power: all who use it lose it; `power_up` starts it again.

        QEMU ends with it: what its command ``system_reset`` boots again was seen to hang.
        """
        driver = self.driver(role)
        driver.target.deactivate(self._target(role).get_driver("RigSSHDriver"))
        driver.off()
        # Nothing of them is left but connections.
        self.machines[role].stop_daemons(ABANDON_DEADLINE_S)

    def power_up(self, role: Role) -> None:
        """Start a machine that has lost its power, and reach it; its disk is as it was.

        Raises:
            MachineError: It did not boot in time, or cannot be reached.
        """
        driver = self.driver(role)
        driver.on()
        try:
            driver.powered_console.wait_for(r"\S", FIRST_LINE_DEADLINE_S)
        except LostVMError:
            if driver.health.lost:
                raise
            self.boot_retries += 1
            driver.off()
            driver.on()
        self.machines[role] = self._reach(role)

    def check_disks(self, error: MachineError | OSError) -> None:
        """Return if every machine's disk could be written; else that is why there is an error.

        Args:
            error: What was met.

        Raises:
            LaunchFailure: One could not be, and its machine stands still.
        """
        for role in Role:
            reason = self.driver(role).standstill()
            if reason is not None:
                raise reason from error

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
            self.check_disks(error)
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
        self._connect(role, ssh)
        return Machine(role.value, ssh, Path(driver.log_directory), driver.health, driver.console)

    def _connect(self, role: Role, ssh: RigSSHDriver) -> None:
        try:
            self._target(role).activate(ssh)
        except RigError:
            raise
        except Exception as error:  # labgrid has no narrower one for a connection that fails
            raise LaunchFailure(f"Machine {role.value!r} cannot be reached: {error}.") from error
        self._ssh[role.value] = ssh_argv(ssh)
        if self.places:
            Ways(str(self.places.control), self._ssh).save(self.places.directory)

    def _power_off(self) -> None:
        if self.places:
            remove_ways(self.places.directory)
        self._ssh.clear()
        while self.machines:
            self.machines.popitem()[1].stop_daemons(ABANDON_DEADLINE_S)
        # The front end's QEMU is the client of the port's socket: it goes first.
        for role in reversed(Role):
            target, driver = self._target(role), self.driver(role)
            target.deactivate(target.get_driver("RigSSHDriver", activate=False))
            # Deactivation powers off; a driver whose start failed is active too.
            target.deactivate(driver)

    def _bind(self) -> None:
        assert self.setup is not None
        setup, path = self._bound = self.setup, self.setup.device_path(self.attachment)
        cable = self._cable = self._make_cable(setup)
        with self.progress.step(", ".join(filter(None, ("bind the gadget", path.serving)))):
            if cable:
                cable.load(self.crew)
                cable.begin(self.crew)
            # Side by side: both take a while to start, and neither cares which is first.
            gadget = self.crew.start(Role.BACK, "gadget", setup.gadget)
            path.begin(self.crew, attach=self._wanted is LabState.ATTACHED)
            gadget.wait_event("ready", setup.ready_deadline_s)
            if cable and not path.claims:
                cable.plug_in(self.crew)
            path.wait_served(self.crew)
            if cable and path.claims:
                cable.plug_in(self.crew)

    def _make_cable(self, setup: Setup) -> Cable | None:
        if not self.attachment.has_cable:
            return None
        assert self.places is not None
        return Cable(self.attachment, setup.cable, self.places, setup.ready_deadline_s)

    def _unbind(self) -> None:
        assert self._bound is not None
        self._bound[1].withdraw(self.crew)
        if self._cable:
            self._cable.unplug(self.crew)
        self.crew.stop("gadget")
        self._bound = None

    def _attach(self) -> None:
        assert self._bound is not None
        setup, path = self._bound
        with self.progress.step(path.attaching):
            path.attach(self.crew)
        if setup.awaits is Awaited.NOTHING:
            return
        with self.progress.step(f"wait for {setup.awaits.words}"):
            client = self.machines[path.client]
            self.found = wait_for(client, setup.awaits, path.controller, setup.client_deadline_s)

    def _detach(self) -> None:
        assert self._bound is not None
        self.found = ""
        self._bound[1].detach(self.crew)


def wait_for_disk(front: Machine, deadline_s: float) -> str:
    """Wait on a machine for the disk behind its vhci_hcd; return the device node.

    Raises:
        MachineError: It did not come in time; with what was there instead.
    """
    return wait_for(front, Awaited.DISK, Split.controller, deadline_s)
