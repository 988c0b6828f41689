"""``rig compare``: who keeps every byte at its LBA."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rig.cli.console import ConsoleProgress, Screen
from rig.cli.exits import Exit
from rig.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from rig.experiments.compare.report import Report

WIDTH = 150
"""Columns that the table needs, also where nobody looks at a terminal."""

USUAL_DRIVERS = ["naive", "aca", "hold", "usbip", "direct"]
USUAL_ATTACHMENTS = ["dummy", "xhci", "ehci"]

Plan = Annotated[str, typer.Argument(help="Fault plan: a file, or the name of a shipped one.")]
Drivers = Annotated[
    list[str],
    typer.Option(
        "--driver",
        help="Who carries the disk: hold, aca, naive (the split driver's policies), usbip, direct;"
        " may be given several times.",
    ),
]
Attachments = Annotated[
    list[str],
    typer.Option(
        "--attachment",
        help="Host controller below: dummy, xhci, xhci-raw, ehci, ohci; several times.",
    ),
]
Repetitions = Annotated[int, typer.Option(min=1, help="Of each row.")]
FileSystems = Annotated[str, typer.Option(help="File systems, separated by commas.")]
Client = Annotated[str, typer.Option(help="Who uses the disk: deep-queue or usb-storage.")]
Delay = Annotated[int, typer.Option(help="Of the link between the machines, each way.")]
Kernel = Annotated[str, typer.Option(help="The machines' kernel: 6.12 or 6.1.")]
Write = Annotated[
    Path | None,
    typer.Option("--write", help="Write the page, in Markdown, and its data beside it, in JSON."),
]
Join = Annotated[
    list[Path],
    typer.Option(
        help="Measure nothing: put together what former comparisons have left (run directories or"
        " JSON files), a later row in the place of an earlier one; several times.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: runs/<time>-compare.")]
Json = Annotated[bool, typer.Option("--json", help="Print compare.json alone.")]


def compare(  # noqa: PLR0917 - typer names them all
    plan: Plan = "transient",
    driver: Drivers = USUAL_DRIVERS,
    attachment: Attachments = USUAL_ATTACHMENTS,
    repetitions: Repetitions = 10,
    fs: FileSystems = "vfat",
    client: Client = "deep-queue",
    delay_ms: Delay = 5,
    kernel: Kernel = "6.12",
    write: Write = None,
    join: Join = [],  # noqa: B006 - only read
    out: Out = None,
    json: Json = False,
) -> None:
    """Run one plan with each driver and policy, many times, and print one table.

    The exit status is 0 if under policy hold nothing arrived at a wrong LBA and nothing was lost, 1
    if something was, 3 if a repetition came to no verdict, 4 if a planned fault did not fire.
    """
    # The lab's libraries are slow to import, and 'rig --help' does not need them.
    from rig.experiments.compare.compare import run  # noqa: PLC0415
    from rig.experiments.compare.wishes import read_wishes  # noqa: PLC0415
    from rig.report.rundir import RunDirectory  # noqa: PLC0415

    if write is not None and not write.parent.is_dir():
        raise UserError(f"There is no directory '{write.parent}' to write '{write.name}' to.")
    if write is not None and write.is_dir():
        raise UserError(f"'{write}' is a directory.", hint="Name the page to write.")
    given: tuple[tuple[str, Sequence[object], Sequence[object]], ...] = (
        ("--driver", driver, USUAL_DRIVERS),
        ("--attachment", attachment, USUAL_ATTACHMENTS),
        ("--repetitions", [repetitions], [10]),
        ("--fs", [fs], ["vfat"]),
        ("--client", [client], ["deep-queue"]),
        ("--delay-ms", [delay_ms], [5]),
        ("--kernel", [kernel], ["6.12"]),
    )
    if join:
        _check_alone(given)
        raise typer.Exit(_show_joined(join, write, json=json))
    wishes = read_wishes(
        plan=plan,
        attachments=attachment,
        drivers=driver,
        file_systems=fs,
        client=client,
        delay_ms=delay_ms,
        repetitions=repetitions,
        kernel=kernel,
    )
    directory = RunDirectory.create("compare", out)
    command = command_of(plan, (*given, ("--write", [write] if write else [], [])))

    def tell(report: Report) -> None:
        leave_page(report, write)

    try:
        report = run(wishes, command, directory.path, ConsoleProgress(), tell)
    except BaseException:
        directory.discard()
        raise
    _show(report, json=json)
    if not json:
        typer.echo(f"All of it is in {directory.path}/")
    raise typer.Exit(exit_of(report))


def leave_page(report: Report, page: Path | None) -> None:
    """Write the page, if there is to be one, and beside it the data that it is made from."""
    from rig.experiments.compare.document import document  # noqa: PLC0415
    from rig.report.record import leave  # noqa: PLC0415

    if page is not None:
        page.write_text(document(report), encoding="utf-8")
        leave(report, page.with_suffix(".json"))


def _check_alone(given: Iterable[tuple[str, Sequence[object], Sequence[object]]]) -> None:
    """Refuse options that say what to measure, where nothing is measured."""
    for option, values, usual in given:
        if list(map(str, values)) != list(map(str, usual)):
            raise UserError(
                f"With --join nothing is measured, and {option} has no meaning.",
                hint="Measure first, without --join; then join the run directory.",
            )


def _show_joined(paths: Sequence[Path], write: Path | None, *, json: bool) -> Exit:
    from rig.experiments.compare.joining import join, read_report  # noqa: PLC0415

    report = join([read_report(path) for path in paths])
    leave_page(report, write)
    _show(report, json=json)
    return exit_of(report)


def _show(report: Report, *, json: bool) -> None:
    from rig.report.record import encode  # noqa: PLC0415

    if json:
        typer.echo(encode(report))
    else:
        width = max(Screen().width, WIDTH)
        Screen(highlight=False, width=width).print(table(report))


def command_of(plan: str, given: Iterable[tuple[str, Sequence[object], Sequence[object]]]) -> str:
    """Return the command as a page tells it.

    Args:
        plan: Its argument.
        given: Each option with what was given and what is usual.
    """
    words = ["rig", "compare", plan]
    for option, values, usual in given:
        if list(map(str, values)) != list(map(str, usual)):
            words += [word for value in values for word in (option, str(value))]
    return shlex.join(words)


def exit_of(report: Report) -> Exit:
    """Return the exit status."""
    if any(row.wrong_runs or row.lost_runs for row in report.held):
        return Exit.FAIL
    if any(row.broken for row in report.rows):
        return Exit.INFRASTRUCTURE
    if any(row.fired < row.runs for row in report.rows):
        return Exit.INDETERMINATE
    return Exit.PASS


def table(report: Report) -> Table:
    """Return the report as a table: a line for each way."""
    from rich.table import Table  # noqa: PLC0415

    from rig.experiments.compare.document import cells  # noqa: PLC0415

    title = f"Plan {report.plan}, client {report.client}, {report.delay_ms} ms of delay"
    made = Table("below", "carried by", "status", title=title, title_justify="left")
    for name in ("runs", "verdicts", "misdirected", "blocks", "lost", "resets", "recovery"):
        made.add_column(name, justify="right")
    for one in report.rows:
        made.add_row(*(text.strip("*") for text in cells(one)))
    return made
