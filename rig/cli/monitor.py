"""``rig monitor``: says what was broken in the stream of URBs that a file holds, or still takes."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rig.cli.console import Screen
from rig.cli.exits import Exit
from rig.errors import UserError
from rig.experiments.monitor.follow import follow_all
from rig.experiments.monitor.judging import Judging
from rig.experiments.monitor.monitor import read_all
from rig.experiments.monitor.run_logs import RunLogs
from rig.experiments.monitor.words import head, lines


def monitor(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Logs of --urb-log; captures of usbmon: text, pcap, pcapng; or a run's directory.",
        ),
    ],
    window: Annotated[
        int | None,
        typer.Option(min=1, help="URBs of a bulk endpoint in the controller at a time."),
    ] = None,
    holds: Annotated[
        bool, typer.Option("--hold/--no-hold", help="Whether the policy was hold.")
    ] = True,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Follow what still grows, until the run ends or Ctrl-C."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array, at the end.")] = False,
) -> None:
    """Look for broken rules in streams of URBs; the status is 1 if there are any."""
    run = _run_of(files)
    judging = Judging(window, holds=holds, alone=run is None and len(files) == 1)
    screen = Screen(highlight=False)
    if follow:

        def say(line: str) -> None:
            if not json:
                screen.print(line, markup=False, soft_wrap=True)

        # Ctrl-C is how one who follows says that it is enough.
        with suppress(KeyboardInterrupt):
            follow_all(run or files, judging, say, threading.Event().wait)
    else:
        read_all(files if run is None else run.whole(), judging)
    looked = judging.looked
    if json:
        print(msgspec.json.format(msgspec.json.encode(looked)).decode())
    else:
        for one in looked:
            for line in [head(one)] if follow else lines(one):
                screen.print(line, markup=False, soft_wrap=True)
    if any(one.breaches for one in looked):
        raise typer.Exit(Exit.FAIL)


def _run_of(files: list[Path]) -> RunLogs | None:
    """Return the run whose directory was named, if one was.

    Raises:
        UserError: More was named.
    """
    directories = [path for path in files if path.is_dir()]
    if not directories:
        return None
    if len(files) > 1:
        raise UserError(
            f"{directories[0]} is a directory, and not all that was named.",
            hint="Name one run's directory, or files.",
        )
    return RunLogs(directories[0])
