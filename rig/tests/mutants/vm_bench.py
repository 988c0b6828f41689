"""One pair of machines on which whole runs follow each other, with an end broken or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from rig.errors import MachineError
from rig.experiments.run import run as run_module
from rig.experiments.run.options import RunOptions
from rig.experiments.run.places import setup_of
from rig.experiments.run.run import Story
from rig.guest_images.image import GuestImage, ensure
from rig.integrity.judgement import View
from rig.lab.accelerator import accelerator
from rig.lab.lab import Lab
from rig.lab.strategy import Setup
from rig.progress import Progress, Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import Outcome, Verdict
from rig.tests.conftest import LabKeeper
from rig.tests.mutants import daemon
from rig.tests.mutants.patch import Patch
from rig.tests.mutants.vm_correct import KERNEL
from rig.tests.plans import unused

PACKAGE = Path(__file__).parent
COPIED = frozenset({"__init__.py", "daemon.py", "drivers.py", "patch.py"})
PATIENCE_S = 240.0
"""For daemons to be ready: a mutant is to be judged on a busy station, too."""
NOTHING_SAID = "run/infrastructure"


class Broken(NamedTuple):
    """An end whose daemon is broken.

    Attributes:
        end: ``back`` or ``front``; empty for none.
        breaks: In `rig.tests.mutants.drivers`; how.
    """

    end: str = ""
    breaks: str = ""


SOUND = Broken()


class Ran(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        alarms: Each alarm, and its first sentence; a run that says nothing, for a machine did not
            do its part, is an alarm of no rule.
        verdict: Of the run; None if there is none.
    """

    alarms: dict[str, str]
    verdict: Verdict | None = None


class Bench:
    """One pair of machines, on which runs follow each other.

    Args:
        keeper: Has the pair, and another one if a run has broken it.
        image: What it boots.
        directory: Gets a run directory for each run.
    """

    def __init__(self, keeper: LabKeeper, image: GuestImage, directory: Path) -> None:
        self._keeper = keeper
        self._image = image
        self._directory = directory
        self._equipped: Lab | None = None

    def run(self, name: str, options: Callable[[Path], RunOptions], broken: Broken = SOUND) -> Ran:
        """Run once.

        Args:
            name: Of the run directory.
            options: Makes what is run; is given the directory.
            broken: Whose end is broken, and how.
        """
        try:
            directory = RunDirectory.create(name, unused(self._directory / name.replace("/", "-")))
            with Patch() as patch:
                patch.set(run_module, "setup_of", _setups(broken))
                story = Story(options(directory.path), directory, Silent())
                verdict = story.tell(self._image, accelerator(self._image), self._lab())
            return Ran(_of_verdict(verdict), verdict)
        except MachineError as error:
            return Ran({NOTHING_SAID: str(error)})

    def _lab(self) -> Lab:
        """Return the pair, with what a broken end needs."""
        lab = self._keeper.booted()
        if lab is not self._equipped:
            for machine in (lab.back, lab.front):
                machine.check(f"mkdir -p {daemon.DIRECTORY}/rig/tests/mutants")
                machine.check(f"touch {daemon.DIRECTORY}/rig/tests/__init__.py")
                for name in COPIED:
                    machine.put(PACKAGE / name, f"{daemon.DIRECTORY}/rig/tests/mutants/{name}")
            self._equipped = lab
        return lab


def _setups(broken: Broken) -> Callable[[RunOptions, Path], Setup]:
    """Return what makes a run's setup: one end may be broken."""

    def make(options: RunOptions, plan: Path) -> Setup:
        setup = setup_of(options, plan)
        ends = {"back": setup.back, "front": setup.front}
        if broken.end:
            words = ends[broken.end][1:]  # without ``rig``
            ends[broken.end] = ("python3", "-c", daemon.START, broken.breaks, *words)
        return dataclasses.replace(
            setup,
            back=ends["back"],
            front=ends["front"],
            ready_deadline_s=PATIENCE_S,
            client_deadline_s=PATIENCE_S,
        )

    return make


def _of_verdict(verdict: Verdict) -> dict[str, str]:
    alarms: dict[str, str] = {}
    if verdict.verdict is Outcome.INFRASTRUCTURE:
        raise MachineError(f"The run says nothing: {' '.join(verdict.reasons)}")
    if verdict.watched is None or not verdict.watched.urbs:
        raise MachineError("The run's logs of URBs are empty.")
    for breach in verdict.watched.breaches:
        alarms.setdefault(f"monitor/{breach.rule}", breach.text)
    for finding in verdict.findings:
        alarms.setdefault(f"{View(finding.view)}/{finding.sector_class}", finding.sentence)
    for check in verdict.checks:
        if not check.clean:
            alarms.setdefault(f"check/{check.fs}", check.output)
    return alarms


@contextmanager
def opened(directory: Path, progress: Progress) -> Iterator[Bench]:
    """Have a pair ready.

    Args:
        directory: Gets the run directories.
        progress: Of building the image.

    Raises:
        MachineError: The machines' image could not be built.
    """
    image = ensure(KERNEL, progress)
    keeper = LabKeeper(image, directory / "labs")
    try:
        yield Bench(keeper, image, directory)
    finally:
        keeper.close()
