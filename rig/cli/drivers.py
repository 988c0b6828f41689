"""``rig drivers``: what the kernel's drivers do behind an error, under each policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rig.cli.console import ConsoleProgress, Screen

if TYPE_CHECKING:
    from rich.table import Table

    from rig.experiments.drivers.report import Report, Trial

WIDTH = 110
"""Columns that the table needs, also where nobody looks at a terminal."""

Drivers = Annotated[
    list[str],
    typer.Option(
        "--driver", help="usb-storage, cdc_acm, usbserial, cdc_ncm, usbtest; default: all."
    ),
]
Policies = Annotated[
    list[str], typer.Option("--policy", help="hold, aca or naive; may be given several times.")
]
AcaStatuses = Annotated[
    list[str],
    typer.Option("--aca-status", help="What aca fails URBs with; may be given several times."),
]
Statuses = Annotated[
    list[str],
    typer.Option("--status", help="Of the URB that fails; may be given several times."),
]
Errors = Annotated[
    int, typer.Option(min=1, max=64, help="So many URBs of the endpoint fail in a row.")
]
Directions = Annotated[
    list[str], typer.Option("--direction", help="Of the data: out or in; default: both.")
]
Kernel = Annotated[str, typer.Option(help="The machines' kernel: 6.12 or 6.1.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: runs/<time>-drivers.")]
Json = Annotated[bool, typer.Option("--json", help="Print drivers.json alone.")]


def drivers(  # noqa: PLR0917 - typer names them all
    driver: Drivers = [],  # noqa: B006 - typer only reads it
    policy: Policies = ["hold", "aca"],  # noqa: B006
    aca_status: AcaStatuses = ["EPROTO"],  # noqa: B006
    status: Statuses = ["EPROTO"],  # noqa: B006
    errors: Errors = 1,
    direction: Directions = ["out", "in"],  # noqa: B006
    kernel: Kernel = "6.12",
    out: Out = None,
    json: Json = False,
) -> None:
    """Fail an URB of each driver in the middle of its data, and see what it does."""
    # The lab's libraries are slow to import, and 'rig --help' does not need them.
    from rig.experiments.drivers.drivers import run  # noqa: PLC0415
    from rig.experiments.drivers.wishes import read_wishes  # noqa: PLC0415
    from rig.report.record import encode  # noqa: PLC0415
    from rig.report.rundir import RunDirectory  # noqa: PLC0415

    wishes = read_wishes(
        driver,
        policy,
        aca_status,
        status,
        errors=errors,
        directions=direction,
        kernel=kernel,
    )
    directory = RunDirectory.create("drivers", out)
    report = run(wishes, directory.path, ConsoleProgress())
    if json:
        typer.echo(encode(report))
    else:
        width = max(Screen().width, WIDTH)
        Screen(highlight=False, width=width).print(table(report))
        typer.echo(f"All of it is in {directory.path}/")


def table(report: Report) -> Table:
    """Return the report as a table: a line for each trial."""
    from rich.table import Table  # noqa: PLC0415

    title = f"URBs that fail: {report.errors}; kernel {report.kernel}, {report.accelerator}"
    made = Table("driver", "", "fails with", "policy", "data", title=title, title_justify="left")
    for name in ("gap s", "lost", "URBs", "in s", "stood ms", "resets", "errno"):
        made.add_column(name, justify="right")
    for trial in report.trials:
        made.add_row(*_cells(trial))
    return made


def _cells(trial: Trial) -> tuple[str, ...]:
    name = f"{trial.policy} {trial.status}".strip()
    head = (trial.driver, trial.direction, trial.failed_with, name, trial.verdict)
    if not trial.came_up:
        return (*head, "", "", "", "", "", str(trial.resets_before), "")
    told = trial.told
    stood = "to the end" if trial.stood_s is None else f"{trial.stood_s * 1000:.0f}"
    return (
        *head,
        f"{told.longest_gap_s:.2f}",
        str(told.missing + told.garbled),
        str(trial.urbs),
        f"{trial.watched_s:.1f}",
        "-" if trial.policy == "naive" else stood,
        f"{trial.resets_before} + {trial.resets}",
        " ".join(told.errors),
    )
