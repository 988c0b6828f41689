"""``python -m rig.tests.mutants``: the scores of the mutant kit."""

from __future__ import annotations

import argparse
import sys

import msgspec

from rig.tests.mutants.correct import Calm, play_correct
from rig.tests.mutants.kit import MUTANTS, TRIALS, Score, score

CORRECT_RUNS = 1000


def main(argv: list[str]) -> int:
    """Print the scores.

    Returns:
        0 if every mutant was killed by whom it had to be, and nothing correct raised an alarm.
    """
    arguments = argparse.ArgumentParser(prog="python -m rig.tests.mutants", description=__doc__)
    arguments.add_argument("name", nargs="*", help="of the mutants whose names hold one of these")
    arguments.add_argument("--correct", type=int, default=CORRECT_RUNS, help="correct runs")
    arguments.add_argument("--trials", type=int, default=TRIALS, help="of each mutant, at most")
    arguments.add_argument("--json", action="store_true", help="for programs")
    options = arguments.parse_args(argv)
    chosen = [m for m in MUTANTS if not options.name or any(n in m.name for n in options.name)]
    scores = []
    for mutant in chosen:
        scores.append(score(mutant, options.trials))
        if not options.json:
            sys.stdout.write(row(scores[-1]) + "\n")
            sys.stdout.flush()
    calm = play_correct(range(options.correct))
    if options.json:
        sys.stdout.write(msgspec.json.encode({"mutants": scores, "correct": calm}).decode() + "\n")
    else:
        sys.stdout.write(summary(scores, calm))
    return 0 if all(each.killed for each in scores) and not calm.alarms else 1


def row(one: Score) -> str:
    """Return one mutant's line."""
    seen = [alarm for alarm in one.alarms if alarm in one.seen_by]
    if one.killed:
        others = len(one.alarms) - len(seen)
        more = f" and {others} more" if others else ""
        return f"killed    {one.name:<52} {', '.join(seen)}{more}, in run {one.trials}"
    return f"SURVIVED  {one.name:<52} not seen by {', '.join(one.seen_by)} in {one.trials} runs"


def summary(scores: list[Score], calm: Calm) -> str:
    """Return the last lines."""
    killed = sum(each.killed for each in scores)
    lines = [
        f"{killed} of {len(scores)} mutants killed.",
        f"{calm.runs} correct runs, in which {calm.moves} things happened and a device went away"
        f" {calm.losses} times: {len(calm.alarms)} alarms.",
    ]
    lines += [f"  seed {seed}: {alarm}: {text}" for seed, alarm, text in calm.alarms]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
