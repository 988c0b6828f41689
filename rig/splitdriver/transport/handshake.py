"""Who may become the other end: handshakes that hold up nobody, and the gate of the back end."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from rig.errors import ProtocolError, RemoteProtocolError
from rig.net.accepting import Accepting
from rig.reactor import READABLE, WRITABLE, Reactor
from rig.splitdriver.session import DEAD_AFTER_S
from rig.splitdriver.transport.link import SocketStream, Stream, refuse

_log = logging.getLogger("rig.link")

MAX_PENDING = 16
"""So many may be proving at a time who they are.  The eldest makes room for the next: an honest
handshake is over long before fifteen others have come."""

Ready = Callable[[Stream, str], None]
Failed = Callable[[str], None]


class Unproven(Stream, Protocol):
    """A stream whose other end has yet to prove who it is, as a `TlsStream`."""

    def advance(self) -> bool:
        """Go on as far as possible now; return whether it is done."""

    meets_plain: bool
    """Whether the other end has begun without TLS: it can still be told so."""

    @property
    def waits_for_room(self) -> bool:
        """Whether it goes on when the descriptor becomes writable."""

    @property
    def peer_names(self) -> tuple[str, ...]:
        """Who the other end is, once it is done."""


class Security(Protocol):
    """Says what a connection must go through; `rig.splitdriver.transport.security` has it."""

    def wrap(self, connection: socket.socket) -> Unproven | None:
        """Return the stream that proves who is there, or None where nobody need prove it."""

    def admit(self, names: tuple[str, ...]) -> str:
        """Return the name under which the other end is wanted.

        Raises:
            RemoteProtocolError: It is not wanted.
        """


class Handshake:
    """One connection, from its first octet until it is known who is there.

    Args:
        connection: Connected socket; belongs to the handshake until one of the two is called.
        security: What to go through.
        reactor: Waits.
        ready: Called with the stream and the proven name; an empty one where nothing is proven.
        failed: Called with the reason when the connection has been closed instead.
        deadline_s: After so long it has failed.
    """

    def __init__(
        self,
        connection: socket.socket,
        security: Security,
        reactor: Reactor,
        *,
        ready: Ready,
        failed: Failed,
        deadline_s: float = DEAD_AFTER_S,
    ) -> None:
        self._connection = connection
        self._security = security
        self._reactor = reactor
        self._ready = ready
        self._failed = failed
        self._deadline_s = deadline_s
        self._stream = security.wrap(connection)
        self._open = True

    def start(self) -> None:
        """Begin; `ready` or `failed` may be called before this returns."""
        if self._stream is None:
            self._open = False
            self._ready(SocketStream(self._connection), "")
            return
        self._reactor.at(self._timer, time.monotonic() + self._deadline_s, self._late)
        self._go_on(self._stream)

    def close(self, reason: str = "The handshake was given up.") -> None:
        """Give it up; afterwards, or a second time, nothing happens."""
        if self._open:
            self._leave()
            (self._stream or self._connection).close()
            self._failed(reason)

    @property
    def _timer(self) -> str:
        return f"handshake-{id(self)}"

    def _late(self) -> None:
        self.close(f"The other end did not end its TLS handshake in {self._deadline_s:g} s.")

    def _leave(self) -> None:
        self._open = False
        self._reactor.unwatch(self._connection)
        self._reactor.cancel(self._timer)

    def _go_on(self, stream: Unproven) -> None:
        try:
            done = stream.advance()
        except ProtocolError as error:
            if stream.meets_plain:
                self._leave()
                refuse(
                    SocketStream(self._connection),
                    "This end speaks TLS, and the other one does not.",
                )
                self._failed(str(error))
                return
            self.close(str(error))
            return
        except OSError as error:
            self.close(f"The connection broke during the TLS handshake: {error.strerror}.")
            return
        if done:
            self._judge(stream)
            return
        room = WRITABLE if stream.waits_for_room else 0
        self._reactor.watch(self._connection, READABLE | room, lambda _: self._go_on(stream))

    def _judge(self, stream: Unproven) -> None:
        self._leave()
        try:
            name = self._security.admit(stream.peer_names)
        except RemoteProtocolError as error:
            refuse(stream, str(error))
            self._failed(str(error))
            return
        self._ready(stream, name)


class Gate:
    """Where front ends come: whoever has proved that he may is handed on, others are sent away.

    Args:
        listener: Non-blocking and listening; belongs to the gate.
        security: What they must go through.
        reactor: Waits.
        admitted: Called with a stream, and who is there: the proven name, or the address.
        rejected: Called with an address and the reason why he was sent away.
    """

    def __init__(
        self,
        listener: socket.socket,
        security: Security,
        reactor: Reactor,
        *,
        admitted: Callable[[Stream, str], None],
        rejected: Callable[[str, str], None],
    ) -> None:
        self._security = security
        self._reactor = reactor
        self._admitted = admitted
        self._rejected = rejected
        self._pending: dict[int, Handshake] = {}
        self._count = 0
        self._accepting = Accepting(listener, reactor, self._on_caller)

    @property
    def place(self) -> dict[str, object]:
        """See `rig.splitdriver.transport.meeting.Door.place`."""
        host, port = self._accepting.address
        return {"host": host, "port": port}

    def lost(self, _reason: str) -> None:
        """The one who was let in is gone: who is next calls by himself."""

    def close(self) -> None:
        """Let nobody in any more."""
        self._accepting.close()
        for handshake in list(self._pending.values()):
            handshake.close("The back end is being stopped.")

    def _on_caller(self, connection: socket.socket, address: Any) -> None:
        if len(self._pending) >= MAX_PENDING:
            eldest = next(iter(self._pending.values()))
            eldest.close(f"{MAX_PENDING} others came before it proved who it is.")
        self._count += 1
        number, caller = self._count, str(address[0] if address else "somebody")

        def ready(stream: Stream, name: str) -> None:
            self._pending.pop(number, None)
            self._admitted(stream, name or caller)

        def failed(reason: str) -> None:
            self._pending.pop(number, None)
            _log.warning("sent %s away: %s", caller, reason)
            self._rejected(caller, reason)

        self._pending[number] = handshake = Handshake(
            connection, self._security, self._reactor, ready=ready, failed=failed
        )
        handshake.start()
