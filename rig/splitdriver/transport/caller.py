"""How a front end comes to its back end: again and again, saying nothing twice."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

from rig.net.connecting import Connecting
from rig.reactor import Reactor
from rig.splitdriver.transport.handshake import Handshake, Security
from rig.splitdriver.transport.link import Stream

_log = logging.getLogger("rig.front")

RETRY_S = 0.5
"""A back end that is away is asked so often whether it is there again."""
REFUSED_RETRY_S = 2.0
"""One that does not want us is asked so often: somebody has to mend something first."""


class Caller:
    """Calls a back end until it is reached, and again when `lost` is told.

    Args:
        back: Its address.
        security: What the connection must go through.
        reactor: Waits.
        reached: Called with a stream on which the other end has proved what it must.
    """

    def __init__(
        self,
        back: tuple[str, int],
        security: Security,
        reactor: Reactor,
        reached: Callable[[Stream], None],
    ) -> None:
        self._back = back
        self._security = security
        self._reactor = reactor
        self._reached = reached
        self._connecting: Connecting | None = None
        self._handshake: Handshake | None = None
        self._said = ""
        self._closed = False

    def call(self) -> None:
        """Call now; `reached` may be called before this returns."""
        self._connecting = Connecting(
            self._back, self._reactor, connected=self._connected, failed=self._unanswered
        )
        self._connecting.start()

    def _unanswered(self, reason: str) -> None:
        self._connecting = None
        self._say(f"no answer: {reason}")
        self._call_in(RETRY_S)

    def _connected(self, connection: socket.socket) -> None:
        self._connecting = None
        self._handshake = Handshake(
            connection, self._security, self._reactor, ready=self._ready, failed=self._failed
        )
        self._handshake.start()

    def lost(self, reason: str, *, served: bool) -> None:
        """The link has ended: call again.

        Args:
            reason: Why.
            served: Whether the back end had greeted us.  One that had will have us again at once.
        """
        if served:
            self._said = ""
        self._say(reason)
        self._call_in(RETRY_S if served else REFUSED_RETRY_S)

    def close(self) -> None:
        """Call no more."""
        self._closed = True
        self._reactor.cancel("call")
        if self._connecting is not None:
            self._connecting.close()
        if self._handshake is not None:
            self._handshake.close("The front end is being stopped.")

    def _ready(self, stream: Stream, _name: str) -> None:
        self._handshake = None
        self._reached(stream)

    def _failed(self, reason: str) -> None:
        self._handshake = None
        self._say(reason)
        self._call_in(REFUSED_RETRY_S)

    def _say(self, what: str) -> None:
        if what != self._said and not self._closed:
            self._said = what
            _log.info("no link to %s:%d: %s", *self._back, what)

    def _call_in(self, seconds: float) -> None:
        if not self._closed:
            self._reactor.at("call", time.monotonic() + seconds, self.call)
