"""``vhci_hcd``'s sysfs files: which ports are free, and attach.

Only controller 0 has the files, and they serve all controllers
(``drivers/usb/usbip/vhci_sysfs.c``).
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import msgspec

from rig.errors import MachineError, RemoteProtocolError
from rig.usb.urb import Speed

SYSFS = Path("/sys/devices/platform/vhci_hcd.0")


class PortState(IntEnum):
    """``enum usbip_device_status``, the part that the front end can see."""

    NULL = 4
    NOT_ASSIGNED = 5
    USED = 6
    ERROR = 7


class Port(msgspec.Struct, frozen=True):
    """One line of ``status``."""

    super_speed: bool
    number: int
    state: PortState
    bus_id: str
    """The kernel's name of the device there, such as ``3-1``; ``0-0`` if none."""


def parse_status(text: str) -> list[Port]:
    """Read a ``status`` file: hub, port, sta, spd, dev, sockfd, local_busid; a heading first.

    Raises:
        RemoteProtocolError: A line has another shape.
    """
    ports = []
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            hub, number, state, *_, bus_id = words
            ports.append(Port(hub == "ss", int(number), PortState(int(state)), bus_id))
        except ValueError as error:
            raise RemoteProtocolError(f"vhci_hcd's status has the line {line!r}.") from error
    return ports


def read_status(sysfs: Path = SYSFS) -> list[list[Port]]:
    """Return the ports of every controller.

    Raises:
        MachineError: The module is not loaded.
    """
    if not sysfs.exists():
        raise MachineError("vhci_hcd is not loaded.", hint="Load it: modprobe vhci_hcd")
    files = sorted(sysfs.glob("status*"), key=lambda path: int(path.suffix[1:] or 0))
    return [parse_status(path.read_text(encoding="ascii")) for path in files]


def free_halves(controllers: list[list[Port]], *, super_speed: bool) -> list[list[Port]]:
    """Return the halves of controllers of which no port is in use, the last controller first.

    Each has two ports at least: one is the hidden device's (`rig.splitdriver.hidden`).

    A controller's half (its high-speed or its SuperSpeed root hub) shares one sequence of numbers
    among its ports; whoever owns the whole half can see that none is missing.  The kernel's own
    tool takes the first free port, so the last controller is the least likely to be wanted.
    """
    halves = ([p for p in ports if p.super_speed is super_speed] for ports in controllers)
    return [
        half
        for half in reversed(list(halves))
        if len(half) > 1 and all(port.state is PortState.NULL for port in half)
    ]


def read_port(number: int, sysfs: Path = SYSFS) -> Port | None:
    """Return what is said of a port now.

    Raises:
        MachineError: The module is not loaded.
    """
    ports = (port for half in read_status(sysfs) for port in half)
    return next((port for port in ports if port.number == number), None)


def attach(port: Port, socket_fd: int, devid: int, speed: Speed, sysfs: Path = SYSFS) -> None:
    """Plug a device whose URBs will come over a socket into a port.

    Args:
        port: A free port of the half that serves `speed`.
        socket_fd: A stream socket of this process; the kernel takes its own reference.
        devid: Any number; comes back in every PDU.
        speed: The device's speed.  SuperSpeedPlus is attached as SuperSpeed, which 6.1 knows too.
        sysfs: Where ``vhci_hcd.0`` is.

    Raises:
        OSError: EBUSY if the port was taken meanwhile, EINVAL for what it does not accept.
    """
    wire_speed = min(speed, Speed.SUPER)
    (sysfs / "attach").write_text(f"{port.number} {socket_fd} {devid} {wire_speed}")
