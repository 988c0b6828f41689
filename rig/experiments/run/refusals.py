"""What a run refuses before anything is started, since nothing could be learnt from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rig.errors import UserError
from rig.experiments.run.chosen import LUN_SLACK_BYTES, RunOptions
from rig.experiments.run.room import most_mib
from rig.faults.plan import Plan
from rig.faults.rules.base import check_disk
from rig.faults.rules.machine import MachineFault, MachineKind, MachineRole
from rig.integrity.filesystems import MIB, RAW, file_system
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.table import Kind
from rig.lab.attachment import Attachment

GONE_FOR_GOOD = frozenset({MachineKind.KILL, MachineKind.POWER_CYCLE, MachineKind.REBOOT})
"""What the machine with the workload does not survive as it must."""


def check_workloads(file_systems: Sequence[str], kinds: Sequence[Kind]) -> None:
    """Refuse workloads that need files where there are none.

    Raises:
        UserError: One does.
    """
    for kind in kinds:
        if RAW.name in file_systems and not kind.on_raw_device:
            raise UserError(
                f"Workload '{kind.name}' needs files, and the raw device has none.",
                hint="Leave 'raw' out of --fs, or take another workload.",
            )


def check_lun(options: RunOptions) -> None:
    """Refuse a LUN on which a file system cannot be made.

    Raises:
        UserError: It is too small.
    """
    if options.lun_mib is None:
        return
    # All partitions have one size.
    widest = max(file_system(name).smallest_bytes for name in options.file_systems)
    enough = -(-(len(options.file_systems) * widest + LUN_SLACK_BYTES) // MIB)
    for name in options.file_systems:
        smallest = file_system(name).smallest_bytes
        if options.partition_bytes < smallest:
            raise UserError(
                f"A LUN of {options.lun_mib} MiB leaves {max(0, options.partition_bytes) // MIB}"
                f" MiB for {name}, which needs {smallest // MIB} MiB.",
                hint=f"Give --lun-mib {enough} or more"
                + (", or fewer file systems." if len(options.file_systems) > 1 else "."),
            )


def check_faults(options: RunOptions) -> None:
    """Refuse faults about blocks that the disk does not have.

    Raises:
        UserError: There is one.
    """
    try:
        check_disk(options.plan.faults, options.lun_bytes)
    except UserError as error:
        ranges = [getattr(rule, "lba", None) or (0, 0) for rule in options.plan.faults]
        needed = (max(first for first, _ in ranges) + 1) * SECTOR_BYTES
        most = most_mib(len(options.file_systems), options.workloads)
        sizes = range(options.bytes_each // MIB, most + 1) if options.lun_mib is None else ()
        larger = (
            mib for mib in sizes if replace(options, bytes_each=mib * MIB).lun_bytes >= needed
        )
        mib = next(larger, None)
        wish = f"--lun-mib {-(-needed // MIB)}" if mib is None else f"--mib {mib}"
        raise UserError(error.message, hint=f"Give {wish} or more, or other LBAs.") from error


def check_machines(plan: Plan, attachment: Attachment) -> None:
    """Refuse what would leave nothing to judge, before anything is started.

    Raises:
        UserError: A rule strikes a machine that the run cannot do without.
    """
    for fault in plan.rules(MachineFault):
        check_machine(fault, attachment)


def check_machine(fault: MachineFault, attachment: Attachment) -> None:
    """Refuse a rule that would leave nothing to judge.

    Raises:
        UserError: It strikes a machine that the run cannot do without.
    """
    if fault.machine is MachineRole.FRONT and fault.kind in GONE_FOR_GOOD:
        raise UserError(
            f"Fault '{fault.name}' ends the front machine, and the workload with it.",
            hint="A run can pause the front machine, and kill or stop its daemon.",
        )
    if fault.kind is MachineKind.KILL:
        raise UserError(
            f"Fault '{fault.name}' ends the back machine for good, and the medium with it.",
            hint="A run can power-cycle or reboot it.",
        )
    if fault.kind in GONE_FOR_GOOD and attachment.has_cable:
        raise UserError(
            f"Fault '{fault.name}' does not go with attachment '{attachment.name}': the cable"
            " does not survive it.",
            hint="Take attachment dummy.",
        )
