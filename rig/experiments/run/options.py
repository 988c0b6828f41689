"""What to run: a user's wishes, checked before anything is started."""

from __future__ import annotations

from rig.cable.controllers import Controller
from rig.errors import UserError
from rig.experiments.run.chosen import BYTES_EACH, LUN_SLACK_BYTES, RunOptions
from rig.experiments.run.client import Client
from rig.experiments.run.plugging import check_driver, plug
from rig.experiments.run.recovery import USUAL_RECOVERY, Recovery, check_recovery, one_of
from rig.experiments.run.refusals import (
    check_faults,
    check_lun,
    check_machine,
    check_machines,
    check_workloads,
)
from rig.experiments.run.room import check_room
from rig.faults.load import read_plan_text
from rig.faults.phases import PHASES
from rig.faults.reader import parse_plan
from rig.faults.rules.endpoint import EndpointFault
from rig.guest_images.spec import kernel_package
from rig.integrity.filesystems import MIB, file_system
from rig.integrity.workloads.table import LIST, USUAL, described, workload
from rig.lab.paths import PathName

__all__ = [
    "LIST",
    "LUN_SLACK_BYTES",
    "Recovery",
    "RunOptions",
    "check_machine",
    "check_recovery",
    "check_wishes",
    "list_workloads",
    "one_of",
]

CABLE_BYTES_EACH = 4 * MIB
OHCI_BYTES_EACH = MIB // 4
"""Stamped data on each file system: what takes seconds over dummy_hcd takes minutes over the cable,
and hours where it sends single packets."""
OHCI_FILE_SYSTEMS = ("vfat",)
"""Those that can be made there in minutes."""


def check_wishes(
    plan: str,
    file_systems: str,
    kernel: str,
    seed: int | None,
    recovery: Recovery | None = None,
    *,
    driver: str = PathName.SPLIT,
    client: str = Client.USB_STORAGE,
    attachment: str | None = None,
    bytes_each: int | None = None,
    workloads: str = USUAL,
    lun_mib: int | None = None,
    text: str | None = None,
) -> RunOptions:
    """Return what to run.

    Args:
        plan: A file, or the name of a shipped plan.
        file_systems: Names separated by commas.
        kernel: ``6.12`` or ``6.1``.
        seed: Overrides the plan's own.
        recovery: The split driver's rules behind an error, checked; None for the usual ones.
        driver: ``split``, ``usbip`` or ``direct``.
        client: ``usb-storage`` or ``deep-queue``.
        attachment: As `parse_attachment` takes it; None: the plan's, or else dummy.
        bytes_each: Stamped data on each file system; None: what the attachment does in seconds.
        workloads: Names separated by commas.
        lun_mib: Size of the LUN; None: what the file systems need.
        text: The plan's, if it need not be read: ``plan`` only names it then.

    Raises:
        UserError: Any of them is not known, not there, or bad.
    """
    names = _listed("file systems", file_systems)
    for name in names:
        file_system(name)
    kinds = tuple(workload(name) for name in _listed("workloads", workloads))
    check_workloads(names, kinds)
    kernel_package(kernel)
    # Read once: the file may be a pipe, and the machines must get what was checked.
    text = read_plan_text(plan) if text is None else text
    checked = parse_plan(text, plan, PHASES).with_seed(seed)
    plugged, controller = plug(checked, attachment)
    carrier = PathName(one_of("driver", driver, PathName))
    if recovery is not None and carrier is not PathName.SPLIT:
        raise UserError(
            f"A policy is the split driver's own: driver {carrier} has none.",
            hint="Leave --policy, --aca-status and --window out.",
        )
    recovery = recovery or USUAL_RECOVERY
    check_driver(checked, carrier)
    check_machines(checked, plugged)
    if controller is Controller.OHCI and names != OHCI_FILE_SYSTEMS:
        raise UserError(
            "At ohci 1 MiB takes two minutes to write, and file systems other than vfat write many"
            " before they are made.",
            hint="Ask for --fs vfat, or take another attachment.",
        )
    if recovery.window > 1 and checked.rules(EndpointFault):
        raise UserError(
            "A window above 1 and endpoint faults do not go together: what stands behind an induced"
            " error is in the controller already, and runs."
        )
    sizes = {None: BYTES_EACH, Controller.OHCI: OHCI_BYTES_EACH}
    usual = sizes.get(controller, CABLE_BYTES_EACH)
    options = RunOptions(
        checked,
        text,
        names,
        kernel,
        recovery,
        driver=carrier,
        client=Client(one_of("client", client, Client)),
        bytes_each=bytes_each or usual,
        attachment=plugged,
        workloads=kinds,
        lun_mib=lun_mib,
    )
    check_lun(options)
    if bytes_each is not None:
        check_room(-(-bytes_each // MIB), len(names), kinds)
    check_faults(options)
    return options


def list_workloads() -> str:
    """Return the table of workloads for people."""
    return described()


def _listed(what: str, wish: str) -> tuple[str, ...]:
    """Return the names of a list that is separated by commas.

    Raises:
        UserError: One is there twice.
    """
    names = tuple(name.strip() for name in wish.split(","))
    if len(set(names)) < len(names):
        raise UserError(f"The list of {what} '{wish}' names one twice.")
    return names
