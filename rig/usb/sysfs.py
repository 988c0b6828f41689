"""Where a USB port is, and what is plugged into it, by sysfs.

A port is named in one of two ways:

* ``3-1.4``, the kernel's name for what is plugged in there: bus 3, root port 1, that hub's port 4;
* ``dummy_hcd.0/1`` or ``0000:00:14.0/3``: a host controller's device and a port of its root hub,
  which stays true when buses are numbered anew at the next boot.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from rig.errors import UserError

DEVICES = Path("/sys/bus/usb/devices")

_KERNEL_NAME = re.compile(r"(?P<bus>\d+)-(?P<chain>\d+(\.\d+)*)")
_CONTROLLER_NAME = re.compile(r"(?P<controller>[^/]+)/(?P<port>\d+)")


class PortLocation(msgspec.Struct, frozen=True):
    """A port of a hub of this machine.

    Attributes:
        hub: The hub's sysfs name, ``usb3`` for a root hub.
        number: The port's number on the hub, from 1.
        device: The sysfs name of whatever is plugged in there.
    """

    hub: str
    number: int
    device: str


def locate(name: str, devices: Path = DEVICES) -> PortLocation:
    """Find the port of that name; nothing needs to be plugged in.

    Raises:
        UserError: The name has neither form, or there is no such hub or controller.
    """
    location = _by_kernel_name(name) or _by_controller(name, devices)
    if location is None:
        raise UserError(
            f"'{name}' is no name of a USB port.",
            hint="Write it as 3-1.4 (bus-port.port) or dummy_hcd.0/1 (controller/port).",
        )
    ports = hub_ports(location.hub, devices)
    if not 1 <= location.number <= ports:
        raise UserError(
            f"Port '{name}': hub {location.hub} has no port {location.number} (it has {ports}).",
            hint="'lsusb -t' lists hubs and ports.",
        )
    return location


def hub_ports(hub: str, devices: Path = DEVICES) -> int:
    """Return how many ports a hub has; 0 if there is no such hub."""
    try:
        return int((devices / hub / "maxchild").read_text())
    except OSError:  # ENODEV, too, as in `node`
        return 0


def twin(location: PortLocation, devices: Path = DEVICES) -> PortLocation | None:
    """Return the other half of a USB 3 connector, or None.

    Such a connector is two ports to the kernel, one of a high-speed and one of a SuperSpeed hub,
    which name each other (``peer``, Documentation/ABI/testing/sysfs-bus-usb).
    """
    interface = f"{location.hub.removeprefix('usb')}-0" if _is_root(location.hub) else location.hub
    port = devices / f"{interface}:1.0" / f"{location.hub}-port{location.number}" / "peer"
    if not port.exists():
        return None
    hub, _, number = port.resolve().name.rpartition("-port")
    return PortLocation(hub, int(number), _device_at(hub, int(number)))


def controller_driver(hub: str, devices: Path = DEVICES) -> str:
    """Return the name of the driver of the host controller above a hub, such as ``dummy_hcd``."""
    bus = hub.removeprefix("usb").split("-")[0]
    return (devices / f"usb{bus}").resolve().parent.joinpath("driver").resolve().name


def node(device: str, devices: Path = DEVICES) -> str | None:
    """Return the usbfs node of a device, or None if it is not (or no longer) there."""
    try:
        bus = int((devices / device / "busnum").read_text())
        number = int((devices / device / "devnum").read_text())
    except OSError:  # ENODEV, too: an attribute that is removed while it is open (kernfs)
        return None
    return f"/dev/bus/usb/{bus:03}/{number:03}"


def _by_kernel_name(name: str) -> PortLocation | None:
    match = _KERNEL_NAME.fullmatch(name)
    if match is None:
        return None
    above, _, last = match["chain"].rpartition(".")
    hub = f"{match['bus']}-{above}" if above else f"usb{match['bus']}"
    return PortLocation(hub, int(last), name)


def _by_controller(name: str, devices: Path) -> PortLocation | None:
    match = _CONTROLLER_NAME.fullmatch(name)
    if match is None:
        return None
    # A USB 3 controller has two root hubs; the first, with the lower number, is for high speed.
    hubs = sorted(devices.glob("usb[0-9]*"), key=lambda path: int(path.name[3:]), reverse=True)
    roots = {path.resolve().parent.name: path.name for path in hubs}
    root = roots.get(match["controller"])
    if root is None:
        raise UserError(
            f"Port '{name}': there is no USB host controller {match['controller']}.",
            hint=f"Present: {', '.join(sorted(roots)) or 'none'}.",
        )
    number = int(match["port"])
    return PortLocation(root, number, _device_at(root, number))


def _is_root(hub: str) -> bool:
    return hub.startswith("usb")


def _device_at(hub: str, port: int) -> str:
    return f"{hub.removeprefix('usb')}-{port}" if _is_root(hub) else f"{hub}.{port}"
