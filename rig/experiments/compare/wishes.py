"""What a user of ``rig compare`` can wish, checked before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.errors import UserError
from rig.experiments.compare.fitting import fit
from rig.experiments.compare.report import Subject
from rig.experiments.run.client import Client
from rig.experiments.run.options import RunOptions, check_recovery, check_wishes, one_of
from rig.experiments.run.plugging import check_driver
from rig.faults.load import load_plan
from rig.faults.plan import Plan
from rig.faults.writer import text_of
from rig.guest_images.spec import kernel_package
from rig.integrity.filesystems import MIB
from rig.lab.attachment import ATTACHMENTS
from rig.lab.paths import PathName
from rig.splitdriver.policy import Policy

MOST_DELAY_MS = 1000
"""Each way.  A link that is slower seems dead to its heartbeat before anything is compared."""

BYTES_EACH = MIB
"""Stamped data on each file system: the same again for every repetition of every row."""

DRIVERS = (*Policy, PathName.USBIP, PathName.DIRECT)
"""Who can carry the disk: the split driver by its policy, or another."""
ATTACHED = ("dummy", "xhci", "ehci")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to compare.

    Attributes:
        plan: As the user gave it.
        subjects: Who carries the disk, in the order of the table.
        without: Subjects that have no place where the plan's faults can be made, and why.
        file_systems: Names, separated by commas.
        client: Who uses the disk.
        delay_ms: Of the link between the machines, each way.
        repetitions: Of each subject.
        kernel: ``6.12`` or ``6.1``.
    """

    plan: Plan
    subjects: tuple[Subject, ...]
    without: dict[str, str]
    file_systems: str
    client: Client
    delay_ms: int
    repetitions: int
    kernel: str

    def fitted(self, subject: Subject) -> Plan:
        """Return the plan as it is for a subject."""
        return fit(self.plan, ATTACHMENTS[subject.attachment], subject.driver)

    def options(self, subject: Subject, plan_file: Path) -> RunOptions:
        """Return what one repetition is.

        Args:
            subject: Who carries the disk.
            plan_file: Gets the fitted plan.

        Raises:
            UserError: It cannot be run so.
        """
        plan_file.write_text(text_of(self.fitted(subject)), encoding="utf-8")
        return check_wishes(
            str(plan_file),
            self.file_systems,
            self.kernel,
            None,
            check_recovery(subject.policy) if subject.policy else None,
            driver=subject.driver,
            client=self.client,
            attachment=subject.attachment,
            bytes_each=BYTES_EACH,
        )


def read_wishes(
    *,
    plan: str,
    attachments: Sequence[str] = ATTACHED,
    drivers: Sequence[str] = tuple(map(str, DRIVERS)),
    file_systems: str = "vfat",
    client: str = Client.DEEP_QUEUE,
    delay_ms: int = 5,
    repetitions: int = 10,
    kernel: str = "6.12",
) -> Wishes:
    """Return the wishes; the arguments are those of `Wishes`, repeated ones count once.

    Raises:
        UserError: They cannot be fulfilled.
    """
    kernel_package(kernel)
    if not 0 <= delay_ms <= MOST_DELAY_MS:
        raise UserError(f"A delay must be from 0 to {MOST_DELAY_MS} ms.")
    loaded = load_plan(plan)
    at = dict.fromkeys(one_of("attachment", name, ATTACHMENTS) for name in attachments)
    by = [one_of("driver", driver, DRIVERS) for driver in dict.fromkeys(drivers)]
    subjects, without = [], {}
    for subject in (_subject(name, driver) for name in at for driver in by):
        try:
            plan_there = fit(loaded, ATTACHMENTS[subject.attachment], subject.driver)
            check_driver(plan_there, subject.driver)
            subjects.append(subject)
        except UserError as error:
            without[f"{subject.attachment}: {subject.name}"] = error.message
    if not subjects:
        raise UserError(next(iter(without.values())), hint="Give more --driver or --attachment.")
    return Wishes(
        loaded,
        tuple(subjects),
        without,
        file_systems,
        Client(one_of("client", client, Client)),
        delay_ms,
        repetitions,
        kernel,
    )


def _subject(attachment: str, driver: str) -> Subject:
    if driver in list(Policy):
        return Subject(attachment, PathName.SPLIT, driver)
    return Subject(attachment, PathName(driver))
