"""The lock that keeps several front ends of one machine from using one half of a controller."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from rig.usb import vhci

LOCKS = Path("/run/rig")


def lock_half(ports: list[vhci.Port]) -> int | None:
    """Return a descriptor that keeps other front ends from using a half, or None if one does."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    path = LOCKS / f"vhci-port-{ports[0].number}.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    return None
