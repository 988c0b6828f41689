"""Runs *on the front machine*, sent there as text: wait for the disk behind vhci_hcd.

Standard library only, and little of it: it starts under emulation, isolated and without `site`.
Its one argument is the deadline in s.  It prints the disk's device node, or what it saw instead
and ends with status 1.

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


def find_disk(sys_block: str = "/sys/block", dev: str = "/dev") -> str:
    """Return the node of the first SCSI disk with medium on a vhci_hcd port, or ""."""
    for name in sorted(os.listdir(sys_block)):  # noqa: PTH208 - pathlib costs its import
        if not name.startswith("sd"):
            continue
        if "vhci_hcd" not in os.path.realpath(f"{sys_block}/{name}"):
            continue
        with open(f"{sys_block}/{name}/size", encoding="ascii") as size:  # noqa: PTH123
            has_medium = int(size.read()) > 0
        if has_medium and os.access(f"{dev}/{name}", os.R_OK):
            return f"{dev}/{name}"
    return ""


def main(deadline_s: float) -> int:
    """Wait for the disk; print its node; return the exit status."""
    until = time.monotonic() + deadline_s
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as events:
        events.bind((0, KERNEL_EVENTS))
        while True:
            # Look after subscribing and after every event: nothing can slip between.
            disk = find_disk()
            if disk:
                print(disk)
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
    print("block devices:", " ".join(sorted(os.listdir("/sys/block"))))  # noqa: PTH208
    return 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
