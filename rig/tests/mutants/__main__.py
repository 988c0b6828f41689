"""``python -m rig.tests.mutants``: the scores of the mutant kit."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from rig.cli.main import end_with
from rig.errors import UserError
from rig.progress import Silent
from rig.tests.mutants.correct import Calm, play_correct
from rig.tests.mutants.kit import MUTANTS, TRIALS, Score, score

if TYPE_CHECKING:
    from rig.tests.mutants.vm import CorrectScore, CorrectScores

CORRECT_RUNS = 1000
NONE = "none"
VM_CORRECT_RUNS = 50


def main(argv: list[str]) -> int:
    """Print the scores.

    Returns:
        0 if every mutant was killed by whom it had to be, and nothing correct raised an alarm.
    """
    arguments = argparse.ArgumentParser(prog="python -m rig.tests.mutants", description=__doc__)
    arguments.add_argument(
        "name", nargs="*", help=f"of the mutants whose names hold one of these; {NONE}: of none"
    )
    arguments.add_argument("--vm", action="store_true", help="those on real kernels, in guests")
    arguments.add_argument("--correct", type=int, help="correct runs (1000; in guests 50)")
    arguments.add_argument("--first", type=int, default=0, help="number of the first of them")
    arguments.add_argument("--trials", type=int, default=TRIALS, help="of each mutant, at most")
    arguments.add_argument("--out", type=Path, help="of guests' run directories")
    arguments.add_argument("--json", action="store_true", help="for programs")
    options = arguments.parse_args(argv)
    if options.trials < 1:
        arguments.error("--trials must be 1 or more: nothing tried proves nothing.")
    if min(options.first, options.correct or 0) < 0:
        arguments.error("--first and --correct must be 0 or more.")

    def tell(line: str) -> None:
        if not options.json:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    scores, calm = _in_guests(options, tell) if options.vm else _simulated(options, tell)
    if options.json:
        sys.stdout.write(msgspec.json.encode({"mutants": scores, "correct": calm}).decode() + "\n")
    else:
        sys.stdout.write(summary(scores, calm))
    return 0 if all(each.killed for each in scores) and not calm.alarms else 1


class Tell(Protocol):
    """Shows a line."""

    def __call__(self, line: str) -> None:
        """Do it."""


def _chosen(names: Iterable[str], wanted: list[str]) -> set[str]:
    """Return the names that are meant.

    Raises:
        UserError: One of those wanted is in no name.
    """
    known = set(names)
    if wanted == [NONE]:
        return set()
    for each in wanted:
        if not any(each in name for name in known):
            raise UserError(
                f"No mutant's name holds '{each}'.",
                hint=f"'{NONE}' alone stands for no mutant; there are: {', '.join(sorted(known))}.",
            )
    return {name for name in known if not wanted or any(each in name for each in wanted)}


def _simulated(options: argparse.Namespace, tell: Tell) -> tuple[list[Score], Calm]:
    names = _chosen((mutant.name for mutant in MUTANTS), options.name)
    scores = []
    for mutant in MUTANTS:
        if mutant.name in names:
            scores.append(score(mutant, options.trials))
            tell(row(scores[-1]))
    return scores, play_correct(_correct(options, CORRECT_RUNS))


def _in_guests(options: argparse.Namespace, tell: Tell) -> tuple[list[Score], CorrectScores]:
    # The station's libraries are not needed in simulation.
    from rig.tests.mutants import vm, vm_bench  # noqa: PLC0415

    names = _chosen((mutant.name for mutant in vm.VM_MUTANTS), options.name)
    out = options.out or Path(tempfile.mkdtemp(prefix="rig-mutants-"))
    scores, correct = [], []
    with vm_bench.opened(out, Silent()) as bench:
        for mutant in vm.VM_MUTANTS:
            if mutant.name in names:
                scores.append(vm.score_vm(bench, mutant))
                tell(row(scores[-1]))
        for number in _correct(options, VM_CORRECT_RUNS):
            correct.append(vm.score_correct(bench, number))
            tell(row_of_correct(correct[-1]))
    return scores, vm.added_up(correct)


def _correct(options: argparse.Namespace, usual: int) -> range:
    runs = usual if options.correct is None else options.correct
    return range(options.first, options.first + runs)


def row_of_correct(one: CorrectScore) -> str:
    """Return one correct run's line."""
    said = "ALARM     " if one.alarms else "silent    "
    what = f"{one.fired} faults, {one.urbs} URBs, {one.total_s:.0f} s, {one.run.client}"
    return f"{said}{one.run.name:<52} {', '.join([*one.alarms, what])}"


def row(one: Score) -> str:
    """Return one mutant's line."""
    seen = [alarm for alarm in one.alarms if alarm in one.seen_by]
    if one.killed:
        others = len(one.alarms) - len(seen)
        more = f" and {others} more" if others else ""
        return f"killed    {one.name:<52} {', '.join(seen)}{more}, in run {one.trials}"
    raised = f"; raised: {', '.join(one.alarms)}" if one.alarms else ""
    missed = f"not seen by {', '.join(one.seen_by)} in {one.trials} runs{raised}"
    return f"SURVIVED  {one.name:<52} {missed}"


def summary(scores: list[Score], calm: Calm | CorrectScores) -> str:
    """Return the last lines."""
    killed = sum(each.killed for each in scores)
    lines = [
        f"{killed} of {len(scores)} mutants killed.",
        f"{calm.runs} correct runs{calm.words if calm.runs else ''}: {len(calm.alarms)} alarms.",
    ]
    lines += [f"  seed {seed}: {alarm}: {text}" for seed, alarm, text in calm.alarms]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    end_with(lambda: main(sys.argv[1:]))
