"""What a device's client waits for on its machine before it has the device."""

from __future__ import annotations

import inspect
import shlex
from enum import StrEnum

from rig.errors import MachineError
from rig.lab import on_client
from rig.lab.machine import Machine

LEEWAY_S = 30.0
"""For Python's start on a busy, emulated machine and SSH, on top of a wait's own deadline."""


class Awaited(StrEnum):
    """What the client machine's kernel makes of the device."""

    NOTHING = "nothing"
    """Do not wait."""
    DEVICE = "device"
    """A configured USB device, by the kernel's name: ``1-1``."""
    DISK = "disk"
    """A SCSI disk with medium, by its node: ``/dev/sda``."""
    TTY = "tty"
    """A serial port, by its node: ``/dev/ttyACM0``."""
    NET = "net"
    """A network interface, by its name: ``usb0``."""
    USBTEST = "usbtest"
    """A device that the kernel's driver usbtest has bound, by its usbfs node."""

    @property
    def words(self) -> str:
        """Return it as a sentence has it."""
        return _TITLES.get(self, f"the {self.value}")


_TITLES = {
    Awaited.TTY: "the serial port",
    Awaited.NET: "the network interface",
    Awaited.USBTEST: "the driver usbtest",
}

MODULES: dict[Awaited, tuple[str, ...]] = {
    Awaited.DISK: ("usb_storage", "sd_mod"),
    Awaited.TTY: ("cdc_acm",),
    Awaited.NET: ("cdc_ncm",),
    Awaited.USBTEST: ("usbtest",),
}
"""The drivers that the client needs; the machines have no udev that would load them."""


def wait_for(machine: Machine, awaited: Awaited, controller: str, deadline_s: float) -> str:
    """Load the driver if need be, and wait for what it makes of the device.

    Args:
        machine: The client's.
        awaited: What to wait for.
        controller: Part of the sysfs name of the host controller behind which it must be.
        deadline_s: For the wait.

    Returns:
        What `Awaited` says of it; "" for nothing.

    Raises:
        MachineError: It did not come in time; with what was there instead.
    """
    if awaited is Awaited.NOTHING:
        return ""
    done = machine.run(wait_command(awaited, controller, deadline_s), deadline_s + LEEWAY_S)
    if done.status != 0:
        raise MachineError(
            f"Machine {machine.name!r} did not show {awaited.words} behind {controller}"
            f" in {deadline_s:g} s.",
            hint=f"It has {' '.join(done.stdout.split())} {done.stderr.strip()}".rstrip(),
        )
    return done.stdout.strip()


def wait_command(awaited: Awaited, controller: str, deadline_s: float) -> str:
    """Return the shell command of `wait_for`, which prints what was found."""
    # Sent as text: it then needs nothing of the rig on the machine, and no package's import time.
    source = inspect.getsource(on_client)
    argv = ["python3", "-I", "-S", "-c", source, f"{deadline_s:g}", awaited.value, controller]
    # modprobe reads its indices anew each time; the shell sees sooner that there is nothing to do.
    loads = [
        f"{{ [ -d /sys/module/{name} ] || modprobe {name}; }}" for name in MODULES.get(awaited, ())
    ]
    return " && ".join([*loads, shlex.join(argv)])
