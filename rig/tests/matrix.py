"""Run the file-system matrix: file systems x ready plans x kernels, and write how each cell ended.

    python -m rig.tests.matrix                               # all: days
    python -m rig.tests.matrix --sample                      # every file system and kernel: an hour
    python -m rig.tests.matrix --fs xfs --plan demo --kernel 6.1
    python -m rig.tests.matrix --sample --write docs/workloads.md
    python -m rig.tests.matrix --found --out DIRECTORY --write docs/workloads.md   # runs nothing

With `--out DIRECTORY` a matrix goes on where an earlier one was ended.  Exit status 0 if every cell
ended as its plan expects, 1 if one did not.  `pytest rig/tests -m nightly` runs the same cells.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rig.arguments import ArgumentParser
from rig.cli.console import ConsoleProgress
from rig.cli.main import end_with
from rig.errors import UserError
from rig.experiments.run.options import RunOptions, check_wishes
from rig.experiments.run.run import Story, run
from rig.faults.load import load_plan, shipped_plans
from rig.faults.plan import layer_of
from rig.faults.rules.base import Layer
from rig.guest_images.image import GuestImage, ensure
from rig.guest_images.spec import KERNELS
from rig.integrity.filesystems import FILE_SYSTEMS, RAW
from rig.integrity.judgement import SectorClass
from rig.lab.accelerator import accelerator
from rig.lab.attachment import DUMMY
from rig.progress import Silent
from rig.report import markdown
from rig.report.expected import surprise
from rig.report.rundir import RunDirectory
from rig.report.verdict import Verdict
from rig.tests.conftest import LabKeeper
from rig.tests.plans import HEADINGS, Row, find_verdict, unused

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
"""Between them a document has the table."""

_RESTLESS = {Layer.LINK, Layer.MACHINE}
"""Layers that leave machines as no other run should find them."""

Runner = Callable[[RunOptions, Path], Verdict]


class Cell(NamedTuple):
    """One run of the matrix."""

    file_system: str
    plan: str
    kernel: str

    @property
    def name(self) -> str:
        """Of its directory, and of its test."""
        return "-".join((self.plan, self.file_system, self.kernel))

    def options(self) -> RunOptions:
        """What is run.

        Raises:
            UserError: The plan does not go with the file system.
        """
        return check_wishes(self.plan, self.file_system, self.kernel, None)


GROUNDS = (*FILE_SYSTEMS, RAW.name)
"""What is written on: every file system, and the disk without any."""
SAMPLE = (
    *(Cell(name, "demo", "6.12") for name in GROUNDS),
    *(Cell(name, "demo", "6.1") for name in GROUNDS),
    *(
        Cell(name, plan, "6.12")
        for name in ("ext4", "vfat", "f2fs")
        for plan in ("link-cut", "machine-power-cycle", "machine-reboot")
    ),
)
"""Errors that a host survives, everywhere and on both kernels; and a disk that goes away, with
its machine and without: two file systems with journals of different kinds, and one without any."""


def every_cell() -> Iterator[Cell]:
    """Yield the whole matrix, but for plans whose attachment is for one file system alone."""
    for kernel, plan in itertools.product(KERNELS, shipped_plans()):
        slow = load_plan(plan).attachment == "ohci"
        for name in GROUNDS:
            if not slow or name == "vfat":
                yield Cell(name, plan, kernel)


def run_cells(cells: Iterable[Cell], out: Path, runner: Runner) -> Iterator[tuple[Cell, Row]]:
    """Run cells one after the other, but for those that `out` has a verdict of.

    Args:
        cells: Which.
        out: Has, or gets, a run directory of each.
        runner: Runs one, in the directory that it is given.

    Raises:
        RigError: A run could not be started.
    """
    for cell in cells:
        options = cell.options()
        verdict = find_verdict(options, out / cell.name)
        if verdict is None:
            verdict = runner(options, unused(out / cell.name))
        yield cell, Row(options.plan, verdict, surprise(options.plan, verdict))


def run_in(keeper: LabKeeper, image: GuestImage, options: RunOptions, directory: Path) -> Verdict:
    """Run in a lab that is kept, or in one of its own if the plan is hard on machines.

    Two pairs of machines at once are one too many: the lab that is kept is shut down for the other.

    Args:
        keeper: Has the lab.
        image: What its machines boot.
        options: What to run.
        directory: The run directory.
    """
    layers = {layer_of(fault) for fault in options.plan.faults}
    if options.attachment != DUMMY or layers & _RESTLESS:
        keeper.close()
        return run(options, directory, Silent())[1]
    lab = keeper.booted()
    made = RunDirectory.create(options.plan.name, directory)
    return Story(options, made, Silent()).tell(image, accelerator(image), lab)


class Labs:
    """A lab for each kernel, kept from cell to cell; a context.

    Args:
        directory: Gets their logs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keepers: dict[str, LabKeeper] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Labs:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Shut all labs down."""
        self._stack.close()

    def run(self, options: RunOptions, directory: Path) -> Verdict:
        """Run in the lab of the kernel, or in one of its own if the plan is hard on machines."""
        image = ensure(options.kernel, ConsoleProgress())
        if options.kernel not in self._keepers:
            self._stack.close()
            self._keepers.clear()
            keeper = LabKeeper(image, self._directory / f"labs-{options.kernel}")
            self._stack.callback(keeper.close)
            self._keepers[options.kernel] = keeper
        return run_in(self._keepers[options.kernel], image, options, directory)


def shown(rows: Iterable[tuple[Cell, Row]]) -> str:
    """Return the table in Markdown, by file systems."""
    ordered = sorted(rows, key=lambda one: (GROUNDS.index(one[0][0]), one[0][1:]))
    heads = ("file system", "kernel", *HEADINGS, "was promised, and came back")
    lines = [markdown.row(*heads), markdown.rule(len(heads))]
    for cell, row in ordered:
        came_back = str(promised_sectors(row.verdict)) if row.verdict.recoveries else "-"
        lines.append(markdown.row(cell.file_system, cell.kernel, *row.cells, came_back))
    return "".join(f"{line}\n" for line in lines)


def promised_sectors(verdict: Verdict) -> int:
    """Return how many sectors held what fsync had promised when a disk had come back."""
    return sum(one.sectors.get(SectorClass.OK, 0) for one in verdict.recoveries)


def put_into(document: Path, text: str) -> None:
    """Put a table between its marks.

    Raises:
        UserError: The document has no marks.
    """
    head, tail = _around(document)
    document.write_text(f"{head}{BEGIN}\n{text}{END}{tail}", encoding="utf-8")


def _around(document: Path) -> tuple[str, str]:
    """Return what stands before a table's marks, and what behind them."""
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{document}' cannot be read: {error}.") from error
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{document} has no place for the table.", hint=f"Write {BEGIN} and {END}.")
    return head, tail


def _chosen(options: argparse.Namespace) -> list[Cell]:
    cells = SAMPLE if options.sample else every_cell()
    wishes = (options.fs, options.plan, options.kernel)
    found = [
        cell
        for cell in cells
        if all(not wish or value in wish for wish, value in zip(wishes, cell, strict=True))
    ]
    if not found:
        values = [dict.fromkeys(column) for column in zip(*cells, strict=True)]
        raise UserError(
            "The matrix has no such cell.",
            hint="There are: " + "; ".join(", ".join(map(str, column)) for column in values) + ".",
        )
    return found


def main() -> int:
    """Run what the command line says.

    Raises:
        RigError: It asks for what cannot be, or a run could not be started.
    """
    parser = ArgumentParser(
        prog="python -m rig.tests.matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sample", action="store_true", help="a part that says most")
    parser.add_argument("--fs", action="append", help="of this file system; may be repeated")
    parser.add_argument("--plan", action="append", help="of this plan; likewise")
    parser.add_argument("--kernel", action="append", help="of this kernel; likewise")
    parser.add_argument("--found", action="store_true", help="only what was run in --out already")
    parser.add_argument("--out", type=Path, help="default: a new directory in /tmp")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="puts the table there")
    options = parser.parse_args()
    cells = _chosen(options)
    out: Path = options.out or Path(tempfile.mkdtemp(prefix="matrix-"))
    if options.write:
        _around(options.write)  # before a run of days
    if options.found:
        cells = [cell for cell in cells if find_verdict(cell.options(), out / cell.name)]
        if not cells:
            raise UserError(
                f"None of these cells was run in '{out}'.", hint="--out names where they were."
            )
    rows: list[tuple[Cell, Row]] = []
    with Labs(out) as labs:
        for cell, row in run_cells(cells, out, labs.run):
            rows.append((cell, row))
            (out / "table.md").write_text(shown(rows), encoding="utf-8")
            print(f"{cell.name}: {row.verdict.verdict}. {row.difference}".rstrip(), flush=True)
            if options.write:
                put_into(options.write, shown(rows))
    print("\n" + shown(rows))
    return 1 if any(row.difference for _, row in rows) else 0


if __name__ == "__main__":
    end_with(main)
