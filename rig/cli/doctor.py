"""``rig doctor``: says what this machine has and lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from rig.cli.console import Screen
from rig.cli.exits import Exit
from rig.lab.doctor import Row, State, can_run, examine

_COLOURS = {State.OK: "green", State.NOTE: "yellow", State.LACKING: "bold red"}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array of rows.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="The image cache [default: $RIG_CACHE or ~/.cache/rig/images]."),
    ] = None,
) -> None:
    """Say what this machine has and lacks; the status is 0 if the rig can run here, else 3."""
    rows = examine(cache)
    if json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        Screen(highlight=False).print(_table(rows))
    if not can_run(rows):
        raise typer.Exit(Exit.INFRASTRUCTURE)


def _table(rows: list[Row]) -> Table:
    table = Table("what", "state", "found", "mend", box=None)
    for row in rows:
        table.add_row(row.what, f"[{_COLOURS[row.state]}]{row.state}[/]", row.found, row.mend)
    return table
