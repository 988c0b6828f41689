"""A machine's serial console: kept, time-stamped, searched, and watched for a kernel's last words.

`Console` has no thread and no socket of its own: bytes are fed in.  `pump` is the loop that
feeds it from a socket.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rig.errors import LostVMError
from rig.lab.health import Health

KEPT_LINES = 5000
"""So many lines stay in memory for `Console.wait_for`; the log file has all of them."""

EXCERPT_BEFORE_LINES = 5
EXCERPT_AFTER_LINES = 60
"""How much of the console goes into the report of a crash: an oops on x86-64 has about 50 lines."""

QUIET_S = 1.0
"""A crash report is taken to be complete when the console is silent for so long."""

_CRASH = re.compile(
    r"Kernel panic - "
    r"|\bOops: "
    r"|\bBUG: "
    # die(): "general protection fault, ...: 0000 [#1] PREEMPT SMP" (arch/x86/kernel/dumpstack.c)
    r"|: [0-9a-f]{4} \[#\d+\]"
    # check_hung_task(), kernel/hung_task.c
    r"|task .* blocked for more than \d+ seconds"
)
_CRASH_END = re.compile(r"---\[ end Kernel panic")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>c]|[\x00-\x08\x0b-\x1a\x1c-\x1f]")


def clean(line: bytes) -> str:
    """Return a console line as text, without control sequences and line ends."""
    return _ESCAPES.sub("", line.decode("utf-8", "replace").rstrip("\r\n"))


class Console:
    """What a machine printed since it was powered on.

    Args:
        name: The machine's name, for messages.
        log: The file that gets every line with the station's time; it is appended to.
        health: Is told of a crash and of the console's end.
        clock: Returns the time, in s since 1970.
    """

    def __init__(
        self, name: str, log: Path, health: Health, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = name
        self.log = log
        self.health = health
        self._clock = clock
        self._changed = threading.Condition()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._count = 0
        self._rest = b""
        self._unread = bytearray()
        self._crash: list[str] | None = None
        self._crash_line = ""
        self._file = log.open("a", encoding="utf-8", buffering=1)

    @property
    def position(self) -> int:
        """How many lines came so far; give it to `wait_for` to look at later lines only."""
        return self._count

    def tail(self, lines: int = 20) -> list[str]:
        """Return the last lines, the unfinished one included."""
        with self._changed:
            kept = [*self._lines, clean(self._rest)] if self._rest else list(self._lines)
        return kept[-lines:]

    def since(self, position: int) -> list[str]:
        """Return the finished lines from line number ``position`` on, as far as they are kept."""
        with self._changed:
            first = self._count - len(self._lines)
            return list(self._lines)[max(position - first, 0) :]

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the machine."""
        with self._changed:
            self._unread += data
            del self._unread[:-65536]
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(clean(line))
            self._changed.notify_all()

    def quiet(self) -> None:
        """Say that nothing came for `QUIET_S`: a crash report under way is complete."""
        with self._changed:
            self._report_crash()

    def end(self, reason: str) -> None:
        """Say that nothing will come any more, and why."""
        with self._changed:
            if self._rest:
                self._take(clean(self._rest))
                self._rest = b""
            self._report_crash()
            with suppress(OSError):
                self._file.close()
        self.health.lose(LostVMError(reason, hint=self._excerpt_of(self.tail())))
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, pattern: str, deadline_s: float, since: int = 0) -> str:
        """Wait for a line in which the regular expression ``pattern`` is found.

        Lines that came already count, from line number ``since`` on; so does the unfinished last
        line, which may be a prompt.

        Returns:
            The line.

        Raises:
            LostVMError: The machine crashed or ended, or did not print it within ``deadline_s``.
        """
        expression = re.compile(pattern)
        until = time.monotonic() + deadline_s
        unwatch = self.health.watch(self._wake)
        try:
            with self._changed:
                while True:
                    line, since = self._search(expression, since)
                    if line is not None:
                        return line
                    self.health.check()
                    rest_s = until - time.monotonic()
                    if rest_s <= 0:
                        break
                    self._changed.wait(rest_s)
        finally:
            unwatch()
        raise LostVMError(
            f"Machine {self.name!r} did not print {pattern!r} on its console in {deadline_s:g} s.",
            hint=self._excerpt_of(self.tail()),
        )

    def check_crash(self, deadline_s: float) -> None:
        """Return if the kernel has not crashed, as far as it has said; its last words are awaited.

        Raises:
            LostVMError: It has, or another loss came before that.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._crash is None, deadline_s)
            crashed = bool(self._crash_line)
        if crashed:
            self.health.check()

    def read_raw(self, max_bytes: int, deadline_s: float) -> bytes:
        """Take up to ``max_bytes`` that nobody has read yet; b"" if none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._unread or self.health.lost, deadline_s)
            data = bytes(self._unread[:max_bytes])
            del self._unread[:max_bytes]
        return data

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _search(self, expression: re.Pattern[str], since: int) -> tuple[str | None, int]:
        first = self._count - len(self._lines)
        for number in range(max(since, first), self._count):
            line = self._lines[number - first]
            if expression.search(line):
                return line, number
        rest = clean(self._rest)
        return (rest if rest and expression.search(rest) else None), self._count

    def _take(self, line: str) -> None:
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        with suppress(OSError):  # a full disk costs lines of the log, and not the watch
            self._file.write(f"{at.replace('+00:00', 'Z')} {line}\n")
        self._lines.append(line)
        self._count += 1
        if self._crash is None and not self.health.lost and _CRASH.search(line):
            self._crash_line = line
            self._crash = list(self._lines)[-EXCERPT_BEFORE_LINES - 1 : -1]
        if self._crash is None:
            return
        self._crash.append(line)
        full = len(self._crash) >= EXCERPT_BEFORE_LINES + EXCERPT_AFTER_LINES
        if full or _CRASH_END.search(line):
            self._report_crash()

    def _report_crash(self) -> None:
        if self._crash is None:
            return
        excerpt, self._crash = self._crash, None
        self.health.lose(
            LostVMError(
                f"The kernel of machine {self.name!r} crashed: {self._crash_line.strip()}",
                hint=self._excerpt_of(excerpt),
            )
        )
        self._changed.notify_all()

    def _excerpt_of(self, lines: list[str]) -> str:
        if not lines:
            return f"Its console printed nothing ({self.log})."
        return "\n".join([f"Its console ({self.log}) says:", *lines])


def pump(source: socket.socket, console: Console, reason: Callable[[], str]) -> None:
    """Feed the console from a socket until its other end closes; then end the console.

    Args:
        source: The serial port's socket.
        console: Where the bytes go.
        reason: Asked once, at the end: the sentence that says why it came.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while True:
            if not selector.select(QUIET_S):
                console.quiet()
                continue
            try:
                data = source.recv(65536)
            except OSError:
                break
            if not data:
                break
            console.feed(data)
    console.end(reason())
