"""What to run: a user's wishes, checked before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rig.errors import UserError
from rig.faults.load import read_plan_text
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan
from rig.guest_images.spec import kernel_package
from rig.integrity.filemap import FileMap
from rig.integrity.filesystems import MIB, file_system
from rig.lab.lab import Lab

LUN_SLACK_BYTES = 4 * MIB


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to run.

    Attributes:
        plan: The fault plan, checked.
        plan_text: The same as text, for the machines.
        file_systems: Names that `rig.integrity.filesystems` knows; one partition each.
        kernel: ``6.12`` or ``6.1``.
        bytes_each: Stamped data on each file system.
        memory_mib: Of each machine.
        interfere: Called when all is written and before anything is read back; for tests that
            damage the medium behind the gadget's back.
    """

    plan: Plan
    plan_text: str
    file_systems: tuple[str, ...]
    kernel: str
    bytes_each: int = 16 * MIB
    memory_mib: int = 512
    interfere: Callable[[Lab, FileMap], None] | None = None

    @property
    def lun_bytes(self) -> int:
        """The LUN holds every partition, and each holds the data twice and its own blocks."""
        sizes = (
            max(file_system(name).smallest_bytes, 2 * self.bytes_each + 32 * MIB)
            for name in self.file_systems
        )
        return sum(sizes) + LUN_SLACK_BYTES


def check_wishes(plan: str, file_systems: str, kernel: str, seed: int | None) -> RunOptions:
    """Return what to run.

    Args:
        plan: A file, or the name of a shipped plan.
        file_systems: Names separated by commas.
        kernel: ``6.12`` or ``6.1``.
        seed: Overrides the plan's own.

    Raises:
        UserError: Any of them is not known, not there, or bad.
    """
    names = tuple(name.strip() for name in file_systems.split(","))
    for name in names:
        file_system(name)
    if len(set(names)) < len(names):
        raise UserError(f"The list of file systems '{file_systems}' names one twice.")
    kernel_package(kernel)
    # Read once: the file may be a pipe, and the machines must get what was checked.
    text = read_plan_text(plan)
    return RunOptions(parse_plan(text, Path(plan).name).with_seed(seed), text, names, kernel)
