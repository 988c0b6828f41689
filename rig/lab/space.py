"""Room for what two guests write: their disks are sparse files in the lab's directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from rig.errors import LaunchFailure

BOOT_BYTES = 64 << 20
"""Less than this, and two guests that boot, and a short workload, would not find room."""
FULL_BYTES = 1 << 20
"""A file system with less than this left has no room for the next piece of a sparse file."""
_MEND = "Make some room there, or put the run elsewhere (--out)."


def check_space(directory: Path) -> None:
    """Return if guests that have their disks in a directory can be booted.

    Raises:
        LaunchFailure: There is no room for what they write.
    """
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < BOOT_BYTES:
        raise LaunchFailure(
            f"There is no space left under '{directory}' for the machines' disks:"
            f" {free_bytes >> 10} KiB, and they need {BOOT_BYTES >> 20} MiB at least.",
            hint=_MEND,
        )


def stands_still(machine: str, directory: Path) -> LaunchFailure:
    """Return why a machine whose disk could not be written does nothing any more.

    Args:
        machine: Its name.
        directory: Where its disk is.
    """
    full = shutil.disk_usage(directory).free < FULL_BYTES
    why = "there is no space left" if full else "an error was met"
    return LaunchFailure(
        f"Machine {machine!r} stands still: QEMU could not write its disk, for {why} under"
        f" '{directory}'.",
        hint=_MEND if full else "The station's kernel log may say more.",
    )
