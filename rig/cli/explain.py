"""``rig explain``: why a sector of a run is as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rig.errors import UserError

MOST = 5
"""Findings are explained at once."""
MOST_DIGITS = 19
"""No disk has LBAs of more."""


def read_lba(text: str) -> int:
    """Return the LBA that a word on the command line names.

    Raises:
        UserError: It is none.
    """
    if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS:
        return int(text)
    if text.startswith("-") and not text[1:].isdecimal():
        raise UserError(f"No such option: {text}.", hint="'rig explain --help' says what there is.")
    wrong = "an LBA is never negative" if text.startswith("-") else "it is no whole number"
    raise UserError(
        f"'{text}' is no LBA: {wrong}.", hint="Name a 512-byte block of the disk, from 0."
    )


Run = Annotated[Path, typer.Argument(help="A run's directory.")]
Lba = Annotated[
    int | None,
    typer.Argument(
        parser=read_lba, metavar="LBA", help="A 512-byte LBA of the disk; default: what was found."
    ),
]


def explain(run: Run, lba: Lba = None) -> None:
    """Tell what a sector of a run holds, who wrote it, and by which chain of causes.

    Without an LBA: the first sector of each thing that the run found wrong.
    """
    from rig.experiments.explain.recorded import Recorded  # noqa: PLC0415
    from rig.experiments.explain.words import explain as tell  # noqa: PLC0415

    recorded = Recorded(run)
    found = [one.lba for one in recorded.verdict.findings if one.lba is not None]
    wanted = list(dict.fromkeys(found))[:MOST] if lba is None else [lba]
    if lba is not None and recorded.has_journal and lba >= recorded.end_lba:
        raise UserError(
            f"LBA {lba} was neither part of a file of that run nor ever written.",
            hint=f"The last one that was is {recorded.end_lba - 1}.",
        )
    if not wanted:
        typer.echo(f"Verdict: {recorded.verdict.verdict.upper()}; nothing is wrong.")
    for number, one in enumerate(wanted):
        if number:
            typer.echo("")
        for line in tell(recorded, one):
            typer.echo(line)
    if (more := len(set(found)) - MOST) > 0 and lba is None:
        typer.echo(f"\nAnd {more} more findings: see verdict.json, and name an LBA.")
