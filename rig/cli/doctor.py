"""``rig doctor``: says what this machine has and lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from rig.cli.console import Screen
from rig.cli.exits import Exit
from rig.lab.doctor import Row, State, can_run, examine

_COLOURS = {State.OK: "green", State.NOTE: "yellow", State.LACKING: "bold red"}


def doctor(
    lab: Annotated[
        Path | None,
        typer.Option(help="labgrid environment file: look at its machines instead of this one."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array of rows.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="The image cache [default: $RIG_CACHE or ~/.cache/rig/images]."),
    ] = None,
) -> None:
    """Say what this machine, or a lab's, has and lacks; the status is 0 if the rig can run, else 3.

    Nothing is changed on any of them.
    """
    rows = examine(cache) if lab is None else _look_at(lab)
    if json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        Screen(highlight=False).print(_table(rows))
    if not can_run(rows):
        raise typer.Exit(Exit.INFRASTRUCTURE)


def _look_at(file: Path) -> Sequence[Row]:
    # labgrid is slow to import, and the look at this machine does not need it.
    from rig.lab.hosts import examine_hosts  # noqa: PLC0415

    return examine_hosts(file)


def _table(rows: Sequence[Row]) -> Table:
    machines = [getattr(row, "machine", "") for row in rows]
    table = Table(
        *(["machine"] if any(machines) else []), "what", "state", "found", "mend", box=None
    )
    for row, machine in zip(rows, machines, strict=True):
        state = f"[{_COLOURS[row.state]}]{row.state}[/]"
        cells = (row.what, state, escape(row.found), escape(row.mend))
        table.add_row(*([machine] if any(machines) else []), *cells)
    return table
