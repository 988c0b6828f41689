"""``rig monitor``: says what was broken in the stream of URBs that a file holds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rig.cli.console import Screen
from rig.cli.exits import Exit
from rig.experiments.monitor.monitor import Looked, look

NS_PER_S = 1_000_000_000
CALENDAR_FROM_S = 100_000_000
"""Earlier times are not those of a calendar: usbmon's text has another clock, of fewer digits."""


def monitor(
    files: Annotated[
        list[Path],
        typer.Argument(help="Logs of --urb-log; captures of usbmon: text, pcap, pcapng."),
    ],
    window: Annotated[
        int | None,
        typer.Option(min=1, help="URBs of a bulk endpoint in the controller at a time."),
    ] = None,
    holds: Annotated[
        bool, typer.Option("--hold/--no-hold", help="Whether the policy was hold.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Look for broken rules in streams of URBs; the status is 1 if there are any."""
    looked = look(files, window, holds=holds)
    if json:
        print(msgspec.json.format(msgspec.json.encode(looked)).decode())
    else:
        screen = Screen(highlight=False)
        for one in looked:
            for line in lines(one):
                screen.print(line, markup=False, soft_wrap=True)
    if any(one.breaches for one in looked):
        raise typer.Exit(Exit.FAIL)


def lines(one: Looked) -> list[str]:
    """Return what is printed of a file."""
    many = f"{len(one.breaches)} breach{'' if len(one.breaches) == 1 else 'es'}"
    head = f"{one.what}: {one.urbs} URBs, {many}."
    return [head, *(f"  event {b.at}, {_time(b.t_ns)}, {b.rule}: {b.text}" for b in one.breaches)]


def _time(t_ns: int) -> str:
    seconds, rest = divmod(t_ns, NS_PER_S)
    if seconds < CALENDAR_FROM_S:
        return f"{t_ns / NS_PER_S:.6f} s"
    at = datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
    return f"{at}.{rest // 1000:06} UTC"
