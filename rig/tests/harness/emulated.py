"""A program on an emulated terminal: keys in, the screen's text out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import pexpect
import pyte

READ_BYTES = 1 << 16
POLL_S = 0.002
END_POLL_S = 0.2


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

    def press(self, keys: str, shown: Callable[[str], bool], deadline_s: float = 10.0) -> float:
        """Send keys, and wait until the screen has answered; return how long that took, in s."""
        self._child.send(keys)
        return self.until(shown, deadline_s)

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
        end_s = time.monotonic() + deadline_s
        while self._child.isalive():
            assert time.monotonic() < end_s, "it does not end"
            time.sleep(END_POLL_S)

    def close(self) -> None:
        """Take the terminal away, and the program with it if it is still there."""
        self._child.close(force=True)

    def _read(self) -> bool:
        try:
            self._stream.feed(self._child.read_nonblocking(READ_BYTES, POLL_S))
        except pexpect.TIMEOUT:
            return False
        except pexpect.EOF:
            raise AssertionError(f"the program has ended:\n{self.text}") from None
        return True
