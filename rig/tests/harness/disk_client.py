"""Runs *on a machine of the lab*, copied there: a writer on a file system, and who watches tasks.

    disk_client.py write DIRECTORY FIRST    write files from number FIRST on until one fails, or
                                            the input ends
    disk_client.py check DIRECTORY COUNT    read the files 0 to COUNT - 1 and tell the bad ones
    disk_client.py watch                    tell on the command ``longest`` of uninterruptible sleep

The writer tells ``synced`` when a file is on the medium, by the word of fsync, and ``failed`` when
one could not be written.
"""

from __future__ import annotations

import os
import random
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from rig.daemon import CommandLines, Events

FILE_BYTES = 128 << 10
LOOK_EVERY_S = 1.0

Task = tuple[str, str]
"""A task's number, and when it started: numbers are used again."""


def data_of(number: int) -> bytes:
    return random.Random(number).randbytes(FILE_BYTES)


def write(events: Events, directory: str, first: str) -> None:
    number = int(first)
    while True:
        try:
            with Path(directory, str(number)).open("wb", buffering=0) as file:
                file.write(data_of(number))
                os.fsync(file.fileno())
        except OSError as error:
            events.emit("failed", number=number, error=str(error))
            return
        events.emit("synced", number=number)
        number += 1
        if select.select([0], [], [], 0)[0]:
            return


def check(events: Events, directory: str, count: str) -> None:
    bad = [n for n in range(int(count)) if Path(directory, str(n)).read_bytes() != data_of(n)]
    events.emit("checked", bad=bad)


def stats() -> Iterator[Path]:
    """Every task's; not by one glob, which a process that ends meanwhile ends with an error."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield from [task / "stat" for task in (process / "task").iterdir()]


class Watcher:
    """Knows who sleeps uninterruptibly, and since when."""

    def __init__(self) -> None:
        self._asleep: dict[Task, tuple[float, str]] = {}
        self.longest: dict[str, object] = {"seconds": 0.0, "task": "", "switches": ""}

    def look(self) -> None:
        now_s, asleep = time.monotonic(), {}
        for stat in stats():
            try:
                # pid (comm) state ...: comm may hold anything, and starttime is field 22 (proc(5)).
                name, fields = stat.read_text().rsplit(") ", 1)
                words = fields.split()
                if words[0] != "D":
                    continue
                status = stat.with_name("status").read_text()
            except (OSError, ValueError):
                continue  # it has just ended
            switches = " ".join(line for line in status.splitlines() if "switches" in line)
            task = (stat.parent.name, words[19])
            since_s, before = self._asleep.get(task, (now_s, switches))
            # Whoever ran in between sleeps anew.
            asleep[task] = (since_s if before == switches else now_s), switches
            seconds = round(now_s - asleep[task][0], 1)
            if seconds > float(str(self.longest["seconds"])):
                self.longest = {"seconds": seconds, "task": name.split("(", 1)[1]}
        self._asleep = asleep


def watch(events: Events) -> None:
    watcher, lines = Watcher(), CommandLines()
    events.emit("watching")
    while True:
        watcher.look()
        if not select.select([0], [], [], LOOK_EVERY_S)[0]:
            continue
        text = os.read(0, 4096)
        if not text:
            return
        for command in lines.feed(text):
            events.answer(command, lambda _: watcher.longest)


def main(what: str, *arguments: str) -> int:
    events = Events(sys.stdout.buffer)
    programs: dict[str, Callable[..., None]] = {"write": write, "check": check, "watch": watch}
    programs[what](events, *arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
