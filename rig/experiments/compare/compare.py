"""``rig compare``: the same plan, carried by one driver after another, again and again.

Each repetition is a whole run (`rig.experiments.run`): a file system is made on a new medium,
written while transfers fail, checked, read back, and every view of it judged.  The machines stay
up, for all that is compared at one attachment; what is left of a run has a directory of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count, groupby
from pathlib import Path

import msgspec

from rig.experiments.compare.fitting import statuses
from rig.experiments.compare.joining import NAME
from rig.experiments.compare.report import Report, Row, Subject
from rig.experiments.compare.wishes import Wishes
from rig.experiments.run.run import Story
from rig.lab.attachment import ATTACHMENTS
from rig.lab.basis import Basis, basis
from rig.lab.lab import Lab
from rig.lab.netem import set_delay
from rig.lab.paths import PathName
from rig.lab.strategy import LabState
from rig.progress import Progress, Silent
from rig.report.record import leave
from rig.report.rundir import RunDirectory
from rig.report.verdict import Outcome, Verdict

MEMORY_MIB = 512


class Labs:
    """The machines of one attachment, for as long as they are fit; a context.

    Args:
        image: What they boot.
        chosen: ``kvm`` or ``tcg``.
        directory: Gets ``lab-1`` and so on.
        attachment: What the gadget is plugged into.
        delay_ms: Of the link between them.
    """

    def __init__(
        self, image: Basis, chosen: str, directory: Path, *, attachment: str, delay_ms: int
    ) -> None:
        self._image = image
        self._accelerator = chosen
        self._directory = directory
        self._attachment = ATTACHMENTS[attachment]
        self._delay_ms = delay_ms
        self._numbers = count(1)
        self._open = ExitStack()
        self._lab: Lab | None = None

    def __enter__(self) -> Labs:
        """Begin; the first is opened when it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._open.close()

    def fit(self) -> Lab:
        """Return booted machines: those of the last time, or others if these were lost.

        Raises:
            MachineError: They do not boot.
        """
        if self._lab is None or not _is_fit(self._lab):
            self._open.close()
            lab = Lab.open(
                self._image,
                self._directory / f"lab-{next(self._numbers)}",
                accelerator=self._accelerator,
                memory_mib=MEMORY_MIB,
                attachment=self._attachment,
            )
            self._lab = self._open.enter_context(lab)
            self._lab.transition(LabState.BOOTED)
            set_delay(self._lab, self._delay_ms)
        return self._lab


def _is_fit(lab: Lab) -> bool:
    lost = any(machine.health.lost for machine in lab.strategy.machines.values())
    return lab.state is LabState.BOOTED and not lost


class Comparison:
    """Compares in labs of its own.

    Args:
        wishes: What to compare.
        image: What the machines boot.
        chosen: ``kvm`` or ``tcg``.
        directory: Gets a directory for each attachment.
        progress: Is told of each repetition.
    """

    def __init__(
        self, wishes: Wishes, image: Basis, chosen: str, directory: Path, progress: Progress
    ) -> None:
        self._wishes = wishes
        self._image = image
        self._accelerator = chosen
        self._directory = directory
        self._progress = progress

    def rows(self) -> Iterator[Row]:
        """Compare; yield each row when all its repetitions are done.

        Raises:
            MachineError: Machines did not boot.
        """
        for attachment, subjects in groupby(self._wishes.subjects, lambda one: one.attachment):
            at = self._directory / attachment
            labs = Labs(
                self._image,
                self._accelerator,
                at,
                attachment=attachment,
                delay_ms=self._wishes.delay_ms,
            )
            with labs:
                for subject in subjects:
                    made = statuses(self._wishes.fitted(subject))
                    yield Row.of(subject, made, list(self._repeat(subject, labs, at)))

    def _repeat(self, subject: Subject, labs: Labs, at: Path) -> Iterator[Verdict]:
        plan_file = at / "plan.toml"
        at.mkdir(parents=True, exist_ok=True)
        options = self._wishes.options(subject, plan_file)
        for number in range(1, self._wishes.repetitions + 1):
            what = f"{subject.attachment}, {subject.name}: {number} of {self._wishes.repetitions}"
            with self._progress.step(what):
                path = at / subject.slug / f"{number:02}"
                directory = RunDirectory.create(self._wishes.plan.name, path)
                story = Story(options, directory, Silent())
                verdict = story.tell(self._image, self._accelerator, labs.fit())
            self._progress.note(f"{what}: {one_line(verdict)}")
            yield verdict


def one_line(verdict: Verdict) -> str:
    """Return what one repetition came to."""
    row = Row.of(Subject("", PathName.DIRECT), (), [verdict])
    why = f": {verdict.reasons[0]}" if verdict.verdict is Outcome.INFRASTRUCTURE else ""
    return f"{verdict.verdict}, {row.wrong_blocks} blocks arrived at wrong LBAs{why}"


def run(
    wishes: Wishes,
    command: str,
    directory: Path,
    progress: Progress,
    tell: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Build what is missing, compare, and leave ``compare.json``, which grows by each row.

    Args:
        wishes: What to compare.
        command: That asked for it, for the report.
        directory: Gets the report, and a run directory for each repetition.
        progress: Is told of the steps.
        tell: Is told of the report whenever it has grown by a row.

    Raises:
        MachineError: The image could not be built, or machines did not boot.
    """
    image, chosen = basis(wishes.kernel, progress)
    report = Report(
        command=command,
        date=datetime.now(UTC).date().isoformat(),
        plan=wishes.plan.name,
        client=wishes.client.value,
        file_systems=tuple(wishes.file_systems.split(",")),
        delay_ms=wishes.delay_ms,
        kernel=image.kernel_version,
        accelerator=chosen,
        repetitions=wishes.repetitions,
        without=wishes.without,
    )
    for row in Comparison(wishes, image, chosen, directory, progress).rows():
        report = msgspec.structs.replace(report, rows=(*report.rows, row))
        leave(report, directory / NAME)
        tell(report)
    return report
