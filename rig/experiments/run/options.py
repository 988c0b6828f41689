"""What to run: a user's wishes, checked before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from rig.cable.controllers import Controller
from rig.errors import UserError
from rig.experiments.run.client import Client
from rig.experiments.run.plugging import check_driver, plug
from rig.experiments.run.room import check_room, most_mib
from rig.faults.load import read_plan_text
from rig.faults.phases import PHASES
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan
from rig.faults.rules.base import check_disk
from rig.faults.rules.device import DeviceFault
from rig.faults.rules.endpoint import EndpointFault
from rig.faults.rules.link import LinkFault
from rig.faults.rules.machine import MachineFault, MachineKind, MachineRole
from rig.guest_images.spec import kernel_package
from rig.integrity.filemap import FileMap
from rig.integrity.filesystems import MIB, RAW, file_system
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.table import LIST, USUAL, Kind, described, workload
from rig.lab.attachment import DUMMY, Attachment
from rig.lab.environment import Link
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.splitdriver.policy import ACA_STATUSES, DEFAULT_ACA_STATUS, Policy

__all__ = [
    "LIST",
    "LUN_SLACK_BYTES",
    "Recovery",
    "RunOptions",
    "check_machine",
    "check_recovery",
    "check_wishes",
    "list_workloads",
]

LUN_SLACK_BYTES = 4 * MIB
USUAL_KIND = workload(USUAL)

BYTES_EACH = 16 * MIB
CABLE_BYTES_EACH = 4 * MIB
OHCI_BYTES_EACH = MIB // 4
"""Stamped data on each file system: what takes seconds over dummy_hcd takes minutes over the cable,
and hours where it sends single packets."""
OHCI_FILE_SYSTEMS = ("vfat",)
"""Those that can be made there in minutes."""
GONE_FOR_GOOD = frozenset({MachineKind.KILL, MachineKind.POWER_CYCLE, MachineKind.REBOOT})
"""What the machine with the workload does not survive as it must."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the split driver does behind an error.

    Attributes:
        policy: The policy, of both ends.
        aca_status: What policy `aca` fails URBs with.
        window: URBs of a bulk endpoint that the controller has at a time; policy `hold` alone.
    """

    policy: Policy = Policy.HOLD
    aca_status: str = DEFAULT_ACA_STATUS
    window: int = 1

    def __str__(self) -> str:
        """As a verdict names it."""
        match self.policy:
            case Policy.ACA:
                return f"{self.policy} ({self.aca_status})"
            case Policy.HOLD if self.window > 1:
                return f"{self.policy} (window {self.window})"
        return str(self.policy)

    def front_words(self) -> tuple[str, ...]:
        """Options of ``rig front``."""
        return ("--policy", self.policy)

    def back_words(self) -> tuple[str, ...]:
        """Options of ``rig back``."""
        return (
            *self.front_words(),
            *(("--aca-status", self.aca_status) if self.policy is Policy.ACA else ()),
            *(("--window", str(self.window)) if self.window > 1 else ()),
        )


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to run.

    Attributes:
        plan: The fault plan, checked.
        plan_text: The same as text, for the machines.
        file_systems: Names that `rig.integrity.filesystems` knows; one partition each.
        kernel: ``6.12`` or ``6.1``.
        recovery: The split driver's rules behind an error.
        driver: How the disk gets to the machine with the workload.
        client: Who uses it there.
        urbs: Whether the split driver's ends keep a log of every URB, for the monitors and for
            chains of causes; None: if the plan has faults.  With a log there is no lane.
        bytes_each: Stamped data on each file system.
        workloads: What is written there, one after the other.
        lun_mib: Size of the LUN; None: what the file systems need.
        memory_mib: Of each machine.
        attachment: What the gadget is plugged into.
        relay: Whether a relay is in the link although no rule of the plan asks for one.
        interfere: Called when all is written and before anything is read back; for tests that
            damage the medium behind the gadget's back.
    """

    plan: Plan
    plan_text: str
    file_systems: tuple[str, ...]
    kernel: str
    recovery: Recovery = Recovery()
    driver: PathName = PathName.SPLIT
    client: Client = Client.USB_STORAGE
    urbs: bool | None = None
    bytes_each: int = BYTES_EACH
    workloads: tuple[Kind, ...] = (USUAL_KIND,)
    lun_mib: int | None = None
    memory_mib: int = 512
    attachment: Attachment = DUMMY
    relay: bool = False
    interfere: Callable[[Lab, FileMap], None] | None = None

    @property
    def relayed(self) -> bool:
        """Whether a relay is in the link, for there is something to do to it."""
        return self.relay or bool(self.plan.rules(LinkFault))

    @property
    def policy_words(self) -> str:
        """The split driver's policy, as a verdict names it; empty for other drivers."""
        return str(self.recovery) if self.driver is PathName.SPLIT else ""

    @property
    def notes_urbs(self) -> bool:
        """Whether both ends keep a log of every URB."""
        wanted = bool(self.plan.faults) if self.urbs is None else self.urbs
        return self.driver is PathName.SPLIT and wanted

    @property
    def taps_usbmon(self) -> bool:
        """Whether usbmon's log stands for those of a split driver that is not ours.

        Only if it is asked for: what it takes of the machine's time would be felt in comparisons.
        """
        return self.driver is not PathName.SPLIT and self.urbs is True

    @property
    def link_words(self) -> str:
        """What joins the two ends, as a verdict names it; empty if nothing does."""
        if self.driver is PathName.DIRECT:
            return ""
        return f"{Link.TCP} through a relay" if self.relayed else str(Link.TCP)

    @property
    def gadget_words(self) -> tuple[str, ...]:
        """Options of ``rig gadget``: who plays the disk, and what it is plugged into."""
        # The kernel's own disk, unless a fault needs one that knows its commands.
        of_commands = any(rule.of_commands for rule in self.plan.rules(DeviceFault))
        function = ("--function", "bot-storage") if of_commands else ()
        return (*function, *self.attachment.gadget_words())

    @property
    def partition_bytes(self) -> int:
        """The smallest size of each partition."""
        if self.lun_mib is not None:
            share = (self.lun_mib * MIB - LUN_SLACK_BYTES) // len(self.file_systems)
            return share // MIB * MIB
        # The first workload's data twice, as its blocks may be given new places, and what else.
        return (1 + len(self.workloads)) * self.bytes_each + 32 * MIB

    @property
    def lun_bytes(self) -> int:
        """The LUN holds every partition, and each holds the data twice and its own blocks."""
        if self.lun_mib is not None:
            return self.lun_mib * MIB
        sizes = (
            max(file_system(name).smallest_bytes, self.partition_bytes)
            for name in self.file_systems
        )
        return sum(sizes) + LUN_SLACK_BYTES

    @property
    def promised_sectors(self) -> dict[str, int]:
        """Stamped sectors that each file system must show in the end."""
        return {
            name: sum(
                kind.sizes(self.bytes_each, raw=name == RAW.name)["bytes_total"]
                for kind in self.workloads
            )
            // SECTOR_BYTES
            for name in self.file_systems
        }


def one_of(what: str, wish: str, known: Iterable[str]) -> str:
    """Return the wish if it is known.

    Raises:
        UserError: It is not; ``what`` says what it would be.
    """
    names = [str(name) for name in known]
    if wish not in names:
        raise UserError(f"There is no {what} '{wish}'.", hint=f"Known are: {', '.join(names)}.")
    return wish


def check_recovery(
    policy: str = Policy.HOLD, aca_status: str | None = None, window: int = 1
) -> Recovery:
    """Return the rules behind an error.

    Args:
        policy: ``hold``, ``aca`` or ``naive``.
        aca_status: Of policy `aca`; None for the usual.
        window: Of policy `hold`.

    Raises:
        UserError: One is not known, or they contradict each other.
    """
    chosen = Policy(one_of("policy", policy, Policy))
    if aca_status is not None and chosen is not Policy.ACA:
        raise UserError(f"Policy {chosen} fails nothing that has not failed: it has no ACA status.")
    if window != 1 and chosen is not Policy.HOLD:
        raise UserError(f"A window is for policy hold, not for {chosen}.")
    status = one_of("ACA status", aca_status or DEFAULT_ACA_STATUS, ACA_STATUSES)
    return Recovery(chosen, status, window)


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
    _check_workloads(names, kinds)
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
    recovery = recovery or Recovery()
    check_driver(checked, carrier)
    _check_machines(checked, plugged)
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
    _check_lun(options)
    if bytes_each is not None:
        check_room(-(-bytes_each // MIB), len(names), kinds)
    _check_faults(options)
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


def _check_workloads(file_systems: tuple[str, ...], kinds: tuple[Kind, ...]) -> None:
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


def _check_lun(options: RunOptions) -> None:
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


def _check_faults(options: RunOptions) -> None:
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


def _check_machines(plan: Plan, attachment: Attachment) -> None:
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
