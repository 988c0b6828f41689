"""A stream of the cable's with its buffers: never blocks, and knows what its peer has read."""

from __future__ import annotations

import fcntl
import logging
import socket
import termios
from collections import deque
from collections.abc import Callable

from rig.buffers import ReceiveBuffer
from rig.cable.usbredir.vocabulary import Data
from rig.reactor import READABLE, WRITABLE, Reactor

_log = logging.getLogger("rig.cable")

MAX_PIECES = 64
"""In one call of sendmsg; IOV_MAX is 1024."""


class Pipe:
    """A stream with its buffers.

    Args:
        stream: Connected; it becomes non-blocking.
        reactor: Waits.
        readable: Called when there is something to `fill`.
    """

    def __init__(
        self, stream: socket.socket, reactor: Reactor, readable: Callable[[], None]
    ) -> None:
        stream.setblocking(False)
        self._stream = stream
        self._reactor = reactor
        self._readable = readable
        self.buffer = ReceiveBuffer()
        self._waiting: deque[Data] = deque()
        self._blocked = False
        reactor.watch(stream, READABLE, self._ready)

    def fill(self) -> bool:
        """Receive all that has come; False once the other end has closed."""
        while True:
            try:
                count = self._stream.recv_into(self.buffer.space())
            except BlockingIOError:
                return True
            except OSError as error:
                # Whatever has become of the connection - reset, timed out, no route - is its end.
                _log.warning("a connection of the cable is lost: %s", error.strerror)
                return False
            if count == 0:
                return False
            self.buffer.received(count)

    def send(self, pieces: list[Data]) -> None:
        """Send octets, now or when there is room; the list is emptied."""
        self._waiting += pieces
        pieces.clear()
        if not self._blocked:
            self._flush()

    @property
    def read(self) -> bool:
        """Whether the other end, of this machine, has read all that was sent.

        A UNIX socket's SIOCOUTQ counts what its peer has not read (``unix_outq_len``).
        """
        if self._waiting:
            return False
        answer = fcntl.ioctl(self._stream, termios.TIOCOUTQ, bytes(4))
        return answer == bytes(4)

    def close(self) -> None:
        """End the stream."""
        self._reactor.unwatch(self._stream)
        self._stream.close()

    def _ready(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if events & ~WRITABLE:
            self._readable()

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting:
            try:
                sent = self._stream.sendmsg([*waiting][:MAX_PIECES])
            except BlockingIOError:
                break
            except OSError:
                waiting.clear()  # its end is told by reading
                break
            while sent > 0:
                first = waiting.popleft()
                if len(first) > sent:
                    waiting.appendleft(memoryview(first)[sent:])
                sent -= len(first)
        if self._blocked != bool(waiting):
            self._blocked = bool(waiting)
            events = READABLE | WRITABLE if waiting else READABLE
            self._reactor.watch(self._stream, events, self._ready)
