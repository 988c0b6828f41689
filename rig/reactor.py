"""One thread that waits for everything: descriptors, a deadline, and the wish to stop.

A thin cover of ``epoll``: the daemons on the data path call the kernel as seldom as they can, so
there is nothing between a descriptor and its handler.
"""

from __future__ import annotations

import math
import os
import select
import sys
import time
from collections.abc import Callable
from typing import Protocol

from rig.daemon import Command, CommandLines, Events, wake_on_signals
from rig.errors import RemoteProtocolError

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
EDGE = select.EPOLLET
HANGUP = select.EPOLLHUP | select.EPOLLERR

Handler = Callable[[int], None]
"""Called with the epoll events that came."""


Wait = Callable[[int, float], list[tuple[int, int]] | None]
"""Waits on a descriptor of epoll for so many seconds, below 0 for ever; returns what happened to
the others' descriptors."""


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Reactor:
    """Waits, and calls handlers."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._gone: set[int] = set()  # unwatched in this round: what it tells of them is stale
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self._next_timer = math.inf
        self._stopping = False
        self._wait: Wait | None = None

    def wait_by(self, wait: Wait) -> None:
        """Let somebody else wait, who may deal with some events himself.

        He returns None if there is nothing that he could do.
        """
        self._wait = wait

    def watch(self, what: int | HasFileno, events: int, handler: Handler) -> None:
        """Call `handler` when a descriptor has one of `events`, or hangs up."""
        number = what if isinstance(what, int) else what.fileno()
        if number in self._handlers:
            self._epoll.modify(number, events)
        else:
            self._epoll.register(number, events)
        self._handlers[number] = handler

    def unwatch(self, what: int | HasFileno) -> None:
        """Stop watching a descriptor; not watching it is no error."""
        number = what if isinstance(what, int) else what.fileno()
        if self._handlers.pop(number, None) is not None:
            self._epoll.unregister(number)
            self._gone.add(number)

    def at(self, name: str, when: float, call: Callable[[], None]) -> None:
        """Call something once at a time of `time.monotonic`; replaces a timer of that name."""
        self._timers[name] = (when, call)
        self._find_next_timer()

    def cancel(self, name: str) -> None:
        """Forget a timer; not having it is no error."""
        self._timers.pop(name, None)
        self._find_next_timer()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def stop(self) -> None:
        """End `run` after the current handler."""
        self._stopping = True

    def run(self) -> None:
        """Wait and call until `stop`."""
        while not self._stopping:
            self._call(self._poll(self._timeout_s()))
            self._run_timers()

    def close(self) -> None:
        """Forget everything."""
        self._epoll.close()
        self._handlers.clear()

    def _poll(self, timeout_s: float) -> list[tuple[int, int]]:
        self._gone.clear()
        ready = self._wait(self._epoll.fileno(), timeout_s) if self._wait is not None else None
        return self._epoll.poll(timeout_s) if ready is None else ready

    def _call(self, ready: list[tuple[int, int]]) -> None:
        for number, events in ready:
            # A handler that ran before in this round may have closed this one's descriptor, and
            # what was opened since may have its number. What is true of that is told again.
            if number not in self._gone and (handler := self._handlers.get(number)) is not None:
                handler(events)

    def _timeout_s(self) -> float:
        if self._next_timer == math.inf:
            return -1.0
        return max(0.0, self._next_timer - time.monotonic())

    def _run_timers(self) -> None:
        # Asked after each round of the data path: most of the time nothing is due.
        if self._next_timer == math.inf or (now := time.monotonic()) < self._next_timer:
            return
        for name, timer in [(n, t) for n, t in self._timers.items() if t[0] <= now]:
            # One that fired before it may have cancelled it, or put it off.
            if self._timers.get(name) is timer:
                del self._timers[name]
                timer[1]()
        self._find_next_timer()

    def _find_next_timer(self) -> None:
        self._next_timer = min((when for when, _ in self._timers.values()), default=math.inf)


def supervise(
    reactor: Reactor, events: Events, obey: Callable[[Command], object], *, supervised: bool
) -> None:
    """Stop the reactor on a signal and, if supervised, on the end of standard input.

    Args:
        reactor: Is stopped.
        events: Where replies go.
        obey: Carries out a command and returns the reply's result.
        supervised: Whether standard input carries commands (`rig.daemon`).
    """
    signals = wake_on_signals()
    reactor.watch(signals, READABLE, lambda _: reactor.stop())
    if not supervised:
        return
    stdin = sys.stdin.fileno()
    lines = CommandLines()

    def on_input(_: int) -> None:
        data = os.read(stdin, 1 << 16)
        if not data:
            reactor.stop()
            return
        try:
            commands = lines.feed(data)
        except RemoteProtocolError as error:
            events.emit("bad-command", error=str(error))
            reactor.stop()
            return
        for command in commands:
            events.answer(command, obey)

    try:
        reactor.watch(stdin, READABLE, on_input)
    except PermissionError:  # a file, or /dev/null: all that will ever come is there
        while not reactor.stopping:
            on_input(READABLE)
