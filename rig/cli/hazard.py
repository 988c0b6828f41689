"""``rig hazard``: what runs behind a failed URB, under each policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rig.cli.console import ConsoleProgress, Screen
from rig.cli.exits import Exit
from rig.faults.rules.endpoint import When

if TYPE_CHECKING:
    from rich.table import Table

    from rig.experiments.hazard.report import Report, Spread

WIDTH = 110
"""Columns that the table needs, also where nobody looks at a terminal."""

Policies = Annotated[
    list[str], typer.Option("--policy", help="hold, aca or naive; may be given several times.")
]
Repetitions = Annotated[int, typer.Option(min=1, help="Of each policy and delay.")]
Delays = Annotated[
    list[int],
    typer.Option("--delay-ms", help="Of the link, each way; may be given several times."),
]
Urbs = Annotated[int, typer.Option(min=1, max=16, help="Pieces of data in flight at once.")]
UrbBytes = Annotated[int, typer.Option(min=512, max=1 << 20, help="Of each piece.")]
FailsWhen = Annotated[When, typer.Option(help="When the first piece fails.")]
Recover = Annotated[str, typer.Option(help="The client's: port-reset or bulk-reset.")]
AcaStatus = Annotated[str, typer.Option(help="What policy aca fails URBs with.")]
Kernel = Annotated[str, typer.Option(help="The machines' kernel: 6.12 or 6.1.")]
Processors = Annotated[int, typer.Option(min=1, max=4, help="Of each machine.")]
Attachment = Annotated[str, typer.Option(help="Host controller below: dummy, xhci-raw or ehci.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: runs/<time>-hazard.")]
Json = Annotated[bool, typer.Option("--json", help="Print hazard.json alone.")]


def hazard(  # noqa: PLR0917 - typer names them all
    policy: Policies = ["hold", "aca", "naive"],  # noqa: B006 - typer only reads it
    repetitions: Repetitions = 8,
    delay_ms: Delays = [0],  # noqa: B006
    urbs: Urbs = 4,
    urb_bytes: UrbBytes = 16384,
    when: FailsWhen = When.BEFORE,
    recovery: Recover = "port-reset",
    aca_status: AcaStatus = "EPROTO",
    kernel: Kernel = "6.12",
    processors: Processors = 1,
    attachment: Attachment = "dummy",
    out: Out = None,
    json: Json = False,
) -> None:
    """Write with several URBs in flight, fail the first, and see where the others' data went.

    The exit status is 0 if no block is at a wrong LBA under policy hold, 1 if one is, 4 if an
    error did not come or policy naive, where it was tried, did not show the hazard.
    """
    # The lab's libraries are slow to import, and 'rig --help' does not need them.
    from rig.experiments.hazard.hazard import run  # noqa: PLC0415
    from rig.experiments.hazard.wishes import read_wishes  # noqa: PLC0415
    from rig.report.record import encode  # noqa: PLC0415
    from rig.report.rundir import RunDirectory  # noqa: PLC0415

    wishes = read_wishes(
        policies=policy,
        delays_ms=delay_ms,
        repetitions=repetitions,
        urbs=urbs,
        urb_bytes=urb_bytes,
        when=when,
        recovery=recovery,
        aca_status=aca_status,
        kernel=kernel,
        processors=processors,
        attachment=attachment,
    )
    directory = RunDirectory.create("hazard", out)
    report = run(wishes, directory.path, ConsoleProgress())
    if json:
        typer.echo(encode(report))
    else:
        width = max(Screen().width, WIDTH)
        Screen(highlight=False, width=width).print(table(report))
        typer.echo(f"All of it is in {directory.path}/")
    raise typer.Exit(_exit(report))


def _exit(report: Report) -> Exit:
    if any(row.runs_wrong for row in report.rows if row.policy == "hold"):
        return Exit.FAIL
    unseen = any(not row.runs_wrong for row in report.rows if row.policy == "naive")
    if unseen or any(row.fired != row.runs for row in report.rows):
        return Exit.INDETERMINATE
    return Exit.PASS


def table(report: Report) -> Table:
    """Return the report as a table: a line for each policy and delay."""
    from rich.table import Table  # noqa: PLC0415

    title = (
        f"{report.urbs} URBs of {report.urb_bytes} octets, the first fails {report.when};"
        f" {report.recovery}; kernel {report.kernel}, {report.accelerator}"
    )
    made = Table("policy", title=title, title_justify="left")
    for name in (
        *("delay ms", "runs", "wrong LBA", "blocks wrong", "ran behind"),
        *("stopped ms", "given back ms", "ready again ms"),
    ):
        made.add_column(name, justify="right")
    for row in report.rows:
        wrong = f"[red]{row.runs_wrong}[/]" if row.runs_wrong else f"[green]{row.runs_wrong}[/]"
        made.add_row(
            row.policy,
            *(str(row.delay_ms), str(row.runs), wrong, str(row.blocks_wrong)),
            str(row.ran_behind),
            *(_milliseconds(spread) for spread in (row.stopped, row.failed, row.recovered)),
        )
    return made


def _milliseconds(spread: Spread) -> str:
    if not spread.count:
        return "-"
    return f"{spread.median_s * 1000:.0f} / {spread.worst_s * 1000:.0f}"
