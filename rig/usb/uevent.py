"""The kernel's own announcements of plug and unplug (netlink, no udev needed).

``lib/kobject_uevent.c``: a message is ``ACTION@DEVPATH`` and then ``KEY=VALUE`` strings, each ended
by a zero octet.
"""

from __future__ import annotations

import os
import socket

from rig.errors import MachineError

_NETLINK_KOBJECT_UEVENT = 15
_GROUP_KERNEL = 1
_MESSAGE_BYTES = 8192


def open_socket() -> socket.socket:
    """Return a non-blocking socket that receives every uevent from now on.

    Raises:
        MachineError: This kernel, or what confines us, has none for us.
    """
    listener = None
    try:
        listener = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT
        )
        listener.bind((0, _GROUP_KERNEL))
    except OSError as error:
        if listener is not None:
            listener.close()
        raise MachineError(
            f"The kernel's news of USB devices cannot be heard: {error.strerror}.",
            hint="Run this outside of sandboxes that forbid netlink sockets.",
        ) from error
    listener.setblocking(False)
    return listener


def drain(listener: socket.socket) -> list[dict[str, str]]:
    """Return the uevents that have come.

    An overrun (ENOBUFS) is reported as an event of its own with the action ``overrun``: something
    was missed, so the receiver must look for itself.
    """
    events: list[dict[str, str]] = []
    while True:
        try:
            message = listener.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return events
        except OSError:
            events.append({"ACTION": "overrun", "SUBSYSTEM": "usb", "DEVTYPE": "usb_device"})
            continue
        events.append(parse(message))


def parse(message: bytes) -> dict[str, str]:
    """Return the KEY=VALUE strings of one message."""
    fields = (os.fsdecode(part).partition("=") for part in message.split(b"\0")[1:])
    return {key: value for key, separator, value in fields if separator}
