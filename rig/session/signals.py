"""Turns the signals that end a session into an exception in the main thread, whatever it does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUDGE_S = 0.5


class Gone(BaseException):
    """A signal says that the session is to end.  Not an error: nobody is to catch it as one.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def gone_at_signals(handled: threading.Event | None = None) -> Iterator[None]:
    """Raise `Gone` at the first SIGHUP or SIGTERM that comes while nothing long is waited for.

    Args:
        handled: Is set when it was raised.
    """
    told = handled or threading.Event()

    def gone(number: int, frame: FrameType | None) -> None:
        del frame
        if not told.is_set():
            told.set()
            raise Gone(number)

    before = {number: signal.signal(number, gone) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise `Gone` at the first SIGHUP or SIGTERM; those that follow must not disturb the end.

    Python runs its handlers in the main thread, between two of its own steps.  A signal that comes
    just before readline begins to wait for a key would not be seen before that key: so a thread,
    which the kernel tells of each signal, nudges the main one until the handler has run.
    """
    handled = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, handled), name="signals", daemon=True)
    watcher.start()
    try:
        with gone_at_signals(handled):
            yield
    finally:
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        handled.set()
        watcher.join()
        os.close(reader)


def _watch(reader: int, handled: threading.Event) -> None:
    main = threading.main_thread().ident or 0
    while octets := os.read(reader, 64):
        if _SIGNALS & set(octets):
            while not handled.wait(NUDGE_S):
                signal.pthread_kill(main, signal.SIGTERM)


_SIGNALS = frozenset({signal.SIGHUP, signal.SIGTERM})
