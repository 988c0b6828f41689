"""The link between the two ends: a TCP connection that carries frames."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable

from rig.errors import RemoteProtocolError, UserError
from rig.splitdriver.messages import Message, Payload, Refused
from rig.splitdriver.wire import FrameReader, encode

DEFAULT_PORT = 7205
_IOV_MAX = 512


class Outbox:
    """Octets on their way into a non-blocking stream socket, in order and not copied.

    Nearly always the socket takes all at once; only what it leaves is looked at piece by piece.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._parts: list[Payload] = []

    def __bool__(self) -> bool:
        """Whether something still waits for the socket."""
        return bool(self._parts)

    @property
    def backlog_bytes(self) -> int:
        """How many octets wait."""
        return sum(map(len, self._parts))

    def put(self, head: Payload, data: Payload = b"") -> None:
        """Add octets; `flush` sends them."""
        self._parts.append(head)
        if data:
            self._parts.append(data)

    def flush(self) -> None:
        """Send as much as the socket takes now.

        Raises:
            OSError: The connection is broken.
        """
        while self._parts:
            batch = self._parts[:_IOV_MAX]
            try:
                sent = self._socket.sendmsg(batch)
            except BlockingIOError:
                return
            left = sum(map(len, batch)) - sent
            self._parts = self._parts[_IOV_MAX:]
            if left:
                self._parts = [*_tail(batch, left), *self._parts]


def _tail(parts: list[Payload], left: int) -> list[Payload]:
    """Return the last `left` octets of `parts`."""
    kept: list[Payload] = []
    for part in reversed(parts):
        if left <= 0:
            break
        kept.append(part if len(part) <= left else memoryview(part)[-left:])
        left -= len(part)
    return kept[::-1]


class Link:
    """One connection.

    Args:
        sock: Connected; becomes non-blocking and belongs to the link.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._outbox = Outbox(sock)
        self._reader = FrameReader()

    @property
    def waits_for_room(self) -> bool:
        """Whether something is still to be sent when the socket becomes writable."""
        return bool(self._outbox)

    @property
    def backlog_bytes(self) -> int:
        """How many octets wait until the socket becomes writable."""
        return self._outbox.backlog_bytes

    def fileno(self) -> int:
        """The descriptor, for poll."""
        return self._socket.fileno()

    def send(self, messages: Iterable[Message]) -> None:
        """Send messages, or as much of them as goes now; `flush` sends the rest.

        Raises:
            OSError: The connection is broken.
        """
        for message in messages:
            self._outbox.put(*encode(message))
        self._outbox.flush()

    def flush(self) -> None:
        """Send what waits for room."""
        self._outbox.flush()

    def receive(self) -> list[Message]:
        """Return the messages that have come.

        Raises:
            RemoteProtocolError: The peer closed the link, or what came are no frames.
            OSError: The connection is broken.
        """
        try:
            count = self._socket.recv_into(self._reader.space())
        except BlockingIOError:
            return []
        if count == 0:
            raise RemoteProtocolError("The other end closed the link.")
        return self._reader.received(count)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def refuse(connection: socket.socket, reason: str) -> None:
    """Tell somebody who has connected why he is not wanted, and close."""
    link = Link(connection)
    with contextlib.suppress(OSError):
        link.send([Refused(reason)])
    link.close()


def parse_address(text: str) -> tuple[str, int]:
    """Read ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises:
        UserError: It is none of them.
    """
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, port = text.split(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 0xFFFF:
        raise UserError(f"'{text}' is no address.", hint="Write HOST:PORT, such as 10.77.0.1:7205.")
    return host, int(port)


def require_private(host: str, *, insecure: bool) -> None:
    """See that an unencrypted link is not opened to a network by accident.

    Raises:
        UserError: The host is not this machine and the user did not ask for it.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not insecure:
        raise UserError(
            f"The link to {host} would be neither encrypted nor authenticated.",
            hint="On a private network, allow that with --insecure.",
        )


def listen(address: tuple[str, int]) -> socket.socket:
    """Return a non-blocking listening socket.

    Raises:
        UserError: The address is not this machine's, or in use.
    """
    try:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.create_server(address, family=family, backlog=1)
    except OSError as error:
        raise UserError(
            f"Cannot listen on {address[0]}:{address[1]}: {error.strerror}.",
            hint="Choose an address of this machine and a free port with --listen.",
        ) from error
    listener.setblocking(False)
    return listener
