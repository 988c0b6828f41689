"""Notices that a workload makes no progress, and who waits for what in the kernel.

A thread beside the workload: it needs nothing of it but a sign of life now and then.  It costs a
look at the process's own tasks once a second; all tasks are looked at only when the workload has
been quiet for a while.  An edge: it reads ``/proc``, as root.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from rig.integrity.tasks import UNINTERRUPTIBLE, Blockage, Blocked, Task, parse_stat

STALL_S = 15.0
"""Without a sign of life for so long, a workload makes no progress."""
QUIET_S = 3.0
"""From then on all tasks are looked at."""
_LOOK_S = 1.0
_MOST_TASKS = 8
_MOST_FRAMES = 12
_PROC = Path("/proc")


class Stack(msgspec.Struct, frozen=True):
    """A task in state D, and where in the kernel it is.

    Attributes:
        pid: Its number.
        name: Its command.
        for_s: For how long at least.
        stack: Functions, the innermost first; empty if the kernel does not tell.
    """

    pid: int
    name: str
    for_s: float
    stack: list[str]


class Watchdog:
    """Watches one workload at a time.

    Args:
        emit: Tells an event: its name and fields.  Called from the watchdog's thread.
        stall_s: When to call it a stall.
        look_s: How often to look.
        proc: Where tasks are found.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        emit: Callable[..., None],
        *,
        stall_s: float = STALL_S,
        look_s: float = _LOOK_S,
        proc: Path = _PROC,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._stall_s = stall_s
        self._quiet_s = min(QUIET_S, stall_s)
        self._look_s = look_s
        self._proc = proc
        self._clock = clock
        self._wake = threading.Condition()
        self._step = ""
        self._disk: Path | None = None
        self._moved = ""
        self._ended = False
        self._beat_s = clock()
        self._stalled = False
        self._blockage = Blockage()
        self._told_s = 0.0
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        with self._wake:
            self._ended = True
            self._wake.notify_all()
        self._thread.join()

    @contextlib.contextmanager
    def watching(self, step: str, disk: Path | None = None) -> Iterator[None]:
        """Watch while a step is taken.

        Args:
            step: In words.
            disk: The ``stat`` of a block device (Documentation/block/stat.rst) whose transfers
                are progress, too: for a step that is taken by another program.
        """
        with self._wake:
            self._step, self._beat_s, self._disk = step, self._clock(), disk
            self._wake.notify_all()
        try:
            yield
        finally:
            self._end_step()

    def beat(self) -> None:
        """There is progress."""
        self._beat_s = self._clock()

    def _end_step(self) -> None:
        with self._wake:
            step, self._step = self._step, ""
            self._end_stall(step)
            longest = self._blockage.longest
            if longest is not None and longest.for_s > self._told_s:
                self._told_s = longest.for_s
                self._emit(
                    "blocked",
                    step=step,
                    pid=longest.pid,
                    name=longest.name,
                    for_s=round(longest.for_s, 1),
                )

    def _run(self) -> None:
        with self._wake:
            while not self._ended:
                if self._step:
                    self._look()
                self._wake.wait(self._look_s if self._step else None)

    def _look(self) -> None:
        self._look_at_disk()
        now_s = self._clock()
        quiet_s = now_s - self._beat_s
        tasks = self._own() if quiet_s < self._quiet_s else self._all()
        blocked = self._blockage.look(tasks, now_s)
        if quiet_s < self._stall_s:
            self._end_stall(self._step)
        elif not self._stalled:
            self._stalled = True
            stacks = [self._stack(one) for one in blocked[:_MOST_TASKS]]
            self._emit("stalled", step=self._step, quiet_s=round(quiet_s, 1), tasks=stacks)
            # The kernel's log gets all of them with their whole stacks (sysrq, 'w').
            with contextlib.suppress(OSError):
                (self._proc / "sysrq-trigger").write_text("w")

    def _look_at_disk(self) -> None:
        if self._disk is not None:
            with contextlib.suppress(OSError):  # a disk may go away
                moved = self._disk.read_text()
                if moved != self._moved:
                    self._moved = moved
                    self.beat()

    def _end_stall(self, step: str) -> None:
        if self._stalled:
            self._stalled = False
            self._emit("went_on", step=step)

    def _own(self) -> list[Task]:
        return self._tasks(self._proc / "self/task")

    def _all(self) -> list[Task]:
        found = {task.pid: task for task in self._tasks(self._proc)}
        return list({**found, **{task.pid: task for task in self._own()}}.values())

    def _tasks(self, directory: Path) -> list[Task]:
        found = []
        for entry in directory.iterdir():
            if entry.name.isdigit():
                # One that has just ended is of no interest.
                with contextlib.suppress(OSError):
                    task = parse_stat((entry / "stat").read_text(errors="replace"))
                    if task is not None and task.state == UNINTERRUPTIBLE:
                        switches = _switches((entry / "status").read_text(errors="replace"))
                        found.append(msgspec.structs.replace(task, switches=switches))
        return found

    def _stack(self, blocked: Blocked) -> Stack:
        lines: list[str] = []
        with contextlib.suppress(OSError):
            text = (self._proc / str(blocked.pid) / "stack").read_text()
            lines = [line.rpartition("] ")[2] for line in text.splitlines()]
        return Stack(blocked.pid, blocked.name, round(blocked.for_s, 1), lines[:_MOST_FRAMES])


def _switches(status: str) -> int:
    for line in status.splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    return 0
