"""A lab for a while: opened, used, and gone without a trace but its logs."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from labgrid import Environment

from rig.errors import LaunchFailure, MachineError
from rig.guest_images.cache import Cache
from rig.guest_images.image import GuestImage
from rig.lab.attachment import DUMMY, Attachment
from rig.lab.basis import Basis
from rig.lab.environment import GuestOptions, Places, Role, write
from rig.lab.guest import Guest
from rig.lab.hosts import Hosts
from rig.lab.machine import Machine
from rig.lab.private import private_directory
from rig.lab.space import check_space
from rig.lab.states import States
from rig.lab.steps import keep_steps_apart
from rig.lab.strategy import LabState, RigStrategy, Setup
from rig.lab.waits import Awaited
from rig.progress import Progress, Silent

_log = logging.getLogger(__name__)


class Lab:
    """Two machines and the way to their states; see `Lab.open`.

    Args:
        environment: labgrid's environment, with the targets ``back``, ``front`` and ``lab``.
        places: Where its files are.
    """

    def __init__(self, environment: Environment, places: Places) -> None:
        self.environment = environment
        self.directory = places.directory
        self.private = places.private
        strategy: RigStrategy = environment.get_target("lab").get_strategy()
        self.strategy = strategy

    @classmethod
    @contextmanager
    def open(
        cls,
        image: Basis,
        directory: Path,
        *,
        accelerator: str = "tcg",
        memory_mib: int = 512,
        processors: int = 1,
        extra_args: tuple[str, ...] = (),
        attachment: Attachment = DUMMY,
        progress: Progress | None = None,
    ) -> Iterator[Lab]:
        """Make a lab, in the state ``off``; at the end stop everything that it started.

        The end comes too with an exception, Ctrl-C, and SIGTERM (when opened on the main thread),
        and the machines end even if the station is killed.

        Args:
            image: What both machines boot; or hosts, to which what is said of guests here does not
                apply.
            directory: Made if need be.  Logs stay in ``back/`` and ``front/``.
            accelerator: ``kvm`` or ``tcg``.
            memory_mib: Memory of each machine.
            processors: Virtual processors of each machine.
            extra_args: More arguments for QEMU.
            attachment: What the gadget is plugged into.
            progress: Is told of the steps.

        Raises:
            LaunchFailure: What a lab needs on the station is missing; or, instead of a
                `MachineError` or an `OSError` that left the block, a machine's disk could not be
                written.
        """
        if shutil.which("ssh") is None:
            raise LaunchFailure(
                "The program ssh is missing.", hint="Install Debian's package openssh-client."
            )
        with ExitStack() as stack:
            keep_steps_apart()
            stack.enter_context(_interrupt_on_sigterm())
            private = stack.enter_context(private_directory())
            places = Places(directory.absolute(), private)
            places.directory.mkdir(parents=True, exist_ok=True)
            check_space(places.directory)
            if isinstance(image, Hosts):
                lab = cls._of_hosts(image, places, attachment, stack, progress or Silent())
            else:
                options = GuestOptions(accelerator, memory_mib, processors, extra_args, attachment)
                lab = cls._of_guests(image, places, options, stack)
            powering = lab.strategy.powering
            powering.progress, powering.places = progress or Silent(), places
            stack.callback(lab.strategy.shut_down)
            try:
                yield lab
            except (MachineError, OSError) as error:  # the station's own files may be the first
                powering.check_disks(error)
                raise

    @classmethod
    def _of_guests(
        cls, image: GuestImage, places: Places, options: GuestOptions, stack: ExitStack
    ) -> Lab:
        for role in Role:
            stack.callback(places.scratch(role).unlink, missing_ok=True)
        states = States(image, options, Cache())
        kept = states.find()
        if kept is not None and not kept.lay_out(places):
            kept = None
        write(image, places, options)
        environment = Environment(str(places.yaml))
        stack.callback(_clean_up, environment)
        lab = cls(environment, places)
        lab.strategy.attachment = options.attachment
        powering, machines = lab.strategy.powering, lab.strategy.machines

        def forget(error: MachineError) -> None:
            states.discard()
            powering.progress.note(f"{error.message}  It boots instead.")

        guests = {
            role: Guest(role, environment.get_target(role.value), powering.count_retry, forget)
            for role in Role
        }
        powering.units.update(guests)
        if kept is not None:
            for role, guest in guests.items():
                guest.memory = kept.memory(role)
        else:
            powering.booted = lambda: states.keep(guests, machines, places, powering.progress)
        return lab

    @classmethod
    def _of_hosts(
        cls,
        hosts: Hosts,
        places: Places,
        wished: Attachment,
        stack: ExitStack,
        progress: Progress,
    ) -> Lab:
        attachment = hosts.attachment(wished)
        environment, units = hosts.open(places, progress.note)
        stack.callback(_clean_up, environment)
        lab = cls(environment, places)
        lab.strategy.attachment = attachment
        lab.strategy.crew.addresses.update(hosts.addresses)
        lab.strategy.powering.units.update({unit.role: unit for unit in units})
        return lab

    @property
    def state(self) -> LabState:
        """Where the lab is."""
        return self.strategy.status

    @property
    def setup(self) -> Setup | None:
        """What runs on the machines; needed for ``bound`` and ``attached``."""
        return self.strategy.setup

    @setup.setter
    def setup(self, setup: Setup | None) -> None:
        self.strategy.setup = setup

    @property
    def back(self) -> Machine:
        """The back machine; there is one from ``booted`` on."""
        return self.strategy.machine(Role.BACK)

    @property
    def front(self) -> Machine:
        """The front machine; there is one from ``booted`` on."""
        return self.strategy.machine(Role.FRONT)

    @property
    def client(self) -> Machine:
        """The machine on which the device is used; there is one from ``booted`` on."""
        return self.strategy.machine(self.strategy.client)

    @property
    def found(self) -> str:
        """What the client waited for (`rig.lab.waits.Awaited`) while ``attached``, else ""."""
        return self.strategy.found

    @property
    def disk(self) -> str:
        """The disk's node on the client's machine while ``attached``, if that is what was awaited.

        Else "".
        """
        awaits_disk = self.setup is not None and self.setup.awaits is Awaited.DISK
        return self.found if awaits_disk else ""

    @property
    def boot_retries(self) -> int:
        """How many boots had to be tried again because a machine stayed silent."""
        return self.strategy.powering.retries

    def processes(self) -> list[int]:
        """Return the process IDs of all that runs for the machines: QEMUs and SSH masters."""
        return self.strategy.powering.processes()

    def transition(self, state: LabState | str) -> None:
        """Bring the lab to a state; see `RigStrategy.transition`."""
        self.strategy.transition(state)


def _clean_up(environment: Environment) -> None:
    """Deactivate what is still active; errors are logged, for all must be tried."""
    for role in reversed(Role):
        try:
            environment.get_target(role.value).cleanup()
        except Exception as error:
            _log.warning("While machine %r was cleaned up: %s", role.value, error)


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that what was opened is closed.

    Not as SystemExit: a test runner takes that for the failure of one test, and goes on.
    """

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may set handlers; whoever owns it decides.
        yield
        return
    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
