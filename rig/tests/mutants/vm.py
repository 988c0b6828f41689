"""Mutants on real kernels, and correct runs there: what each is, and how it fared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from rig.experiments.run.options import RunOptions, check_wishes
from rig.integrity.filesystems import MIB
from rig.integrity.judgement import SectorClass
from rig.integrity.monitors.breach import Rule
from rig.report.verdict import Outcome
from rig.tests.mutants import drivers
from rig.tests.mutants.kit import Kind, Score, arrival, host, medium, monitor
from rig.tests.mutants.patch import Patch
from rig.tests.mutants.vm_bench import SOUND, Bench, Broken
from rig.tests.mutants.vm_correct import KERNEL, CorrectRun, correct_run

QUIET = 'name = "quiet"\nseed = 7\n'
ENDPOINT_ERRORS = """
name = "errors-of-transfers"
seed = 1
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
        broken: The end that is.
        plan: What else befalls the run.
    """

    name: str
    kind: Kind
    seen_by: tuple[str, ...]
    broken: Broken = SOUND
    plan: str = QUIET

    def options(self, directory: Path) -> RunOptions:
        """What is run.

        Args:
            directory: Gets the plan.
        """
        file = directory / "wanted.toml"
        file.write_text(self.plan)
        options = check_wishes(str(file), "ext4", KERNEL, None, bytes_each=MIB)
        return dataclasses.replace(options, urbs=True)


_C = SectorClass
_GONE = (_C.LOST, _C.STALE, _C.ZEROED)


def _driver(
    end: str, breaks: Callable[[Patch], None], seen_by: tuple[str, ...], plan: str = QUIET
) -> VmMutant:
    name = f"vm/driver/{breaks.__name__.replace('_', '-')}"
    return VmMutant(name, Kind.DRIVER, seen_by, Broken(end, breaks.__name__), plan)


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
        ENDPOINT_ERRORS,
    ),
    _medium("loses-writes", "write", "lost", OF_DATA, medium(*_GONE)),
    _medium("misdirects", "write", "misdirected", OF_DATA, medium(_C.MISDIRECTED, *_GONE)),
    _medium("flips-bits", "write", "flip", OF_DATA, medium(_C.CORRUPT)),
    _medium("tears", "write", "torn", OF_DATA, medium(_C.TORN, *_GONE)),
    _medium("flips-bits-on-reading", "read", "flip", OF_READS, host(_C.CORRUPT, _C.UNREADABLE)),
)


def score_vm(bench: Bench, mutant: VmMutant) -> Score:
    """Run a mutant once."""
    alarms = bench.run(mutant.name, mutant.options, mutant.broken).alarms
    killed = bool(alarms.keys() & set(mutant.seen_by))
    return Score(mutant.name, mutant.kind, mutant.seen_by, killed, 1, alarms)


class CorrectScore(msgspec.Struct, frozen=True):
    """How one correct run ended.

    Attributes:
        run: What it did.
        alarms: All of them false; each, and its first sentence.
        fired: So many faults befell it.
        urbs: So many URBs were watched.
        sectors: So many sectors were right, in all views together.
        total_s: So long it took.
    """

    run: CorrectRun
    alarms: dict[str, str]
    fired: int = 0
    urbs: int = 0
    sectors: int = 0
    total_s: float = 0.0


def score_correct(bench: Bench, number: int) -> CorrectScore:
    """Run what is not broken.

    Nothing but a pass is right: what befalls it is survived, and can be proved to be.

    Args:
        bench: Where.
        number: Of the run.
    """
    correct = correct_run(number)
    ran = bench.run(correct.name, correct.options)
    verdict = ran.verdict
    if verdict is None:
        return CorrectScore(correct, ran.alarms)
    alarms = dict(ran.alarms)
    if verdict.verdict is not Outcome.PASS:
        alarms.setdefault(f"run/{verdict.verdict}", " ".join(verdict.reasons))
    return CorrectScore(
        correct,
        alarms,
        verdict.faults.fired,
        verdict.watched.urbs if verdict.watched else 0,
        verdict.sectors.get(SectorClass.OK, 0),
        verdict.durations_s.get("total", 0.0),
    )


class CorrectScores(msgspec.Struct, frozen=True):
    """How correct runs went.

    Attributes:
        runs: How many.
        alarms: Number of the run and alarm, with its first sentence, of each that was false.
        fired: Faults that befell them.
        urbs: URBs that were watched.
        sectors: Sectors that were right, in all views together.
        total_s: Time that all took.
    """

    runs: int
    alarms: list[tuple[int, str, str]]
    fired: int
    urbs: int
    sectors: int
    total_s: float

    @property
    def words(self) -> str:
        """What happened in them."""
        return (
            f", in which {self.fired} faults fired, {self.urbs} URBs were watched and"
            f" {self.sectors} sectors were right, {self.total_s / max(1, self.runs):.0f} s each"
        )


def added_up(scores: Iterable[CorrectScore]) -> CorrectScores:
    """Return all scores as one."""
    all_of_them = list(scores)
    return CorrectScores(
        len(all_of_them),
        [(s.run.number, alarm, text) for s in all_of_them for alarm, text in s.alarms.items()],
        sum(s.fired for s in all_of_them),
        sum(s.urbs for s in all_of_them),
        sum(s.sectors for s in all_of_them),
        round(sum(s.total_s for s in all_of_them), 2),
    )
