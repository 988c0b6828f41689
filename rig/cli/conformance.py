"""``rig conformance``: usbtest's cases over the split driver, USB/IP, or neither."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rig.cli.console import ConsoleProgress, Screen
from rig.cli.exits import Exit

if TYPE_CHECKING:
    from rich.table import Table

    from rig.experiments.conformance.report import Report

Paths = Annotated[
    list[str],
    typer.Option("--path", help="split, usbip or direct; may be given several times."),
]
Kernel = Annotated[str, typer.Option(help="The machines' kernel: 6.12 or 6.1.")]
Policy = Annotated[str | None, typer.Option(help="The split driver's; default: its own.")]
CaseList = Annotated[str | None, typer.Option("--case", help="Cases, like 0-14,24; default: all.")]
Times = Annotated[int, typer.Option(min=1, help="Multiplies the iterations of each case.")]
Attachment = Annotated[
    str, typer.Option(help="Host controller below: dummy, xhci, xhci-raw, ehci, ohci, udc:NAME.")
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: runs/<time>-conformance.")]
Json = Annotated[bool, typer.Option("--json", help="Print conformance.json alone.")]


def conformance(  # noqa: PLR0917 - typer names them all
    path: Paths = ["split"],  # noqa: B006 - typer only reads it
    kernel: Kernel = "6.12",
    policy: Policy = None,
    case: CaseList = None,
    times: Times = 1,
    attachment: Attachment = "dummy",
    out: Out = None,
    json: Json = False,
) -> None:
    """Run the kernel's own test cases for host controllers on two machines.

    The exit status is 0 if every case passes over the split driver (or over the first path, if
    that is not among them), 1 if one does not, 3 if the machines did not do their part.
    """
    # The lab's libraries are slow to import, and 'rig --help' does not need them.
    from rig.experiments.conformance.conformance import check_wishes, run  # noqa: PLC0415
    from rig.report.record import encode  # noqa: PLC0415
    from rig.report.rundir import RunDirectory  # noqa: PLC0415

    wishes = check_wishes(path, kernel, policy, case, times, attachment=attachment)
    directory = RunDirectory.create("conformance", out)
    report = run(wishes, directory.path, ConsoleProgress())
    if json:
        typer.echo(encode(report))
    else:
        Screen(highlight=False).print(table(report))
        typer.echo(f"All of it is in {directory.path}/")
    raise typer.Exit(Exit.PASS if report.judged.passed else Exit.FAIL)


def table(report: Report) -> Table:
    """Return the report as a table: a line for each case, two columns for each path."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    title = f"usbtest, kernel {report.kernel}, {report.accelerator}, policy {report.policy}"
    made = Table("case", "", title=title, title_justify="left")
    for path in report.paths:
        made.add_column(path.path)
        made.add_column("s", justify="right")
    made.add_column("what the kernels said", overflow="fold")
    for row in zip(*(path.cases for path in report.paths), strict=True):
        cells = [str(row[0].case), row[0].name]
        for one in row:
            good = one.told == "pass"
            cells += [f"[green]{one.told}[/]" if good else f"[red]{one.told}[/]"]
            cells += [f"{one.duration_s:.2f}"]
        said = "\n".join(one.detail for one in row if one.detail)
        made.add_row(*cells, escape(said))  # an oops has square brackets of its own
    return made
