"""``rig fidelity``: each endpoint error, and what the client's driver was told of it.

The client is the kernel's usb-storage.  For each cell of the table it carries one READ or WRITE of
a page, past all caches; the data of that command meet one error.  usbmon on both machines says what
the driver of the back machine's controller told of the URB, and what usb-storage was told; usbmon
and the kernel's log say what usb-storage then did, and the disk whether the data are right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from rig.errors import MachineError
from rig.experiments.conformance.report import crash_words
from rig.experiments.fidelity.cells import Injection, plan
from rig.experiments.fidelity.plugged import PATIENCE_S, Plugged
from rig.experiments.fidelity.report import (
    Observation,
    Report,
)
from rig.experiments.fidelity.wishes import PLAN_ON_MACHINE, Wishes
from rig.lab.attachment import parse_attachment
from rig.lab.basis import basis
from rig.lab.cable import NAME as CABLE
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.lab.strategy import LabState
from rig.progress import Progress
from rig.report.record import leave

AFTERMATH_S = 4.0
"""So long a kernel may take to say that it is dying."""


class Trials:
    """One attachment after the other, on machines that may not outlive an error.

    Args:
        wishes: What to try.
        open_lab: Opens a lab for an attachment; its second argument counts the labs.
        plug: Attaches the disk in a lab for an attachment and a path; its last argument counts.
        progress: Is told of the errors.
    """

    def __init__(
        self,
        wishes: Wishes,
        open_lab: Callable[[str, int], AbstractContextManager[Lab]],
        plug: Callable[[Lab, str, PathName, int], Plugged],
        progress: Progress,
    ) -> None:
        self._wishes = wishes
        self._open_lab = open_lab
        self._plug = plug
        self._progress = progress
        self._plugs = itertools.count(1)
        self._labs = itertools.count(1)

    def at(self, attachment: str) -> list[Observation]:
        """Try all that is wished at an attachment.

        Raises:
            MachineError: New machines did not come up, or could not attach the disk.
        """
        waiting = [(path, one) for path, cells in self._wishes.cells(attachment) for one in cells]
        found: list[Observation] = []
        while waiting:
            with self._open_lab(attachment, next(self._labs)) as lab:
                lab.transition(LabState.BOOTED)
                self._in_lab(lab, attachment, waiting, found)
        return found

    def _in_lab(
        self,
        lab: Lab,
        attachment: str,
        waiting: list[tuple[PathName, Injection]],
        found: list[Observation],
    ) -> None:
        """Try until all is done or the machines are spoilt."""
        fresh = True
        while waiting:
            path, injection = waiting[0]
            tried = None
            try:
                plugged = self._plug(lab, attachment, path, next(self._plugs))
                fresh, tried = False, len(found)
                while waiting and waiting[0][0] is path:
                    found.append(self._observe(plugged, *waiting[0]))
                    waiting.pop(0)
                plugged.stop()
                lab.transition(LabState.BOOTED)
            except MachineError as error:
                if fresh:
                    raise
                self._progress.note(error.message)
                if tried == len(found):
                    # The disk was new: it is this error's own doing.
                    why = _loss(lab, error)
                    found.append(Observation(injection=injection, path=path, note=why))
                    waiting.pop(0)
                if lab.state is LabState.BROKEN or not self._taken_away(lab):
                    return

    def _observe(self, plugged: Plugged, path: PathName, injection: Injection) -> Observation:
        what = f"{injection.attachment} {path}: {injection.name}"
        with self._progress.step(what):
            seen = plugged.observe(injection, path)
        self._progress.note(
            f"{what}: below {seen.below}; client {seen.above}; sent {seen.sent};"
            f" {seen.errno or 'success'}, {seen.data}"
        )
        return seen

    @staticmethod
    def _taken_away(lab: Lab) -> bool:
        """Take the disk away; return whether that worked."""
        with suppress(MachineError):
            for machine in (lab.back, lab.front):
                machine.health.check()
            lab.transition(LabState.BOOTED)
            return True
        return False


def attach(wishes: Wishes, lab: Lab, attachment: str, path: PathName, number: int) -> Plugged:
    """Attach a new disk, with the plan that has all its errors.

    Raises:
        MachineError: A machine did not do its part.
    """
    plan_file = lab.directory / "plan.toml"
    plan_file.write_text(plan(wishes.injections(attachment)))
    lab.back.put(plan_file, PLAN_ON_MACHINE)
    lab.setup = wishes.setup(attachment, path, str(plan_file), number)
    lab.transition(LabState.ATTACHED)
    name = CABLE if lab.strategy.attachment.has_cable else "back"
    return Plugged(lab, lab.strategy.daemons[name])


def _loss(lab: Lab, error: MachineError) -> str:
    """Say how a machine was lost, or else what the error says."""
    for machine in (lab.back, lab.front):
        if machine.health.wait_for_loss(AFTERMATH_S / 2):
            try:
                machine.health.check()
            except MachineError as loss:
                return crash_words(loss.message, loss.hint)
    return error.message


def run(wishes: Wishes, command: str, directory: Path, progress: Progress) -> Report:
    """Build what is missing, try on machines of each attachment, and leave ``fidelity.json``.

    Args:
        wishes: What to try.
        command: That asked for it, for the report.
        directory: Gets the machines' logs and the report, which grows by each attachment.
        progress: Is told of the steps.

    Raises:
        MachineError: The image could not be built, or machines did not do their part.
    """
    image, chosen = basis(wishes.kernel, progress)

    def open_lab(attachment: str, number: int) -> AbstractContextManager[Lab]:
        return Lab.open(
            image,
            directory / f"{attachment}-{number}",
            accelerator=chosen,
            memory_mib=wishes.memory_mib,
            attachment=parse_attachment(attachment),
            progress=progress,
        )

    trials = Trials(wishes, open_lab, partial(attach, wishes), progress)
    report = Report(
        command=command,
        kernel=image.kernel_version,
        accelerator=chosen,
        date=datetime.now(UTC).date().isoformat(),
        patience_s=PATIENCE_S,
        whole=wishes.whole,
        observations=(),
    )
    for attachment in wishes.attachments:
        observations = (*report.observations, *trials.at(attachment))
        report = msgspec.structs.replace(report, observations=observations)
        leave(report, directory / "fidelity.json")
    return report
