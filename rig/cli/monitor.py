"""``rig monitor``: says what was broken in the stream of URBs that a file holds, or still takes."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rig.cli.console import Screen
from rig.cli.exits import Exit
from rig.errors import UserError
from rig.experiments.monitor.follow import Follower, Tell
from rig.experiments.monitor.judging import Judging, Looked
from rig.experiments.monitor.monitor import read_all
from rig.experiments.monitor.run_logs import RunLogs
from rig.integrity.monitors.breach import Breach

NS_PER_S = 1_000_000_000
CALENDAR_FROM_S = 100_000_000
"""Earlier times are not those of a calendar: usbmon's text has another clock, of fewer digits."""


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
    judging = Judging(window, holds=holds)
    screen = Screen(highlight=False)
    run = _run_of(files)
    if follow:

        def tell(path: Path, breach: Breach) -> None:
            if not json:
                screen.print(f"{path}: {line_of(breach)}", markup=False, soft_wrap=True)

        # Ctrl-C is how one who follows says that it is enough.
        with suppress(KeyboardInterrupt):
            _follow(files, run, judging, tell)
    else:
        read_all(files if run is None else run.whole(), judging)
    looked = judging.looked
    if json:
        print(msgspec.json.format(msgspec.json.encode(looked)).decode())
    else:
        for one in looked:
            for line in lines(one)[: 1 if follow else None]:
                screen.print(line, markup=False, soft_wrap=True)
    if any(one.breaches for one in looked):
        raise typer.Exit(Exit.FAIL)


def lines(one: Looked) -> list[str]:
    """Return what is printed of a file."""
    many = f"{len(one.breaches)} breach{'' if len(one.breaches) == 1 else 'es'}"
    head = f"{one.what}: {one.urbs} URBs, {many}."
    return [head, *(f"  {line_of(breach)}" for breach in one.breaches)]


def line_of(breach: Breach) -> str:
    """Return what is printed of a broken rule."""
    return f"event {breach.at}, {_time(breach.t_ns)}, {breach.rule}: {breach.text}"


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


def _follow(files: list[Path], run: RunLogs | None, judging: Judging, tell: Tell) -> None:
    wait = threading.Event().wait
    if run is None:
        Follower(files, judging, tell, may_come=False).follow(lambda: False, wait)
        return
    Follower(run.files, judging, tell, may_come=True).follow(lambda: run.over, wait)
    if run.complete:
        for breach in judging.finish():
            tell(run.directory, breach)


def _time(t_ns: int) -> str:
    seconds, rest = divmod(t_ns, NS_PER_S)
    if seconds < CALENDAR_FROM_S:
        return f"{t_ns / NS_PER_S:.6f} s"
    at = datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
    return f"{at}.{rest // 1000:06} UTC"
