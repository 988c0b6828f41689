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


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Polled(Protocol):
    """Something that is ready without a descriptor's saying so, unless it is asked to."""

    def pending(self) -> bool:
        """Whether it is ready now."""

    def rest(self) -> bool:
        """Ask it to say by its descriptor when it is ready; false if it is ready already."""

    def rise(self) -> None:
        """It need not say so any more."""


class Reactor:
    """Waits, and calls handlers.

    Args:
        look_s: After the last thing that happened, look again and again for so long before waiting.
            Looking takes microseconds where being woken takes a hundred times as long; but whoever
            looks takes a processor.
    """

    def __init__(self, look_s: float = 0.0) -> None:
        self._look_s = look_s
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self._next_timer = math.inf
        self._stopping = False
        self._polled: tuple[Polled, Handler] | None = None
        self._look_until = 0.0

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

    def poll(self, what: Polled, handler: Handler) -> None:
        """Call `handler` also when this is ready; there can be one such thing at a time."""
        self._polled = (what, handler)

    def unpoll(self) -> None:
        """Look at nothing any more but at descriptors."""
        self._polled = None

    def at(self, name: str, when: float, call: Callable[[], None]) -> None:
        """Call something once at a time of `time.monotonic`; replaces a timer of that name."""
        self._timers[name] = (when, call)
        self._find_next_timer()

    def cancel(self, name: str) -> None:
        """Forget a timer; not having it is no error."""
        self._timers.pop(name, None)
        self._find_next_timer()

    def stop(self) -> None:
        """End `run` after the current handler."""
        self._stopping = True

    def run(self) -> None:
        """Wait and call until `stop`."""
        while not self._stopping:
            for number, events in self._wait():
                # A handler that ran before in this round may have closed this one's descriptor.
                if (handler := self._handlers.get(number)) is not None:
                    handler(events)
            self._run_timers()

    def close(self) -> None:
        """Forget everything."""
        self._epoll.close()
        self._handlers.clear()

    def _wait(self) -> list[tuple[int, int]]:
        if self._polled is None and not self._look_s:
            return self._epoll.poll(self._timeout_s())
        while True:
            ready = self._look()
            events = self._epoll.poll(0)
            now = time.monotonic()
            if ready or events:
                self._look_until = now + self._look_s
                return events
            if now >= self._look_until or now >= self._next_timer:
                break
            # Whoever else has work on this processor goes first.
            os.sched_yield()
        if self._polled is None:
            events = self._epoll.poll(self._timeout_s())
        elif self._polled[0].rest():
            events = self._epoll.poll(self._timeout_s())
            self._polled[0].rise()
        self._look_until = time.monotonic() + self._look_s
        return events

    def _look(self) -> bool:
        if self._polled is None:
            return False
        what, handler = self._polled
        ready = what.pending()
        if ready:
            handler(READABLE)
        return ready

    def _timeout_s(self) -> float:
        if self._next_timer == math.inf:
            return -1.0
        return max(0.0, self._next_timer - time.monotonic())

    def _run_timers(self) -> None:
        # Asked after each round of the data path: most of the time nothing is due.
        if self._next_timer == math.inf or (now := time.monotonic()) < self._next_timer:
            return
        for name in [name for name, (when, _) in self._timers.items() if when <= now]:
            _, call = self._timers.pop(name, (now, _nothing))
            call()
        self._find_next_timer()

    def _find_next_timer(self) -> None:
        self._next_timer = min((when for when, _ in self._timers.values()), default=math.inf)


def _nothing() -> None:
    """Stands for a timer that another timer has cancelled."""


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

    reactor.watch(stdin, READABLE, on_input)
