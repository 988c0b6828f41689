"""Tasks that wait in the kernel and cannot be interrupted: state D.  Pure.

A task that was switched off the processor as often as before, and is in state D again, has been
there all the time: the rule of the kernel's own hung-task detector (kernel/hung_task.c).  It is
looked at from time to time, so what is told is the least that it was.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

UNINTERRUPTIBLE = "D"


class Task(msgspec.Struct, frozen=True):
    """One task, as ``/proc`` shows it at one moment.

    Attributes:
        pid: Its number.
        name: Its command.
        state: One letter (proc_pid_stat(5)).
        started: When it was started, in clock ticks since boot: tells a number that was used again.
        switches: How often it gave up the processor of its own will.
    """

    pid: int
    name: str
    state: str
    started: int
    switches: int = 0


class Blocked(msgspec.Struct, frozen=True):
    """A task in state D.

    Attributes:
        pid: Its number.
        name: Its command.
        since_s: When it was first seen so, by the clock of who looked.
        for_s: For how long it has been so at least.
    """

    pid: int
    name: str
    since_s: float
    for_s: float


class _Seen(msgspec.Struct, frozen=True):
    task: Task
    at_s: float


class Blockage:
    """Keeps the tasks in state D, and the longest that any of them was."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self.longest: Blocked | None = None

    def look(self, tasks: Iterable[Task], now_s: float) -> list[Blocked]:
        """Take what was seen now; return all that are in state D, the longest first."""
        before, self._seen = self._seen, {}
        for task in tasks:
            if task.state != UNINTERRUPTIBLE:
                continue
            known = before.get(task.pid)
            same = known is not None and _rest(known.task) == _rest(task)
            self._seen[task.pid] = known if same and known is not None else _Seen(task, now_s)
        found = [
            Blocked(pid, seen.task.name, seen.at_s, now_s - seen.at_s)
            for pid, seen in self._seen.items()
        ]
        found.sort(key=lambda one: (-one.for_s, one.pid))
        if found and (self.longest is None or found[0].for_s > self.longest.for_s):
            self.longest = found[0]
        return found


def _rest(task: Task) -> tuple[int, int]:
    return task.started, task.switches


def parse_stat(text: str, switches: int = 0) -> Task | None:
    """Read a line of ``/proc/PID/stat``; None if it is none (the task is gone)."""
    head, bracket, rest = text.rpartition(")")
    number, opening, name = head.partition("(")
    fields = rest.split()
    if not bracket or not opening or len(fields) < 20 or not number.strip().isdigit():
        return None
    return Task(int(number), name, fields[0], int(fields[19]), switches)
