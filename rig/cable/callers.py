"""Who connects to the cable says a secret first; nobody waits for one who does not."""

from __future__ import annotations

import hmac
import logging
import socket
import time
from collections.abc import Callable

from rig.reactor import READABLE, Reactor

_log = logging.getLogger("rig.cable")

SECRET_DEADLINE_S = 3.0
MAX_CALLERS = 16
"""So many may be about to say it; one more, and the one who has been silent longest goes."""


class Callers:
    """Takes connections, and hands on those that know the secret.

    Args:
        listener: Where they come; closed by `close`.
        secret: What each says first.
        reactor: Waits.
        welcome: Takes the stream of one who has said it; what follows it has not been read.
    """

    def __init__(
        self,
        listener: socket.socket,
        secret: bytes,
        reactor: Reactor,
        welcome: Callable[[socket.socket], None],
    ) -> None:
        listener.setblocking(False)  # who hangs up at once leaves nothing to accept
        self._listener = listener
        self._secret = secret
        self._reactor = reactor
        self._welcome = welcome
        self._said: dict[socket.socket, bytes] = {}
        reactor.watch(listener, READABLE, lambda _: self._accept())

    def close(self) -> None:
        """Take no more connections, and drop those that have not said it."""
        for stream in list(self._said):
            self._forget(stream).close()
        self._reactor.unwatch(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError as error:
            _log.warning("a connection came to nothing: %s", error)
            return
        stream.setblocking(False)
        if len(self._said) == MAX_CALLERS:
            self._turn_away(next(iter(self._said)))
        self._said[stream] = b""
        deadline_s = time.monotonic() + SECRET_DEADLINE_S
        self._reactor.at(_timer(stream), deadline_s, lambda: self._turn_away(stream))
        self._reactor.watch(stream, READABLE, lambda _: self._hear(stream))

    def _hear(self, stream: socket.socket) -> None:
        said = self._said[stream]
        try:
            more = stream.recv(len(self._secret) - len(said))
        except BlockingIOError:
            return
        except OSError:
            more = b""
        said = self._said[stream] = said + more
        if more and len(said) < len(self._secret):
            return
        if hmac.compare_digest(said, self._secret):
            self._welcome(self._forget(stream))
        else:
            self._turn_away(stream)

    def _turn_away(self, stream: socket.socket) -> None:
        _log.warning("somebody connected who is not the gadget's machine")
        self._forget(stream).close()

    def _forget(self, stream: socket.socket) -> socket.socket:
        del self._said[stream]
        self._reactor.cancel(_timer(stream))
        self._reactor.unwatch(stream)
        return stream


def _timer(stream: socket.socket) -> str:
    return f"secret-{stream.fileno()}"
