"""A program on an emulated terminal: keys in, the screen's text out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import pexpect
import pyte

from rig.tests.harness.until import await_end

READ_BYTES = 1 << 16
POLL_S = 0.002
COLLECT_S = 0.3
"""So long an answer is collected before it is drawn."""


class Emulated:
    """A program that runs in a pseudo-terminal, in front of which a terminal emulator sits.

    Args:
        argv: The program.
        columns: Of the terminal.
        lines: Of the terminal.
    """

    def __init__(self, argv: Sequence[str], columns: int = 160, lines: int = 50) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._child = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            dimensions=(lines, columns),
            env={**os.environ, "TERM": "xterm-256color"},
        )
        # pexpect waits for 50 ms of its own.
        self._child.delaybeforesend = None

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def until(self, shown: Callable[[str], bool], deadline_s: float) -> float:
        """Wait until the screen's text is as it should be; return how long that took, in s."""
        begin_s = time.monotonic()
        while not shown(self.text):
            assert time.monotonic() < begin_s + deadline_s, f"never shown:\n{self.text}"
            self._read()
        return time.monotonic() - begin_s

    def press(self, keys: str, shown: Callable[[str], bool], deadline_s: float = 10.0) -> None:
        """Send keys, and wait until the screen has answered."""
        self._child.send(keys)
        self.until(shown, deadline_s)

    def answer(self, keys: str, shown: Callable[[str], bool], deadline_s: float = 10.0) -> float:
        """Send keys; return after how many s the terminal had all that makes the screen answer.

        What comes is drawn afterwards, since this emulator needs up to 60 ms for a whole screen,
        and a processor for itself: the time is the program's own.
        """
        begin_s = time.monotonic()
        self._child.send(keys)
        answered_s = None
        while answered_s is None:
            assert time.monotonic() < begin_s + deadline_s, f"never shown:\n{self.text}"
            for came_s, data in self._collected():
                self._stream.feed(data)
                if answered_s is None and shown(self.text):
                    answered_s = came_s - begin_s
        return answered_s

    def _collected(self) -> list[tuple[float, bytes]]:
        """What comes within `COLLECT_S`, each piece with when it came."""
        end_s = time.monotonic() + COLLECT_S
        pieces = []
        while time.monotonic() < end_s:
            data = self._came()
            pieces.append((time.monotonic(), data))
        return pieces

    def settle(self, quiet_s: float = 0.3) -> None:
        """Wait until nothing is drawn for a while; a live screen may never be so still."""
        end_s = time.monotonic() + 4 * quiet_s
        last_s = time.monotonic()
        while time.monotonic() < min(end_s, last_s + quiet_s):
            if self._read():
                last_s = time.monotonic()

    def end(self, deadline_s: float) -> int:
        """Wait until the program has ended; return its exit status."""
        end_s = time.monotonic() + deadline_s
        while True:
            assert time.monotonic() < end_s, f"it does not end:\n{self.text}"
            try:
                self._stream.feed(self._child.read_nonblocking(READ_BYTES, 1.0))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
        self._child.close()
        return int(self._child.exitstatus or 0)

    def hang_up(self, deadline_s: float) -> None:
        """Take the terminal away, as a window that is closed does; wait until the program ends.

        The kernel says SIGHUP to the program, and nobody anything else.
        """
        self._child.ptyproc.fileobj.close()
        await_end(self._child.pid, deadline_s)
        self._child.wait()

    def close(self) -> None:
        """Take the terminal away, and the program with it if it is still there."""
        self._child.close(force=True)

    def _read(self) -> bool:
        data = self._came()
        self._stream.feed(data)
        return bool(data)

    def _came(self) -> bytes:
        """What comes within `POLL_S`; nothing if nothing does."""
        try:
            data: bytes = self._child.read_nonblocking(READ_BYTES, POLL_S)
        except pexpect.TIMEOUT:
            return b""
        except pexpect.EOF:
            raise AssertionError(f"the program has ended:\n{self.text}") from None
        return data
