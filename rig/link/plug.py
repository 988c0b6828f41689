"""One end of a connection that is relayed: a socket, what waits for room in it, and its end."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable

from rig.link.actions import Data
from rig.reactor import READABLE, WRITABLE, Reactor

LINGER_S = 5.0
"""An end that is closed may take so long to read what was sent to it before."""
_MAX_PARTS = 64
_ABORT = struct.pack("ii", 1, 0)
"""struct linger: close at once, by RST (socket(7))."""


class Plug:
    """A socket of the relay's.

    Args:
        stream: Connected; it becomes non-blocking.
        reactor: Waits.
        clock_s: The reactor's.
        readable: Called when there is something to read, or the end of it.
        sent: Called when something that had waited is sent.
    """

    def __init__(
        self,
        stream: socket.socket,
        reactor: Reactor,
        clock_s: Callable[[], float],
        *,
        readable: Callable[[], None],
        sent: Callable[[], None],
    ) -> None:
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = stream
        self._reactor = reactor
        self._clock_s = clock_s
        self._readable = readable
        self._sent = sent
        self._reads = True
        self._closing = False
        self._reset = False
        self._waiting: deque[Data] = deque()
        self.backlog_bytes = 0
        self._watch()

    @property
    def is_open(self) -> bool:
        """Whether its socket is not closed yet."""
        return self.stream.fileno() >= 0

    def send(self, data: Data) -> None:
        """Send octets, now or when there is room."""
        self._waiting.append(data)
        self.backlog_bytes += len(data)
        if len(self._waiting) == 1:
            self._flush()

    def read_on(self, wanted: bool) -> None:
        """Read, or leave in the socket what comes."""
        if wanted != self._reads and not self._closing:
            self._reads = wanted
            self._watch()

    def close(self, *, reset: bool = False) -> None:
        """Close when all that waits is sent; by RST if asked for."""
        if self._closing:
            return
        self._closing, self._reset = True, reset
        if not self._waiting:
            self.drop()
            return
        self._watch()
        self._reactor.at(self._timer, self._clock_s() + LINGER_S, self.drop)

    def drop(self) -> None:
        """Close now; a second time is no error."""
        self._closing = True
        self._waiting.clear()
        self._reactor.cancel(self._timer)
        if not self.is_open:
            return
        self._reactor.unwatch(self.stream)
        if self._reset:
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.stream.close()

    @property
    def _timer(self) -> str:
        return f"linger-{id(self)}"

    def _watch(self) -> None:
        waits = bool(self._waiting)
        reads = self._reads and not self._closing
        if waits or reads:
            events = (WRITABLE if waits else 0) | (READABLE if reads else 0)
            self._reactor.watch(self.stream, events, self._on_events)
        else:
            # Not with no events: a hang-up would be told again and again.
            self._reactor.unwatch(self.stream)

    def _on_events(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
            self._sent()
        if events & ~WRITABLE and not self._closing and self._reads:
            self._readable()

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting:
            try:
                sent = self.stream.sendmsg([*waiting][:_MAX_PARTS])
            except BlockingIOError:
                break
            except OSError:
                waiting.clear()  # its end is told by reading
                self.backlog_bytes = 0
                break
            self.backlog_bytes -= sent
            while sent > 0:
                first = waiting.popleft()
                if len(first) > sent:
                    waiting.appendleft(memoryview(first)[sent:])
                sent -= len(first)
        if self._closing and not waiting:
            self.drop()
        elif not self._closing or waiting:
            self._watch()
