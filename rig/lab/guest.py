"""A machine of a lab that is a QEMU guest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rig.errors import LaunchFailure, LostVMError, MachineError
from rig.guest_images.image import BOOTED
from rig.lab.environment import Role
from rig.lab.health import Health
from rig.lab.machine import Machine
from rig.lab.qemu import RigQEMUDriver
from rig.lab.ssh import RigSSHDriver, connect, ssh_argv
from rig.lab.timetable import Deed
from rig.lab.unit import MACHINE_PLACE

FIRST_LINE_DEADLINE_S = 20.0
"""Until a guest's console shows its first line; some boots never do (see `rig.lab.powering`)."""

BOOT_DEADLINE_S = 75.0
"""From the first line to the guest's word that it can be reached; 2 busy cores without KVM."""


class Guest:
    """A guest; see `rig.lab.unit.Unit`.

    Args:
        role: Which machine it is.
        target: labgrid's, with a `RigQEMUDriver` and a `RigSSHDriver`.
        on_retry: Is called when a boot has to be tried again.
        on_stale: Is called when it cannot resume, and boots instead.

    Attributes:
        driver: Runs QEMU.
        memory: What it resumes from when it is started; None: it boots.
    """

    says_when_silent = True
    keep_command = f"mount -o remount,sync {MACHINE_PLACE} && sync"

    def __init__(
        self,
        role: Role,
        target: Any,
        on_retry: Callable[[], None],
        on_stale: Callable[[MachineError], None],
    ) -> None:
        self.role = role
        self.driver: RigQEMUDriver = target.get_driver("RigQEMUDriver", activate=False)
        self.memory: Path | None = None
        self.ssh: list[str] = []
        self._resumed = False
        self._target = target
        self._on_retry = on_retry
        self._on_stale = on_stale

    @property
    def health(self) -> Health:
        """See `Unit`."""
        return self.driver.health

    @property
    def pids(self) -> list[int]:
        """See `Unit`."""
        return [pid for pid in (self.driver.pid, self._ssh_driver.pid) if pid is not None]

    def start(self) -> None:
        """See `Unit`."""
        self._target.activate(self.driver)
        # Good for one start: the scratch disk changes from then on.
        memory, self.memory = self.memory, None
        self._resumed = memory is not None and self._resume(memory)
        if not self._resumed:
            self.driver.on()

    def wait_alive(self) -> None:
        """See `Unit`."""
        if not self._resumed:
            self.driver.powered_console.wait_for(r"\S", FIRST_LINE_DEADLINE_S)

    def reach(self) -> Machine:
        """See `Unit`."""
        driver = self.driver
        if not self._resumed:
            driver.powered_console.wait_for(BOOTED, BOOT_DEADLINE_S)
        self._target.get_resource("NetworkService").port = driver.forwarded_port(22)
        self._connect()
        logs = Path(driver.log_directory)
        machine = Machine(self.role.value, self._ssh_driver, logs, driver.health, driver.console)
        if self._resumed:  # its clock stood still meanwhile
            machine.check(f"date -s @{time.time():.3f}")
        return machine

    @contextmanager
    def standing_still(self) -> Iterator[RigQEMUDriver]:
        """Have no connection to it, and let its processors stand still, within the block.

        Raises:
            MachineError: It was lost.
        """
        self._target.deactivate(self._ssh_driver)
        self.driver.monitor_command("stop")
        try:
            yield self.driver
        finally:
            self.driver.monitor_command("cont")
            self._connect()

    def _resume(self, memory: Path) -> bool:
        """Start where a state was kept; return whether it could be used."""
        try:
            self.driver.on(memory)
        except (LaunchFailure, LostVMError) as error:
            self._on_stale(error)
            self.driver.off()
            return False
        return True

    def _connect(self) -> None:
        connect(self.role.value, self._target, self._ssh_driver)
        self.ssh = ssh_argv(self._ssh_driver)

    def leave(self) -> None:
        """See `Unit`."""
        self.ssh = []
        self._target.deactivate(self._ssh_driver)
        # Deactivation powers off; a driver whose start failed is active too.
        self._target.deactivate(self.driver)

    def cut_power(self) -> None:
        """See `Unit`.

        QEMU ends with it: what its command ``system_reset`` boots again was seen to hang.
        """
        self._target.deactivate(self._ssh_driver)
        self.driver.off()

    def restore_power(self) -> None:
        """See `Unit`."""
        self._resumed = False
        self.driver.on()
        try:
            self.wait_alive()
        except LostVMError:
            if self.health.lost:
                raise
            self._on_retry()
            self.driver.off()
            self.driver.on()

    def kill(self) -> None:
        """See `Unit`."""
        self.driver.kill()

    def pause(self) -> None:
        """See `Unit`."""
        self.driver.monitor_command("stop")

    def resume(self) -> None:
        """See `Unit`."""
        self.driver.monitor_command("cont")

    def switch_port(self, *, on: bool) -> None:  # noqa: ARG002
        """See `Unit`."""
        raise MachineError(self.lacks(Deed.CUT_PORT))

    def lacks(self, deed: Deed) -> str:
        """See `Unit`."""
        if deed in (Deed.CUT_PORT, Deed.POWER_PORT):
            return (
                "a guest's port has no power to be switched.  Effect 'soft-disconnect' of layer"
                " 'device' unplugs there, too."
            )
        return ""

    def standstill(self) -> LaunchFailure | None:
        """See `Unit`."""
        return self.driver.standstill()

    @property
    def _ssh_driver(self) -> RigSSHDriver:
        driver: RigSSHDriver = self._target.get_driver("RigSSHDriver", activate=False)
        return driver
