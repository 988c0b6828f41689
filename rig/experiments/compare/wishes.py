"""What a user of ``rig compare`` can wish, checked before anything is started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rig.errors import UserError
from rig.experiments.compare.fitting import fit
from rig.experiments.compare.report import Subject
from rig.experiments.run.client import Client
from rig.experiments.run.options import RunOptions, check_recovery, check_wishes, one_of
from rig.faults.load import load_plan
from rig.faults.phases import PHASES
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
        options = self.checked(subject)
        plan_file.write_text(options.plan_text, encoding="utf-8")
        return options

    def checked(self, subject: Subject) -> RunOptions:
        """Return the same, and touch nothing.

        Raises:
            UserError: It cannot be run so.
        """
        return check_wishes(
            self.plan.name,
            self.file_systems,
            self.kernel,
            None,
            check_recovery(subject.policy) if subject.policy else None,
            driver=subject.driver,
            client=self.client,
            attachment=subject.attachment,
            bytes_each=BYTES_EACH,
            text=text_of(self.fitted(subject)),
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
    """Return the wishes; the arguments are those of `Wishes`.

    Raises:
        UserError: They cannot be fulfilled, or a list names one twice.
    """
    kernel_package(kernel)
    if not 0 <= delay_ms <= MOST_DELAY_MS:
        raise UserError(f"A delay must be from 0 to {MOST_DELAY_MS} ms.")
    wishes = Wishes(
        load_plan(plan, phases=PHASES),
        (),
        {},
        file_systems,
        Client(one_of("client", client, Client)),
        delay_ms,
        repetitions,
        kernel,
    )
    at = _each_once("attachment", attachments, ATTACHMENTS)
    by = _each_once("driver", drivers, DRIVERS)
    return _with_subjects(wishes, [_subject(name, driver) for name in at for driver in by])


def _each_once(option: str, wished: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return the names if all are known, and none is there twice.

    Raises:
        UserError: One is not, or is.
    """
    names = [one_of(option, name, known) for name in wished]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise UserError(
            f"--{option} {twice} is there twice.",
            hint="Name each once; --repetitions says how often each is run.",
        )
    return names


def _with_subjects(wishes: Wishes, wished: Iterable[Subject]) -> Wishes:
    """Return the wishes with those subjects that can be run.

    Raises:
        UserError: There is none.
    """
    subjects: list[Subject] = []
    refused: dict[str, UserError] = {}
    for subject in wished:
        try:
            wishes.checked(subject)
            subjects.append(subject)
        except UserError as error:
            refused[f"{subject.attachment}: {subject.name}"] = error
    if not subjects:
        raise next(iter(refused.values()))
    without = {name: error.message for name, error in refused.items()}
    return replace(wishes, subjects=tuple(subjects), without=without)


def _subject(attachment: str, driver: str) -> Subject:
    if driver in list(Policy):
        return Subject(attachment, PathName.SPLIT, driver)
    return Subject(attachment, PathName(driver))
