"""What a session runs: the wishes of a run, with a small disk and all that can be poked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rig.errors import UserError
from rig.experiments.run.options import LUN_SLACK_BYTES, Recovery, RunOptions, check_wishes
from rig.integrity.filesystems import MIB, RAW, file_system
from rig.integrity.workloads.table import USUAL, WORKLOADS, Kind
from rig.integrity.workloads.table import workload as kind_of
from rig.lab.attachment import DUMMY
from rig.lab.paths import PathName

PLAN = "calm"
FILE_SYSTEM = "ext4"
BYTES_EACH = 2 * MIB
"""Of stamped data of a workload: a pass takes seconds."""
SMALLEST_LUN_MIB = 64


def session_options(
    plan: str = PLAN,
    file_systems: str = FILE_SYSTEM,
    kernel: str = "6.12",
    seed: int | None = None,
    recovery: Recovery | None = None,
    *,
    driver: str = PathName.SPLIT,
    client: str = "usb-storage",
    attachment: str | None = None,
    bytes_each: int | None = None,
    workload: str = USUAL,
    lun_mib: int | None = None,
) -> RunOptions:
    """Return what to run in a session; see `rig.experiments.run.options.check_wishes`.

    Every URB is noted, a relay is in the link where there is one, and the disk has room for every
    workload that there is.

    Args:
        plan: A file, or the name of a shipped plan, whose rules are there from the beginning.
        file_systems: Names separated by commas.
        kernel: ``6.12`` or ``6.1``.
        seed: Overrides the plan's own.
        recovery: The split driver's rules behind an error, checked; None for the usual ones.
        driver: ``split``, ``usbip`` or ``direct``.
        client: ``usb-storage`` or ``deep-queue``.
        attachment: What the gadget is plugged into; None: the plan's, or else dummy.
        bytes_each: Stamped data of a workload on each file system; None: what takes seconds.
        workload: The first one's name.
        lun_mib: Size of the LUN; None: what the file systems need.

    Raises:
        UserError: Any of them is not known, not there, or bad.
    """
    each = bytes_each or (BYTES_EACH if attachment in (None, DUMMY.name) else None)
    options = check_wishes(
        plan,
        file_systems,
        kernel,
        seed,
        recovery,
        driver=driver,
        client=client,
        attachment=attachment,
        bytes_each=each,
        workloads=workload,
        lun_mib=lun_mib,
    )
    split = options.driver is PathName.SPLIT
    return dataclasses.replace(
        options,
        urbs=split,
        relay=split,
        lun_mib=lun_mib or _lun_mib(options.file_systems, options.bytes_each),
    )


def _lun_mib(names: tuple[str, ...], bytes_each: int) -> int:
    """Room for the files of every workload, and for what copying on write needs beside."""
    written = sum(kind.sizes(bytes_each)["bytes_total"] for kind in WORKLOADS.values())
    partition = max(2 * written + 8 * MIB, *(file_system(name).smallest_bytes for name in names))
    needed = len(names) * partition + LUN_SLACK_BYTES
    return max(SMALLEST_LUN_MIB, -(-needed // MIB))


def kind_for(name: str, file_systems: Sequence[str]) -> Kind:
    """Look a workload up that can be run on all of these.

    Raises:
        UserError: There is none of this name, or it needs files and one is the raw device.
    """
    kind = kind_of(name)
    if RAW.name in file_systems and not kind.on_raw_device:
        raise UserError(
            f"Workload '{name}' needs files, and the raw device has none.",
            hint="Take another workload.",
        )
    return kind
