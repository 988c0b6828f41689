"""Finds a mass storage device, opens it, and says where its endpoints are.  An edge."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import Final

from rig.errors import MachineError, UserError
from rig.reactor import HasFileno
from rig.usb import bot, descriptors, sysfs, uevent
from rig.usb.urb import Direction, TransferType
from rig.usb.usbfs import UsbfsDevice

FIND_DEADLINE_S: Final = 20.0


def check_controller(controller: str, devices: Path = sysfs.DEVICES) -> None:
    """Refuse a host controller that is not there, behind which nothing would ever come.

    Args:
        controller: As `find` takes it.
        devices: sysfs's directory of USB devices.

    Raises:
        UserError: There is none of which this is part of the name.
    """
    hubs = [hub.resolve() for hub in devices.glob("usb[0-9]*")]
    if controller and any(controller in f"{hub}/" for hub in hubs):
        return
    present = ", ".join(sorted({hub.parent.name for hub in hubs}))
    raise UserError(
        f"There is no USB host controller '{controller}'.", hint=f"Present: {present or 'none'}."
    )


def find(
    controller: str,
    deadline_s: float = FIND_DEADLINE_S,
    devices: Path = sysfs.DEVICES,
    stop: HasFileno | None = None,
    but: str = "",
) -> str:
    """Wait for a mass storage device behind a host controller; return its usbfs node.

    Args:
        controller: Part of the controller's name in sysfs, ``vhci_hcd``.
        deadline_s: How long to wait.
        devices: sysfs's directory of USB devices.
        stop: Readable when it is not wanted any more.
        but: Not this node; a device that is plugged in anew has another number.

    Raises:
        MachineError: None came in time.
    """
    until = time.monotonic() + deadline_s
    with uevent.open_socket() as events:
        while True:
            # After subscribing and after every event: nothing can slip between.
            node = _find_now(controller, devices, but)
            if node is not None:
                return node
            rest_s = until - time.monotonic()
            wanted = [events] if stop is None else [events, stop]
            if rest_s <= 0 or events not in select.select(wanted, [], [], rest_s)[0]:
                raise MachineError(f"No mass storage device came behind {controller} in time.")
            uevent.drain(events)


def _find_now(controller: str, devices: Path, but: str) -> str | None:
    words = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
    for interface in sorted(devices.glob("*:*")):
        if controller not in str(interface.resolve()):
            continue
        if "".join(_read(interface / word) for word in words) == bot.INTERFACE_CLASS:
            node = sysfs.node(interface.name.partition(":")[0], devices)
            if node is not None and node != but:
                return node
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # it has just gone
        return ""


def open_device(node: str) -> UsbfsDevice:
    """Open a device's usbfs node.

    Raises:
        MachineError: It cannot be opened.
    """
    try:
        return UsbfsDevice(node)
    except OSError as error:
        raise MachineError(f"{node} cannot be opened: {os.strerror(error.errno or 0)}.") from error


def storage_interface(usbfs: UsbfsDevice) -> tuple[int, dict[Direction, int]]:
    """Return the number of the first interface with bulk endpoints both ways, and those.

    Raises:
        MachineError: There is none.
    """
    for configuration in descriptors.parse(usbfs.descriptors()).configurations[:1]:
        for interface in configuration.interfaces:
            bulk = [e.address for e in interface.endpoints if e.transfer_type is TransferType.BULK]
            addresses = {Direction.of(address): address for address in reversed(bulk)}
            if len(addresses) == len(Direction):
                return interface.number, addresses
    raise MachineError(f"{usbfs.path} has no bulk endpoints for both ways.")
