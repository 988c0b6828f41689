"""Prints for a person or a program: a sentence a line, without colours and frames.

What happens by itself (a fault fires, the session ends) comes from other threads.  On a terminal it
gets its own line, and the line that is being typed is drawn anew below it.
"""

from __future__ import annotations

import ctypes
import os
import readline
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from rig.faults.shown import printable

DUMB = "dumb"
QUICK_S = 0.5
"""Steps that take no longer are not told."""


class Speaker:
    """Prints lines, one at a time, from any thread.

    Args:
        answers: For what was asked for.
        aside: For what was not.
        prompt: Of a terminal on which lines are typed; empty if there is none.

    Attributes:
        lost: Whether somebody who reads has gone.
    """

    def __init__(self, answers: TextIO, aside: TextIO, prompt: str = "") -> None:
        self.lost = False
        self.prompt = prompt
        self._answers = answers
        self._aside = aside
        self._lock = threading.RLock()
        self._typing = False
        self._held: list[str] | None = None
        self._redraw = _redrawing()

    def say(self, line: str) -> None:
        """Print an answer."""
        with self._lock:
            self._print(self._answers, line)

    def tell(self, line: str) -> None:
        """Print what was not asked for."""
        with self._lock:
            if self._held is not None:
                self._held.append(line)
            elif self._typing:
                self._above(line)
            else:
                self._print(self._aside, line)

    def reader_has_gone(self) -> bool:
        """Whether whoever read answers has closed his end, also while nothing is printed."""
        with suppress(OSError, ValueError):
            poll = select.poll()
            poll.register(self._answers.fileno(), 0)
            self.lost = self.lost or any(ready & select.POLLERR for _, ready in poll.poll(0))
        return self.lost

    @contextmanager
    def typing(self) -> Iterator[None]:
        """Enclose the time in which a line is typed."""
        with self._lock:
            self._typing = True
        try:
            yield
        finally:
            with self._lock:
                self._typing = False

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Enclose the time in which another program has the terminal; what was to be told waits."""
        with self._lock:
            self._held = []
        try:
            yield
        finally:
            with self._lock:
                held, self._held = self._held or [], None
                for line in held:
                    self.tell(line)

    def _above(self, line: str) -> None:
        """Print a line above the one that is being typed."""
        if os.environ.get("TERM", DUMB) == DUMB:
            self._write(self._aside, "\n")
        else:
            self._write(self._aside, self._erasing())
        self._print(self._aside, line)
        self._redraw()

    def _erasing(self) -> str:
        """Return what erases the line that is being typed, on all rows that it has."""
        columns = 80
        with suppress(OSError):
            columns = os.get_terminal_size(self._aside.fileno()).columns or columns
        shown = len(self.prompt) + len(readline.get_line_buffer())
        return "\r" + "\x1b[A" * (max(0, shown - 1) // columns) + "\x1b[J"

    def _print(self, file: TextIO, line: str) -> None:
        self._write(file, printable(line) + "\n")

    def _write(self, file: TextIO, text: str) -> None:
        # Who reads may have gone: the session ends in order all the same, and it is seen by `lost`.
        try:
            try:
                file.write(text)
            except UnicodeEncodeError:  # what others wrote may have letters that a terminal lacks
                file.write(text.encode("ascii", "backslashreplace").decode())
            file.flush()
        except (OSError, ValueError):
            self.lost = True


class Spoken:
    """Tells the steps of long work, each with its time; implements `rig.progress.Progress`.

    Args:
        tell: Prints a line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See `rig.progress.Progress.step`."""
        began_s = time.monotonic()
        yield
        took_s = time.monotonic() - began_s
        if took_s > QUICK_S:
            self._tell(f"{name}: {took_s:.1f} s.")

    def note(self, text: str) -> None:
        """See `rig.progress.Progress.note`."""
        self._tell(text)


def _redrawing() -> Callable[[], object]:
    """Return what draws prompt and typed line anew, with the cursor where it was.

    Python's own module has no call for it: readline's is taken from the library itself.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(readline.__file__)
        again: Callable[[], object] = library.rl_forced_update_display
        return again
    return readline.redisplay
