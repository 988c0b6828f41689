"""What a run is: a user's wishes once they are checked (`rig.experiments.run.options`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rig.experiments.run.client import Client
from rig.experiments.run.recovery import USUAL_RECOVERY, Recovery
from rig.faults.plan import Plan
from rig.faults.rules.device import DeviceFault
from rig.faults.rules.link import LinkFault
from rig.integrity.filemap import FileMap
from rig.integrity.filesystems import MIB, RAW, file_system
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.table import USUAL, Kind, workload
from rig.lab.attachment import DUMMY, Attachment
from rig.lab.environment import Link
from rig.lab.lab import Lab
from rig.lab.paths import PathName

LUN_SLACK_BYTES = 4 * MIB
"""Of a LUN, for the tables of its partitions."""
USUAL_KIND = workload(USUAL)
BYTES_EACH = 16 * MIB
"""Stamped data on each file system, where that takes seconds."""


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
    recovery: Recovery = USUAL_RECOVERY
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
