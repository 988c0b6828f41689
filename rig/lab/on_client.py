"""Runs *on a machine*, sent there as text: wait for what a USB driver makes of a device.

Standard library only, and little of it: it starts under emulation, isolated and without `site`.
Its arguments are the deadline in s, what to wait for (a key of `FINDERS`), and the host controller
behind which it must be.  It prints what it found, or what it saw instead and ends with status 1.

The wait is on the kernel's uevents (NETLINK_KOBJECT_UEVENT, ``lib/kobject_uevent.c``), so it costs
the machine nothing; the kernel makes the node in devtmpfs before it sends the event.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time

NETLINK_KOBJECT_UEVENT = 15  # include/uapi/linux/netlink.h
KERNEL_EVENTS = 1  # multicast group: 1 is the kernel's own events, 2 is udev's


def _behind(directory: str, prefixes: tuple[str, ...], controller: str) -> list[str]:
    """Return the entries of a directory of sysfs that are devices behind a host controller."""
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - pathlib costs its import
    except FileNotFoundError:  # the driver is not loaded yet
        return []
    return [
        name
        for name in names
        if name.startswith(prefixes) and controller in os.path.realpath(f"{directory}/{name}")
    ]


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:  # it has just gone
        return ""


def find_disk(controller: str, sysfs: str, dev: str) -> str:
    """Return the node of the first SCSI disk with medium, or ""."""
    for name in _behind(f"{sysfs}/block", ("sd",), controller):
        has_medium = _read(f"{sysfs}/block/{name}/size") not in ("", "0")
        if has_medium and os.access(f"{dev}/{name}", os.R_OK):
            return f"{dev}/{name}"
    return ""


def find_tty(controller: str, sysfs: str, dev: str) -> str:
    """Return the node of the first serial port, or ""."""
    for name in _behind(f"{sysfs}/class/tty", ("ttyACM", "ttyUSB"), controller):
        if os.access(f"{dev}/{name}", os.R_OK):
            return f"{dev}/{name}"
    return ""


def find_net(controller: str, sysfs: str, dev: str) -> str:  # noqa: ARG001
    """Return the name of the first network interface, or ""."""
    return "".join(_behind(f"{sysfs}/class/net", ("",), controller)[:1])


def find_usbtest(controller: str, sysfs: str, dev: str) -> str:
    """Return the usbfs node of the first device that the driver usbtest has bound, or ""."""
    driver = f"{sysfs}/bus/usb/drivers/usbtest"
    for interface in _behind(driver, tuple("123456789"), controller):
        device = f"{sysfs}/bus/usb/devices/{interface.partition(':')[0]}"
        bus, number = _read(f"{device}/busnum"), _read(f"{device}/devnum")
        if bus and number:
            return f"{dev}/bus/usb/{int(bus):03}/{int(number):03}"
    return ""


def find_device(controller: str, sysfs: str, dev: str) -> str:  # noqa: ARG001
    """Return the kernel's name, like 1-1, of the first configured device, or ""."""
    devices = f"{sysfs}/bus/usb/devices"
    for name in _behind(devices, tuple("123456789"), controller):
        if ":" not in name and _read(f"{devices}/{name}/bConfigurationValue"):
            return name
    return ""


FINDERS = {
    "disk": find_disk,
    "tty": find_tty,
    "net": find_net,
    "usbtest": find_usbtest,
    "device": find_device,
}


def main(deadline_s: float, wanted: str, controller: str) -> int:
    """Wait; print what was found; return the exit status."""
    until = time.monotonic() + deadline_s
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as events:
        events.bind((0, KERNEL_EVENTS))
        while True:
            # Look after subscribing and after every event: nothing can slip between.
            found = FINDERS[wanted](controller, "/sys", "/dev")
            if found:
                print(found)
                return 0
            rest_s = until - time.monotonic()
            if rest_s <= 0 or not select.select([events], [], [], rest_s)[0]:
                break
            try:
                events.recv(65536)
            except OSError as error:
                # More events than the socket holds: look again, as after any event.
                if error.errno != errno.ENOBUFS:
                    raise
    print("USB:", " ".join(_behind("/sys/bus/usb/devices", tuple("123456789"), controller)))
    print("block devices:", " ".join(sorted(os.listdir("/sys/block"))))  # noqa: PTH208
    return 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2], sys.argv[3]))
