"""What a machine of a lab is made of, to whoever powers, reaches and strikes it.

There are two kinds: `rig.lab.guest.Guest`, in QEMU, and `rig.lab.host.Host`, which is real or looks
so.  What one of them cannot do it says by `Unit.lacks` before anything is started.
"""

from __future__ import annotations

from typing import Protocol

from rig.errors import LaunchFailure
from rig.lab.environment import Role
from rig.lab.health import Health
from rig.lab.machine import Machine
from rig.lab.timetable import Deed

MACHINE_PLACE = "/var/lib/rig"
"""Where the rig keeps on a machine what must outlast a loss of power."""


class Unit(Protocol):
    """One machine of a lab, from before it is reached until after it is left.

    `start`, `wait_alive` and `reach` come in this order, each for all machines of the lab before
    the next one for any.

    Attributes:
        role: Which of the two it is.
        health: Says whether it is there; a new one after each loss of power.
        says_when_silent: Whether `wait_alive` tells a boot that hangs from one that is slow.
        ssh: The command line that runs on it what is appended; empty while it is not reached.
        keep_command: Has its disk hold at once what is written to `MACHINE_PLACE`.
        pids: The processes on the station that run for it.
    """

    role: Role
    says_when_silent: bool
    ssh: list[str]
    keep_command: str

    @property
    def health(self) -> Health:
        """See above."""

    @property
    def pids(self) -> list[int]:
        """See above."""

    def start(self) -> None:
        """Power it on, or find it powered, and see that it can be what it is to be.

        Nothing is changed on a machine that is there already.

        Raises:
            LaunchFailure: It does not start, or lacks something.
        """

    def wait_alive(self) -> None:
        """Wait for the first sign that it boots.

        Raises:
            LostVMError: There is none in time.
        """

    def reach(self) -> Machine:
        """Wait until it takes commands; make it ready for daemons.

        Raises:
            MachineError: It does not come to that in time.
        """

    def leave(self) -> None:
        """Undo all that, from any state, and safe to call again.

        Raises:
            MachineError: Something of it could not be undone.
        """

    def cut_power(self) -> None:
        """Let it lose its power, and whoever uses it lose it.

        Raises:
            MachineError: It still has it.
        """

    def restore_power(self) -> None:
        """Give it back, and see that it begins to boot; `reach` waits for the rest.

        Raises:
            MachineError: It does not.
        """

    def kill(self) -> None:
        """Let it be gone for good."""

    def pause(self) -> None:
        """Let its processors stand still.

        Raises:
            MachineError: They do not.
        """

    def resume(self) -> None:
        """Let them go on.

        Raises:
            MachineError: They do not.
        """

    def switch_port(self, *, on: bool) -> None:
        """Let the USB port into which the gadget is plugged have its power, or lose it.

        Raises:
            MachineError: It does not.
        """

    def lacks(self, deed: Deed) -> str:
        """Return what is missing for a deed, as the end of a sentence; "" for nothing."""

    def standstill(self) -> LaunchFailure | None:
        """Return why its processors stand still by themselves; None if they do not."""
