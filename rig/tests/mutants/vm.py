"""Mutants on real kernels: whole runs with a broken end, or on a broken medium, on one pair."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rig.errors import MachineError
from rig.experiments.run import run as run_module
from rig.experiments.run.options import RunOptions, check_wishes
from rig.experiments.run.places import setup_of
from rig.experiments.run.run import Story
from rig.guest_images.image import GuestImage, ensure
from rig.integrity.judgement import SectorClass, View
from rig.integrity.monitors.breach import Rule
from rig.lab.accelerator import accelerator
from rig.lab.lab import Lab
from rig.lab.strategy import Setup
from rig.progress import Progress, Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import Outcome, Verdict
from rig.tests.mutants import daemon, drivers
from rig.tests.mutants.kit import Kind, Score, arrival, host, medium, monitor
from rig.tests.mutants.patch import Patch

KERNEL = "6.12"
BYTES_EACH = 1 << 20
PACKAGE = Path(__file__).parent
COPIED = frozenset({"__init__.py", "daemon.py", "drivers.py", "patch.py"})
PATIENCE_S = 240.0
"""For daemons to be ready: a mutant is to be judged on a busy station, too."""
NOTHING_SAID = "run/infrastructure"
QUIET = 'name = "quiet"\nseed = 7\n'
ENDPOINT_ERRORS = """
name = "errors-of-transfers"
seed = {seed}
[[fault]]
layer = "endpoint"
direction = "out"
stage = "data"
phase = "write"
every = 7
times = 4
when = "middle"
status = "EPROTO"
[[fault]]
layer = "endpoint"
direction = "in"
stage = "status"
phase = "write"
nth = 5
when = "before"
status = "EILSEQ"
"""
MEDIUM_FAULT = """
name = "broken-medium"
seed = 1
[[fault]]
layer = "medium"
op = "{op}"
effect = "{effect}"
{trigger}
"""
OF_DATA = 'phase = "write"\nmin_bytes = 16384\nnth = 6\ntimes = 12'
OF_READS = 'phase = "read"\nmin_bytes = 16384\nnth = 2\ntimes = 12'


class VmMutant(msgspec.Struct, frozen=True):
    """One broken thing that makes sense on real kernels.

    Attributes:
        name: Of it.
        kind: What is broken.
        seen_by: Alarms; the mutant is killed when one of them is raised.
        end: ``back`` or ``front``, whose daemon is broken; empty for none.
        breaks: In `rig.tests.mutants.drivers`; of that daemon.
        plan: What else befalls the run.
    """

    name: str
    kind: Kind
    seen_by: tuple[str, ...]
    end: str = ""
    breaks: str = ""
    plan: str = QUIET


_C = SectorClass
_GONE = (_C.LOST, _C.STALE, _C.ZEROED)


def _driver(
    end: str, breaks: Callable[[Patch], None], seen_by: tuple[str, ...], plan: str = QUIET
) -> VmMutant:
    name = f"vm/driver/{breaks.__name__.replace('_', '-')}"
    return VmMutant(name, Kind.DRIVER, seen_by, end, breaks.__name__, plan)


def _medium(name: str, op: str, effect: str, trigger: str, seen_by: tuple[str, ...]) -> VmMutant:
    plan = MEDIUM_FAULT.format(op=op, effect=effect, trigger=trigger)
    return VmMutant(f"vm/medium/{name}", Kind.MEDIUM, seen_by, plan=plan)


VM_MUTANTS = (
    _driver("back", drivers.swaps_sectors, arrival(_C.MISDIRECTED, _C.TORN, _C.FOREIGN)),
    _driver("back", drivers.flips_a_bit, arrival(_C.CORRUPT)),
    _driver("back", drivers.cuts_a_write_short, monitor(Rule.ENDS_AGREE)),
    _driver("back", drivers.sends_a_stale_buffer, arrival(_C.MISDIRECTED)),
    _driver("front", drivers.gives_a_stale_buffer, host(_C.MISDIRECTED)),
    _driver("front", drivers.gives_zeros, host(_C.ZEROED)),
    _driver(
        "front",
        drivers.tells_errors_as_success,
        monitor(Rule.ENDS_AGREE),
        ENDPOINT_ERRORS.format(seed=1),
    ),
    _medium("loses-writes", "write", "lost", OF_DATA, medium(*_GONE)),
    _medium("misdirects", "write", "misdirected", OF_DATA, medium(_C.MISDIRECTED, *_GONE)),
    _medium("flips-bits", "write", "flip", OF_DATA, medium(_C.CORRUPT)),
    _medium("tears", "write", "torn", OF_DATA, medium(_C.TORN, *_GONE)),
    _medium("flips-bits-on-reading", "read", "flip", OF_READS, host(_C.CORRUPT, _C.UNREADABLE)),
)


class Bench:
    """One pair of machines, on which runs follow each other.

    Args:
        lab: The pair, booted.
        image: What it has booted.
        chosen: The accelerator.
        directory: Gets a run directory for each run.
    """

    def __init__(self, lab: Lab, image: GuestImage, chosen: str, directory: Path) -> None:
        self._lab = lab
        self._image = image
        self._accelerator = chosen
        self._directory = directory
        for machine in (lab.back, lab.front):
            machine.check(f"mkdir -p {daemon.DIRECTORY}/rig/tests/mutants")
            machine.check(f"touch {daemon.DIRECTORY}/rig/tests/__init__.py")
            for name in COPIED:
                machine.put(PACKAGE / name, f"{daemon.DIRECTORY}/rig/tests/mutants/{name}")

    def run(self, name: str, plan: str, mutant: VmMutant | None = None) -> dict[str, str]:
        """Run once, with both ends' logs of URBs.

        Args:
            name: Of the run directory.
            plan: As text.
            mutant: Whose end is broken; None: neither.

        Returns:
            Each alarm, and its first sentence; a run that says nothing, for a machine did not do
            its part, is an alarm of no rule.
        """
        try:
            return self._run(name, plan, mutant)
        except MachineError as error:
            return {NOTHING_SAID: str(error)}

    def _run(self, name: str, plan: str, mutant: VmMutant | None) -> dict[str, str]:
        directory = RunDirectory.create(name, self._directory / name.replace("/", "-"))
        file = directory.write("wanted.toml", plan)
        options = dataclasses.replace(
            check_wishes(str(file), "ext4", KERNEL, None), bytes_each=BYTES_EACH, urbs=True
        )
        with Patch() as patch:
            patch.set(run_module, "setup_of", _setups(mutant))
            verdict = Story(options, directory, Silent()).tell(
                self._image, self._accelerator, self._lab
            )
        return _of_verdict(verdict)


def _setups(mutant: VmMutant | None) -> Callable[[RunOptions, Path], Setup]:
    """Return what makes a run's setup: one end may be broken."""

    def make(options: RunOptions, plan: Path) -> Setup:
        setup = setup_of(options, plan)
        ends = {"back": setup.back, "front": setup.front}
        if mutant is not None and mutant.end:
            words = ends[mutant.end][1:]  # without ``rig``
            ends[mutant.end] = ("python3", "-c", daemon.START, mutant.breaks, *words)
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
    """Boot a pair.

    Raises:
        MachineError: It did not boot.
    """
    image = ensure(KERNEL, progress)
    chosen = accelerator(image)
    with Lab.open(image, directory, accelerator=chosen, progress=progress) as lab:
        lab.transition("booted")
        yield Bench(lab, image, chosen, directory)


def score_vm(bench: Bench, mutant: VmMutant) -> Score:
    """Run a mutant once."""
    alarms = bench.run(mutant.name, mutant.plan, mutant)
    killed = bool(alarms.keys() & set(mutant.seen_by))
    return Score(mutant.name, mutant.kind, mutant.seen_by, killed, 1, alarms)


def plan_of(number: int) -> str:
    """Return what befalls a correct run: in two of three, transfers fail."""
    return QUIET if number % 3 == 0 else ENDPOINT_ERRORS.format(seed=number)


def run_correct(bench: Bench, runs: int) -> list[tuple[int, str, str]]:
    """Run what is not broken; returns the number of the run and the alarm, of each alarm."""
    found: list[tuple[int, str, str]] = []
    for number in range(runs):
        name = f"vm/correct/{number}-{time.time_ns()}"
        alarms = bench.run(name, plan_of(number))
        found += [(number, alarm, text) for alarm, text in alarms.items()]
    return found
