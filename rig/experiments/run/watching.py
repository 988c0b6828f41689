"""Follows both ends' logs of URBs while a run goes on, and has the monitors judge what comes.

The logs come by a ``tail`` on each machine, which writes only when a daemon has written a piece of
its log: a few times a second.  What has come is in the run directory at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rig.errors import MachineError, RigError
from rig.experiments.explain.recorded import URBS
from rig.experiments.run.places import URBS_ON_MACHINE
from rig.integrity.monitors.breach import Breach
from rig.integrity.monitors.online import Counts, OnLine
from rig.integrity.monitors.recent import SeenUrb
from rig.lab.children import end, kill
from rig.lab.daemons import Daemon, Event
from rig.lab.machine import Machine
from rig.report.rundir import RunDirectory
from rig.report.verdict import Watched
from rig.usb.urblog import HEADER

PIECE_BYTES = 1 << 16
QUIET_S = 1.0
ASK_DEADLINE_S = 5.0
END_S = 5.0
NS_PER_S = 1_000_000_000
TAIL = f"tail -c +1 -F {URBS_ON_MACHINE} 2>/dev/null & cat >/dev/null; kill $!"
Find = Callable[[str], Daemon | None]


class Watching:
    """The monitors of one run.  All methods may be called from any thread.

    Args:
        directory: Of the run; gets ``back/urbs.bin`` and ``front/urbs.bin`` as they grow.
        window: Of the back end.
        holds: The policy is ``hold``.
        tell: Told of each broken rule as it is seen, on a thread of its own.
    """

    def __init__(
        self, directory: RunDirectory, window: int, *, holds: bool, tell: Callable[[Breach], None]
    ) -> None:
        self._directory = directory
        self._tell = tell
        self._on_line = OnLine(window, holds=holds)
        self._lock = threading.Lock()
        self._failure: RigError | None = None
        self._followers: list[_Follower] = []
        self._ended = threading.Event()
        self._waker: threading.Thread | None = None

    def start(self, machines: list[Machine], find: Find) -> None:
        """Begin to follow.

        Args:
            machines: Whose daemons, of the machines' names, keep logs.
            find: Returns the daemon of a name that is there now.

        Raises:
            MachineError: A machine is lost.
        """
        for machine in machines:
            path = self.log_of(machine.name)
            path.parent.mkdir(exist_ok=True)
            self._followers.append(_Follower(machine, path, self._take))
        self._waker = threading.Thread(
            target=self._wake, args=(find,), name="urbs-waker", daemon=True
        )
        self._waker.start()

    def stop(self) -> None:
        """Follow no more; what has come stays.  Safe to call again."""
        self._ended.set()
        for follower in self._followers:
            follower.let_go()
        for follower in self._followers:
            follower.stop()

    def log_of(self, end_name: str) -> Path:
        """Return where the log of an end is kept."""
        return self._directory.file(f"{end_name}/{URBS}")

    def conclude(self, whole: list[Path]) -> Watched | None:
        """Judge what has not come yet; no second time what has.

        Args:
            whole: The logs in the run directory that are whole, and of daemons that were there from
                the beginning to the end; both, or what was seen so far is all.

        Returns:
            What was seen; None if the logs do not tell the whole run, and nothing was.

        Raises:
            RigError: A log is damaged.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            both = len(whole) == 2
            for path in whole if both else ():
                taken = self._on_line.taken_bytes(str(path))
                self._on_line.feed(path.read_bytes()[taken:], str(path))
            if both:
                self._on_line.finish()
            breaches = tuple(self._on_line.breaches)
            both = both and not self._on_line.cut
            return Watched(self._on_line.counts.urbs, breaches) if both or breaches else None

    @property
    def counts(self) -> Counts:
        """How far the monitors are."""
        with self._lock:
            return self._on_line.counts

    def last(self, count: int) -> tuple[SeenUrb, ...]:
        """Return the last URBs, the latest last."""
        with self._lock:
            return self._on_line.last(count)

    def events(self, end_name: str) -> list[Event]:
        """Return what was seen broken at an end, as events of that machine's clock."""
        with self._lock:
            return [_event(one) for one in self._on_line.breaches if one.end == end_name]

    def _take(self, path: Path, octets: bytes) -> None:
        with self._lock:
            if self._failure is not None:
                return
            try:
                found = self._on_line.feed(octets, str(path))
            except RigError as error:
                self._failure = error
                return
        for breach in found:
            self._tell(breach)

    def _wake(self, find: Find) -> None:
        """Have a daemon that has become quiet write what it has: it does so by itself only later.

        Under way a log is written several times a second, and nobody is asked.
        """
        while not self._ended.wait(QUIET_S):
            for follower in self._followers:
                daemon = find(follower.name)
                if follower.became_quiet(time.monotonic()) and daemon is not None:
                    with suppress(MachineError):  # it may be what a fault has struck
                        daemon.ask("urbs", ASK_DEADLINE_S)


class _Follower:
    """Follows the log of one machine, on a thread of its own."""

    def __init__(self, machine: Machine, path: Path, take: Callable[[Path, bytes], None]) -> None:
        self.name = machine.name
        self._path = path
        self._take = take
        self._came_s: float | None = None  # the last octets; None: nobody need be asked for more
        self._child = machine.listen(TAIL)
        self._unwatch = machine.health.watch(lambda: kill(self._child))
        self._thread = threading.Thread(target=self._read, name=f"urbs-{self.name}", daemon=True)
        self._thread.start()

    def became_quiet(self, now_s: float) -> bool:
        """Whether octets have come since this was last true, and none for a while."""
        if self._came_s is None or now_s - self._came_s < QUIET_S:
            return False
        self._came_s = None
        return True

    def let_go(self) -> None:
        """Have it end."""
        if self._child.stdin is not None:
            with suppress(BrokenPipeError):
                self._child.stdin.close()

    def stop(self) -> None:
        """See to it that it has ended."""
        self._unwatch()
        end(self._child, END_S)
        self._thread.join(END_S)

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as stream, self._path.open("wb", buffering=0) as kept:
            came_bytes = 0
            while octets := os.read(stream.fileno(), PIECE_BYTES):
                came_bytes += len(octets)
                if came_bytes > len(HEADER):
                    self._came_s = time.monotonic()
                with suppress(OSError):  # a full disk is no reason to see no more
                    kept.write(octets)
                self._take(self._path, octets)


def _event(breach: Breach) -> Event:
    return {
        "event": "broken",
        "t": breach.t_ns / NS_PER_S,
        "broken": breach.rule.value,
        "urb": breach.urb,
        "text": breach.text,
    }


def sentence(breach: Breach) -> str:
    """Return a broken rule as a line of progress."""
    at = time.strftime("%H:%M:%S", time.gmtime(breach.t_ns // NS_PER_S))
    return f"URBs, rule {breach.rule} is broken at {at} UTC, {breach.end} end: {breach.text}"
