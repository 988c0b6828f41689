"""Run every fault plan that comes with the rig, and hold its verdict against what it expects.

    python -m rig.tests.plans                        # all: an hour or two
    python -m rig.tests.plans --only medium-torn --only noisy
    python -m rig.tests.plans --out DIRECTORY        # goes on where an earlier one was ended

Exit status 0 if every verdict is what its plan expects, 1 if one is not.  The table is printed, and
is in ``DIRECTORY/table.md``; each plan's run directory is beside it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from rig.arguments import ArgumentParser
from rig.cli.console import ConsoleProgress
from rig.cli.main import end_with
from rig.errors import UserError
from rig.experiments.run.options import RunOptions, check_wishes
from rig.experiments.run.run import run
from rig.faults.load import shipped_plans
from rig.faults.plan import Plan
from rig.integrity.judgement import SectorClass
from rig.report.expected import surprise
from rig.report.verdict import Outcome, Verdict

FILE_SYSTEM = "ext4"
"""One is enough for every plan: all rules find their matches in 16 MiB of it."""
KERNEL = "6.12"
HEADINGS = ("plan", "attachment", "expected", "verdict", "fired", "not right, sectors", "s")
_FINE = (SectorClass.OK, SectorClass.INDETERMINATE)

Runner = Callable[[RunOptions, Path], Verdict]


class Row(msgspec.Struct, frozen=True):
    """How the run under one plan ended.

    Attributes:
        plan: The plan.
        verdict: Of the run.
        difference: A sentence about what is not as the plan says; empty if all is.
        earlier: Whether an earlier run left the verdict, and nothing was run now.
    """

    plan: Plan
    verdict: Verdict
    difference: str
    earlier: bool = False

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        verdict = self.verdict
        unlimited = any(rule.planned < 0 for rule in verdict.faults.rules)
        limit = "(no limit)" if unlimited else f"of {verdict.faults.planned}"
        bad = {k: n for k, n in verdict.sectors.items() if n and k not in _FINE}
        return (
            verdict.plan,
            verdict.attachment,
            " ".join([self.plan.expect, "/".join(self.plan.classes)]).strip(),
            verdict.verdict + (" (!)" if self.difference else ""),
            f"{verdict.faults.fired} {limit}",
            ", ".join(f"{name} {count}" for name, count in bad.items()) or "-",
            f"{verdict.durations_s.get('total', 0.0):.0f}",
        )


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table of Markdown."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def run_all(
    names: Iterable[str], out: Path, seed: int | None, runner: Runner
) -> Iterator[tuple[str, Row]]:
    """Run plans one after the other, but for those that `out` has a verdict of.

    Args:
        names: Of shipped plans.
        out: Has, or gets, a run directory of each.
        seed: Instead of each plan's own.
        runner: Runs one, in the directory that it is given.

    Raises:
        RigError: A run could not be started.
    """
    for name in names:
        options = check_wishes(name, FILE_SYSTEM, KERNEL, seed)
        found = find_verdict(options, out / name)
        verdict = runner(options, unused(out / name)) if found is None else found
        difference = surprise(options.plan, verdict)
        yield name, Row(options.plan, verdict, difference, earlier=found is not None)


def find_verdict(options: RunOptions, directory: Path) -> Verdict | None:
    """Return what an earlier run of the same plan with the same seed ended with.

    One that says nothing about the plan, for a machine failed, does not count.

    Args:
        options: What would be run.
        directory: Of the first run; those of later ones have a number behind their names.
    """
    for candidate in _numbered(directory):
        if not candidate.exists():
            return None
        try:
            verdict = msgspec.json.decode((candidate / "verdict.json").read_bytes(), type=Verdict)
            text = (candidate / "plan.toml").read_text(encoding="utf-8")
        except (OSError, msgspec.MsgspecError):
            continue  # it was ended before its end
        same = (text, verdict.seed) == (options.plan_text, options.plan.seed)
        if same and verdict.verdict is not Outcome.INFRASTRUCTURE:
            return verdict
    raise AssertionError("unreachable")


def _numbered(directory: Path) -> Iterator[Path]:
    yield directory
    for number in itertools.count(2):
        yield directory.with_name(f"{directory.name}-{number}")


def unused(directory: Path) -> Path:
    """Return the directory, or one beside it with a number, that is not there yet."""
    return next(one for one in _numbered(directory) if not one.exists())


def _run_in_lab(options: RunOptions, directory: Path) -> Verdict:
    return run(options, directory, ConsoleProgress())[1]


def _all(count: int) -> str:
    return "The verdict is" if count == 1 else f"All {count} verdicts are"


def _chosen(only: list[str]) -> list[str]:
    known = list(shipped_plans())
    for name in only:
        if name not in known:
            raise UserError(
                f"There is no plan '{name}' that comes with the rig.",
                hint=f"Known are: {', '.join(known)}.",
            )
    return only or known


def _directory(wish: Path | None) -> Path:
    """Return the directory for all, made if need be.

    Raises:
        UserError: It cannot be.
    """
    if wish is None:
        return Path(tempfile.mkdtemp(prefix="plans-"))
    try:
        wish.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The directory '{wish}' cannot be made: {error.strerror}.",
            hint="Give '--out' a new one, or that of an earlier run.",
        ) from error
    return wish


def main(runner: Runner = _run_in_lab) -> int:
    """Run what the command line says.

    Raises:
        RigError: It asks for what cannot be, or a run could not be started.
    """
    parser = ArgumentParser(
        prog="python -m rig.tests.plans",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="of a plan")
    parser.add_argument("--seed", type=int, help="instead of each plan's own")
    parser.add_argument("--out", type=Path, help="default: a new directory in /tmp")
    options = parser.parse_args()
    names = _chosen(options.only)
    out = _directory(options.out)
    rows: list[Row] = []
    try:
        for name, row in run_all(names, out, options.seed, runner):
            rows.append(row)
            (out / "table.md").write_text(table(rows), encoding="utf-8")
            earlier = " (of an earlier run)" if row.earlier else ""
            print(f"{name}: {row.verdict.verdict}{earlier}. {row.difference}".rstrip(), flush=True)
    except KeyboardInterrupt:
        print(f"\nEnded by hand; '--out {out}' goes on from here.", file=sys.stderr)
        raise
    print("\n" + table(rows))
    different = [row.difference for row in rows if row.difference]
    print("\n".join(different) or f"{_all(len(rows))} as expected.")
    if kept := sum(row.earlier for row in rows):
        print(f"{kept} of {len(rows)} were run earlier; a new '--out' runs all of them.")
    print(f"All of it is in {out}/")
    return 1 if different else 0


if __name__ == "__main__":
    end_with(main)
