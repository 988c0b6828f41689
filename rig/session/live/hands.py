"""What is done to the device by hand: its port is reset, and what was unplugged is plugged in."""

from __future__ import annotations

from rig.errors import MachineError
from rig.lab.lab import Lab
from rig.lab.waits import Awaited, wait_for

FIND_S = 10.0
RESET_S = 60.0
"""The kernel waits for a reset's end, and for the drivers'."""


def reset_port(lab: Lab) -> None:
    """Have the client's host reset the device's port (``USBDEVFS_RESET``).

    Raises:
        MachineError: The device is not there, or the host could not.
    """
    client, strategy = lab.client, lab.strategy
    name = wait_for(client, Awaited.DEVICE, strategy.controller, FIND_S).split()[0]
    place = f"/sys/bus/usb/devices/{name}"
    numbers = f'"$(printf %03d/%03d "$(cat {place}/busnum)" "$(cat {place}/devnum)")"'
    done = client.run(f"usbreset {numbers}", RESET_S)
    if done.status != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it says nothing").rstrip(".")
        raise MachineError(f"The host could not reset the device's port: {said}.")


def undo_moments(lab: Lab, moments: list[str]) -> int:
    """Undo what the gadget was to do for ever; return how much that was.

    Args:
        lab: Attached.
        moments: Effects of the device layer, such as ``soft-disconnect``.

    Raises:
        MachineError: The gadget does not answer.
    """
    for effect in moments:
        # For no time at all: it happens again, and is over.
        lab.strategy.daemons["gadget"].ask("happen", effect=effect, for_s=0.0)
    return len(moments)
