"""Taking calls: one that there is no descriptor for waits, and does not wake us all the time."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from rig.reactor import READABLE, Reactor

_log = logging.getLogger("rig.net")

BREATH_S = 1.0
"""Without what a call needs, it is looked again after so long, or when something became free."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The call stays in the listener's queue, and would be told again at once (accept(2))."""

Came = Callable[[socket.socket, Any], None]
"""Takes a connected socket, and the caller's address as `socket.socket.accept` returns it."""


class Accepting:
    """Takes calls as long as it is open.

    Args:
        listener: Non-blocking and listening; belongs to it.
        reactor: Waits.
        came: Called for each call.
    """

    def __init__(self, listener: socket.socket, reactor: Reactor, came: Came) -> None:
        self._listener = listener
        self._reactor = reactor
        self._came = came
        self._looks = False
        self._open = True
        self.look_again()

    @property
    def address(self) -> tuple[str, int]:
        """Where it is called: the address and the port."""
        host, port, *_ = self._listener.getsockname()
        return host, port

    def look_again(self) -> None:
        """Take calls again: something has become free.  Of no consequence if it does anyway."""
        if self._open and not self._looks:
            self._looks = True
            self._reactor.cancel(self._timer)
            self._reactor.watch(self._listener, READABLE, lambda _: self._on_call())

    def close(self) -> None:
        """Take no more calls."""
        self._open = False
        self._look_away()
        self._reactor.cancel(self._timer)
        self._listener.close()

    @property
    def _timer(self) -> str:
        return f"accepting-{id(self)}"

    def _look_away(self) -> None:
        if self._looks:
            self._looks = False
            self._reactor.unwatch(self._listener)

    def _on_call(self) -> None:
        try:
            stream, address = self._listener.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                _log.warning("nobody can come in for %g s: %s", BREATH_S, error.strerror)
                self._look_away()
                self._reactor.at(self._timer, time.monotonic() + BREATH_S, self.look_again)
            return  # else: gone again before we looked
        self._came(stream, address)
