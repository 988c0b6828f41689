"""``rig bench``: the split driver's speed beside the kernel's USB/IP, and no split at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rig.cli.console import ConsoleProgress, Screen
from rig.cli.exits import Exit

if TYPE_CHECKING:
    from rich.table import Table

    from rig.experiments.bench.report import Report, Spread
    from rig.lab.paths import PathName

Quick = Annotated[bool, typer.Option("--quick", help="Two minutes, without a slow link.")]
Speed = Annotated[str, typer.Option(help="Of the device: high or super.")]
Kernel = Annotated[str, typer.Option(help="The machines' kernel: 6.12 or 6.1.")]
Policy = Annotated[str | None, typer.Option(help="The split driver's; default: its own.")]
Link = Annotated[
    str,
    typer.Option(
        help="Of the split driver: virtio (a port of virtio-serial), or tcp, as USB/IP has it."
    ),
]
NoLane = Annotated[bool, typer.Option("--no-lane", help="Split driver: forward all in Python.")]
Rounds = Annotated[int | None, typer.Option(min=1, help="Instead of the usual number.")]
AtLeast = Annotated[
    float | None,
    typer.Option(min=0, help="Fail if any row reaches less of USB/IP's rate, such as 0.8."),
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: runs/<time>-bench.")]
Json = Annotated[bool, typer.Option("--json", help="Print bench.json alone.")]


def bench(  # noqa: PLR0917 - typer names them all
    quick: Quick = False,
    speed: Speed = "high",
    kernel: Kernel = "6.12",
    policy: Policy = None,
    link: Link = "virtio",
    no_lane: NoLane = False,
    rounds: Rounds = None,
    at_least: AtLeast = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Measure a disk over the split driver, over USB/IP and directly, in turn, on two machines.

    The exit status is 0, or 1 if --at-least was given and a row does not reach it, or 3 if the
    machines did not do their part.
    """
    # The lab's libraries are slow to import, and 'rig --help' does not need them.
    from rig.experiments.bench.bench import check_wishes, run  # noqa: PLC0415
    from rig.report.record import encode  # noqa: PLC0415
    from rig.report.rundir import RunDirectory  # noqa: PLC0415

    wishes = check_wishes(speed, kernel, policy, rounds, quick=quick, link=link, lane=not no_lane)
    directory = RunDirectory.create("bench", out)
    report = run(wishes, directory.path, ConsoleProgress())
    if json:
        typer.echo(encode(report))
    else:
        shown = Screen(highlight=False)
        shown.print(table(report))
        shown.print(latencies(report))
        typer.echo(f"All of it is in {directory.path}/")
    short = report.short_of(at_least) if at_least is not None else []
    for row in short:
        typer.echo(f"Less than {at_least:g} of USB/IP's rate: {row.title}", err=True)
    raise typer.Exit(Exit.FAIL if short else Exit.PASS)


def table(report: Report) -> Table:
    """Return the rates and the ratios: a line for each row."""
    from rich.table import Table  # noqa: PLC0415

    from rig.experiments.bench.report import COMPARED  # noqa: PLC0415

    title = (
        f"Rates: kernel {report.kernel}, {report.accelerator}, {report.speed} speed, policy"
        f" {report.policy}, link {report.link}.\n"
        "Medians (first and third quartile) of rounds; ratios are those of each round."
    )
    paths = _paths(report)
    made = Table("row", "", title=title, title_justify="left")
    for heading in (*paths, *(f"split/{to}" for to in COMPARED)):
        made.add_column(heading, justify="right")
    for row in report.rows:
        rates = [f.rate if (f := row.figures(path)) else None for path in paths]
        ratios = [row.ratio(to) for to in COMPARED]
        cells = [*(_cell(r, 1) for r in rates), *(_cell(r, 2) for r in ratios)]
        made.add_row(row.title, row.unit, *cells)
    return made


def latencies(report: Report) -> Table:
    """Return how long requests took: a line for each row and path."""
    from rich.table import Table  # noqa: PLC0415

    title = "Latency of a request (ms), and SCSI commands that it was carried by"
    made = Table("row", "path", title=title, title_justify="left")
    for heading in ("median", "90 %", "99 %", "longest", "commands"):
        made.add_column(heading, justify="right")
    for row in report.rows:
        for index, one in enumerate(row.paths):
            taken = one.latency
            values = (taken.p50_ms, taken.p90_ms, taken.p99_ms, taken.max_ms)
            made.add_row(
                "" if index else row.title,
                one.path,
                *(f"{v:.1f}" for v in values),
                f"{one.commands:g}",
            )
    return made


def _paths(report: Report) -> list[PathName]:
    """Return the names of the paths that any row has, in order."""
    return list(dict.fromkeys(one.path for row in report.rows for one in row.paths))


def _cell(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return ""
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"
