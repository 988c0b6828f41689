"""``python -m rig.tests.mutants``: the scores of the mutant kit."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from rig.cli.main import end_with
from rig.progress import Silent
from rig.tests.mutants.correct import Calm, play_correct
from rig.tests.mutants.kit import MUTANTS, TRIALS, Score, score

CORRECT_RUNS = 1000
VM_CORRECT_RUNS = 50


def main(argv: list[str]) -> int:
    """Print the scores.

    Returns:
        0 if every mutant was killed by whom it had to be, and nothing correct raised an alarm.
    """
    arguments = argparse.ArgumentParser(prog="python -m rig.tests.mutants", description=__doc__)
    arguments.add_argument("name", nargs="*", help="of the mutants whose names hold one of these")
    arguments.add_argument("--vm", action="store_true", help="those on real kernels, in guests")
    arguments.add_argument("--correct", type=int, help="correct runs (1000; in guests 50)")
    arguments.add_argument("--trials", type=int, default=TRIALS, help="of each mutant, at most")
    arguments.add_argument("--out", type=Path, help="of guests' run directories")
    arguments.add_argument("--json", action="store_true", help="for programs")
    options = arguments.parse_args(argv)

    def tell(one: Score) -> Score:
        if not options.json:
            sys.stdout.write(row(one) + "\n")
            sys.stdout.flush()
        return one

    scores, calm = _in_guests(options, tell) if options.vm else _simulated(options, tell)
    if options.json:
        sys.stdout.write(msgspec.json.encode({"mutants": scores, "correct": calm}).decode() + "\n")
    else:
        sys.stdout.write(summary(scores, calm))
    return 0 if all(each.killed for each in scores) and not calm.alarms else 1


Tell = Callable[[Score], Score]


def _chosen(names: Iterable[str], wanted: list[str]) -> set[str]:
    return {name for name in names if not wanted or any(each in name for each in wanted)}


def _simulated(options: argparse.Namespace, tell: Tell) -> tuple[list[Score], Calm]:
    names = _chosen((mutant.name for mutant in MUTANTS), options.name)
    scores = [tell(score(each, options.trials)) for each in MUTANTS if each.name in names]
    runs = CORRECT_RUNS if options.correct is None else options.correct
    return scores, play_correct(range(runs))


def _in_guests(options: argparse.Namespace, tell: Tell) -> tuple[list[Score], Calm]:
    # The station's libraries are not needed in simulation.
    from rig.tests.mutants import vm  # noqa: PLC0415

    names = _chosen((mutant.name for mutant in vm.VM_MUTANTS), options.name)
    runs = VM_CORRECT_RUNS if options.correct is None else options.correct
    out = options.out or Path(tempfile.mkdtemp(prefix="rig-mutants-"))
    with vm.opened(out, Silent()) as bench:
        scores = [tell(vm.score_vm(bench, each)) for each in vm.VM_MUTANTS if each.name in names]
        alarms = vm.run_correct(bench, runs)
    return scores, Calm(runs, alarms)


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


def summary(scores: list[Score], calm: Calm) -> str:
    """Return the last lines."""
    killed = sum(each.killed for each in scores)
    what = ""
    if calm.moves:
        what = f", in which {calm.moves} things happened and a device went away {calm.losses} times"
    lines = [
        f"{killed} of {len(scores)} mutants killed.",
        f"{calm.runs} correct runs{what}: {len(calm.alarms)} alarms.",
    ]
    lines += [f"  seed {seed}: {alarm}: {text}" for seed, alarm, text in calm.alarms]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    end_with(lambda: main(sys.argv[1:]))
