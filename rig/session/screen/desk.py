"""The thread that does what is asked for, one thing after the other, while the screen goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import NamedTuple

from rig.errors import RigError
from rig.session.talk.interpreter import Answer


class Reply(NamedTuple):
    """What came of a line.

    Attributes:
        line: As it was asked.
        sentences: The answer.
        good: Whether it was done.
        argv: A program that is to have the terminal now; empty: none.
        leaving: Whether the person wants to leave.
    """

    line: str
    sentences: tuple[str, ...]
    good: bool = True
    argv: tuple[str, ...] = ()
    leaving: bool = False


Heard = Callable[[Reply], None]


class Desk:
    """Takes lines in, and has them done by a thread.

    Args:
        ask: Does a line and answers; may take its time, and raise a `RigError`.
        tell: Is called by the thread with each reply, and who is to hear it.
    """

    def __init__(self, ask: Callable[[str], Answer], tell: Callable[[Reply, Heard], None]) -> None:
        self._ask = ask
        self._tell = tell
        self._lines: queue.SimpleQueue[tuple[str, Heard]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._doing: list[str] = []
        # A daemon thread: what never ends must not keep the process.
        threading.Thread(target=self._run, name="deeds", daemon=True).start()

    @property
    def doing(self) -> tuple[str, ...]:
        """The line that is being done, and those that wait."""
        with self._lock:
            return tuple(self._doing)

    def do(self, line: str, heard: Heard) -> None:
        """Have a line done after those before it; at once back."""
        with self._lock:
            self._doing.append(line)
        self._lines.put((line, heard))

    def _run(self) -> None:
        while True:
            line, heard = self._lines.get()
            reply = self._reply(line)
            with self._lock:
                self._doing.pop(0)
            self._tell(reply, heard)

    def _reply(self, line: str) -> Reply:
        try:
            answer = self._ask(line)
        except RigError as error:
            return Reply(line, (str(error),), good=False)
        except Exception as error:
            # Whatever it is, the session goes on: its data and its verdict are worth more.
            said = f"'{line}' failed inside the rig: {type(error).__name__}: {error}."
            return Reply(line, (said,), good=False)
        return Reply(line, answer.sentences, argv=answer.argv, leaving=answer.leaving)
