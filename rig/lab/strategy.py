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

import attr
from labgrid import target_factory
from labgrid.strategy import Strategy

from rig.errors import ApiViolationError, MachineError
from rig.lab.attachment import DUMMY, Attachment
from rig.lab.cable import Cable
from rig.lab.crew import Crew
from rig.lab.environment import Role
from rig.lab.guest import Guest
from rig.lab.machine import Machine
from rig.lab.paths import DevicePath, Direct, PathName, Split, UsbIp
from rig.lab.powering import ABANDON_DEADLINE_S, Powering
from rig.lab.qemu import RigQEMUDriver
from rig.lab.waits import Awaited, wait_for

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
        self.crew = Crew()
        self.powering = Powering(self.crew)
        self.machines = self.crew.machines
        self.daemons = self.crew.daemons
        self.found = ""
        # Whoever bound the gadget takes it back, even if the setup was changed meanwhile.
        self._bound: tuple[Setup, DevicePath] | None = None
        self._cable: Cable | None = None
        self._up: dict[LabState, Callable[[], None]] = {
            LabState.BOOTED: self.powering.boot,
            LabState.BOUND: self._bind,
            LabState.ATTACHED: self._attach,
        }
        self._down: dict[LabState, Callable[[], None]] = {
            LabState.BOOTED: self.powering.power_off,
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
            self.powering.power_off,
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

    def driver(self, role: Role) -> RigQEMUDriver:
        """Return the QEMU driver of a guest.

        Raises:
            ApiViolationError: The machine is none.
        """
        unit = self.powering.unit(role)
        if not isinstance(unit, Guest):
            raise ApiViolationError(f"The {role.value} machine is no QEMU guest.")
        return unit.driver

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

    def _bind(self) -> None:
        assert self.setup is not None
        setup, path = self._bound = self.setup, self.setup.device_path(self.attachment)
        cable = self._cable = self._make_cable(setup)
        with self.powering.progress.step(
            ", ".join(filter(None, ("bind the gadget", path.serving)))
        ):
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
        places = self.powering.places
        assert places is not None
        return Cable(self.attachment, setup.cable, places, setup.ready_deadline_s)

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
        with self.powering.progress.step(path.attaching):
            path.attach(self.crew)
        if setup.awaits is Awaited.NOTHING:
            return
        with self.powering.progress.step(f"wait for {setup.awaits.words}"):
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
