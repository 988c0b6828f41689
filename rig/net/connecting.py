"""One attempt to connect to a host that holds up nobody: neither does its name, nor its silence."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from rig.helper_thread import HelperThread
from rig.reactor import READABLE, WRITABLE, Reactor

CONNECT_DEADLINE_S = 2.0
"""For each of a host's addresses."""

Place = tuple[int, Any]
"""An address family, and an address of that family as `socket.socket.connect` takes it."""


class Connecting:
    """Tries one address of a host after the other.

    Args:
        back: Name or address, and port.
        reactor: Waits.
        connected: Called with a non-blocking socket.
        failed: Called with the reason instead, which is the last address's.
    """

    def __init__(
        self,
        back: tuple[str, int],
        reactor: Reactor,
        *,
        connected: Callable[[socket.socket], None],
        failed: Callable[[str], None],
    ) -> None:
        self._back = back
        self._reactor = reactor
        self._connected = connected
        self._failed = failed
        self._resolver: HelperThread | None = None
        self._places: list[Place] = []
        self._reason = ""
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Begin; one of the two may be called before this returns."""
        try:
            self._places = _places(self._back, socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            self._ask()
        else:
            self._try_next()

    def close(self) -> None:
        """Give it up; neither is called any more."""
        self._drop_resolver()
        self._drop_socket()
        self._reactor.cancel(self._timer)

    def _ask(self) -> None:
        """Ask for the name's addresses.  Whoever knows them may be slow to answer."""
        try:
            self._resolver = HelperThread("name of the back end")
        except OSError as error:  # no descriptor left
            self._failed(os.strerror(error.errno or errno.EIO))
            return
        self._reactor.watch(self._resolver, READABLE, self._on_resolved)
        self._resolver.do(self._resolve)

    def _resolve(self) -> None:
        try:
            self._places = _places(self._back)
        except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
            self._reason = getattr(error, "strerror", None) or str(error)

    def _on_resolved(self, _: int) -> None:
        self._drop_resolver()
        self._try_next()

    def _try_next(self) -> None:
        while self._places:
            family, address = self._places.pop(0)
            try:
                trial = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError as error:  # no descriptor left, or no such family here
                self._reason = os.strerror(error.errno or errno.EIO)
                continue
            self._socket = trial
            number = trial.connect_ex(address)
            if number == errno.EINPROGRESS:
                self._reactor.watch(trial, WRITABLE, self._on_answer)
                late = time.monotonic() + CONNECT_DEADLINE_S
                self._reactor.at(self._timer, late, self._on_silence)
                return
            if self._answered(trial, number):
                return
        self._failed(self._reason)

    def _on_answer(self, _: int) -> None:
        trial = self._socket
        assert trial is not None
        self._reactor.unwatch(trial)
        self._reactor.cancel(self._timer)
        if not self._answered(trial, trial.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            self._try_next()

    def _answered(self, trial: socket.socket, number: int) -> bool:
        if number == 0:
            self._socket = None
            self._connected(trial)
            return True
        self._reason = os.strerror(number)
        self._drop_socket()
        return False

    def _on_silence(self) -> None:
        self._reason = "timed out"
        self._drop_socket()
        self._try_next()

    @property
    def _timer(self) -> str:
        return f"connecting-{id(self)}"

    def _drop_resolver(self) -> None:
        if self._resolver is not None:
            self._reactor.unwatch(self._resolver)
            self._resolver.close(lambda: None)
            self._resolver = None

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._reactor.unwatch(self._socket)
            self._socket.close()
            self._socket = None


def _places(back: tuple[str, int], flags: int = 0) -> list[Place]:
    found = socket.getaddrinfo(*back, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
