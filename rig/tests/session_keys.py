"""Measure a manual session on the full screen: its start, and its answers to keys.

    python -m rig.tests.session_keys                            # each key five times, on 160 by 50
    python -m rig.tests.session_keys --columns 80 --lines 24 --times 9

The program runs as a person would run it: in a pseudo-terminal, with two guests and a workload that
writes all the while.  A time is from the writing of the key to the terminal until the terminal has
got all that makes it show what the key brings; whatever else the station's processors do is in it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rig.arguments import ArgumentParser
from rig.cli.main import end_with
from rig.tests.harness.emulated import Emulated

START_DEADLINE_S = 300.0
END_DEADLINE_S = 300.0
COLUMNS, LINES = 80, 24
"""The smallest screen."""
ESCAPE, ENTER = "\x1b", "\r"


class Press(NamedTuple):
    """A key and its answer.

    Attributes:
        what: It does.
        keys: What the terminal sends.
        shows: What is on the screen then, and was not before.
    """

    what: str
    keys: str
    shows: str


PRESSES = (
    Press("open the help", "?", "Escape closes"),
    Press("open the palette", "\x10", "All: type"),
    Press("search the ready faults", "r", "Ready faults: type"),
    Press("choose a workload", "w", "Workload: type"),
    Press("open the dialog of a fault", "a", "Arm a fault"),
)


def main() -> int:
    """Measure, and print a row for each key; return the session's exit status."""
    parser = ArgumentParser(prog="python -m rig.tests.session_keys", description=__doc__)
    parser.add_argument("--columns", type=int, default=160)
    parser.add_argument("--lines", type=int, default=50)
    parser.add_argument("--times", type=int, default=5, help="each key is pressed")
    wishes = parser.parse_args()
    if wishes.columns < COLUMNS or wishes.lines < LINES:
        parser.error(f"the screen needs {COLUMNS} columns and {LINES} lines")
    if wishes.times < 1:
        parser.error("--times must be 1 or more")
    with tempfile.TemporaryDirectory(prefix="session-keys-") as directory:
        out = Path(directory, "run")
        argv = [sys.executable, "-m", "rig", "session", "--out", str(out)]
        with closing(Emulated(argv, wishes.columns, wishes.lines)) as terminal:
            start_s = terminal.until(lambda text: "LIVE" in text, START_DEADLINE_S)
            print(f"Live after {start_s:.1f} s.", flush=True)
            for what, took_s in measure(terminal, wishes.times):
                middle, most = (1000 * figure for figure in (median(took_s), max(took_s)))
                print(f"{what:28}median {middle:4.0f} ms, longest {most:4.0f} ms", flush=True)
            terminal.press("q", lambda text: "Leave the session" in text)
            terminal.press(ENTER, lambda text: "The session ends" in text)
            return terminal.end(END_DEADLINE_S)


def measure(terminal: Emulated, times: int) -> Iterator[tuple[str, list[float]]]:
    """Press each key so many times; yield what it does, and the times in s."""
    away_s: list[float] = []
    for what, keys, shows in PRESSES:
        took_s = []
        for _ in range(times):
            terminal.settle()
            took_s.append(terminal.answer(keys, partial(has, shows)))
            terminal.settle()
            away_s.append(terminal.answer(ESCAPE, partial(lacks, shows)))
        yield what, took_s
    yield "close any of them", away_s
    terminal.settle()
    terminal.answer(":", lambda _: True)
    took_s = []
    for count in range(1, times + 1):
        terminal.settle()
        took_s.append(terminal.answer("~", partial(has, count * "~")))
    yield "type a character", took_s
    terminal.answer(ESCAPE, lambda _: True)
    terminal.settle()


def has(part: str, text: str) -> bool:
    """Say whether a text has such a part."""
    return part in text


def lacks(part: str, text: str) -> bool:
    """Say whether a text has no such part."""
    return part not in text


if __name__ == "__main__":
    end_with(main)
