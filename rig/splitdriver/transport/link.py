"""The link between the two ends: frames on a stream of octets, whatever that stream is."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from typing import Protocol

from rig.errors import RemoteProtocolError, UserError
from rig.splitdriver.lane import LinkLent
from rig.splitdriver.messages import Message, Payload, Refused
from rig.splitdriver.wire import FrameReader, encode

_IOV_MAX = 512
PART_BYTES = 200
"""What a piece that waits costs beside its octets: an object, often a view with its buffer's."""
_TLS_BEGINNINGS = (b"\x16\x03", b"\x15\x03")
"""A record of TLS that holds a handshake or an alert (RFC 8446 §5.1).  No frame begins so: it would
be 352 MB long."""


class Octets(Protocol):
    """A non-blocking, reliable and ordered stream of octets: a connected socket is one."""

    def fileno(self) -> int:
        """Return the descriptor, for poll."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Put octets into `buffer`; return how many, 0 if no more will come.

        Raises:
            BlockingIOError: There are none now.
            RemoteProtocolError: What came is not what this stream carries.
            OSError: The connection is broken.
        """

    def sendmsg(self, parts: Iterable[Payload], /) -> int:
        """Take octets from the beginning of `parts`; return how many.

        Who was told `BlockingIOError`, or took fewer, offers the octets that were not taken again
        before any others.

        Raises:
            BlockingIOError: None can be taken now.
            RemoteProtocolError: The stream takes no more.
            OSError: The connection is broken.
        """

    def close(self) -> None:
        """Close it; a second time is no error."""


class Stream(Octets, Protocol):
    """A stream of octets that carries frames, and what of it matters to who frames them.

    The others are `SocketStream`, `rig.splitdriver.transport.tls.TlsStream` and
    `rig.splitdriver.transport.virtio_port.VirtioStream`.
    """

    @property
    def plain(self) -> bool:
        """Whether the descriptor's octets are, by now, the stream's own."""
        return True

    @property
    def seals(self) -> tuple[bytes, bytes]:
        """What stands behind each frame of this end, and of the other.

        Not empty if the stream does not end with its connection.
        """
        return b"", b""

    def pending(self) -> bool:
        """Whether it holds something to hand out now that poll does not see."""
        return False


class SocketStream(Stream):
    """A connected socket, with nothing in between.

    Args:
        connection: Belongs to the stream; becomes non-blocking.
    """

    def __init__(self, connection: socket.socket) -> None:
        prepare(connection)
        self._connection = connection

    def fileno(self) -> int:
        """See `Octets.fileno`."""
        return self._connection.fileno()

    def recv_into(self, buffer: memoryview, /) -> int:
        """See `Octets.recv_into`."""
        return self._connection.recv_into(buffer)

    def sendmsg(self, parts: Iterable[Payload], /) -> int:
        """See `Octets.sendmsg`."""
        return self._connection.sendmsg(parts)

    def close(self) -> None:
        """See `Octets.close`."""
        self._connection.close()


class Outbox:
    """Octets on their way into a stream, in order and not copied.

    Nearly always the stream takes all at once; only what it leaves is looked at piece by piece.
    """

    def __init__(self, stream: Octets) -> None:
        self._stream = stream
        self._parts: list[Payload] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        """Whether something still waits for the stream."""
        return bool(self._parts)

    @property
    def backlog_bytes(self) -> int:
        """How many octets wait."""
        return self._bytes

    @property
    def held_bytes(self) -> int:
        """How much memory, about, that keeps: many small pieces are more than their octets."""
        return self._bytes + PART_BYTES * len(self._parts)

    def put(self, head: Payload, data: Payload = b"") -> None:
        """Add octets; `flush` sends them."""
        self._parts.append(head)
        self._bytes += len(head)
        if data:
            self._parts.append(data)
            self._bytes += len(data)

    def flush(self) -> None:
        """Send as much as the stream takes now.

        Raises:
            RemoteProtocolError: The stream takes no more.
            OSError: The connection is broken.
        """
        while self._parts:
            batch = self._parts[:_IOV_MAX]
            try:
                sent = self._stream.sendmsg(batch)
            except BlockingIOError:
                return
            self._bytes -= sent
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
        stream: Belongs to the link.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._outbox = Outbox(stream)
        self._seals = stream.seals
        self._reader = FrameReader(self._seals[1])
        self._left = False  # the reader has octets of a lane that it has not looked at

    @property
    def waits_for_room(self) -> bool:
        """Whether something is still to be sent when the descriptor becomes writable."""
        return bool(self._outbox)

    @property
    def backlog_bytes(self) -> int:
        """How many octets wait until the socket becomes writable."""
        return self._outbox.backlog_bytes

    @property
    def held_bytes(self) -> int:
        """How much memory, about, that keeps."""
        return self._outbox.held_bytes

    def fileno(self) -> int:
        """The descriptor, for poll."""
        return self._stream.fileno()

    def send(self, messages: Iterable[Message]) -> None:
        """Send messages, or as much of them as goes now; `flush` sends the rest.

        Raises:
            RemoteProtocolError: The stream takes no more.
            OSError: The connection is broken.
        """
        for message in messages:
            self._outbox.put(*encode(message))
            if self._seals[0]:
                self._outbox.put(self._seals[0])
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
        if self._left:
            # First of all: the peer may have closed the link behind its last words.
            self._left = False
            if messages := self._reader.received(0):
                return messages
        space = self._reader.space()
        try:
            count = self._stream.recv_into(space)
        except BlockingIOError:
            return []
        if count == 0:
            raise RemoteProtocolError("The other end closed the link.")
        try:
            messages = self._reader.received(count)
        except RemoteProtocolError:
            if space[:2] in _TLS_BEGINNINGS:
                raise _tls_unexpected() from None
            raise
        if self._stream.pending():
            self._drain(messages)
        return messages

    def lend(self) -> LinkLent | None:
        """Lend the stream to a lane (`rig.splitdriver.lane`); until `take_back`.

        Returns:
            None if something is half sent or half received, or the octets on the descriptor are
            not the frames' own.
        """
        if not self._stream.plain or self._outbox or not self._reader.idle:
            return None
        return LinkLent(self.fileno(), *self._seals)

    def take_back(self, octets: bytes, unsent: bytes) -> None:
        """Go on where a lane has left off: `receive` and `flush` come next.

        Args:
            octets: What was read and not used.
            unsent: What was not sent.
        """
        if unsent:
            self._outbox.put(unsent)
        self._reader.take_back(octets)
        self._left = bool(octets)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def _drain(self, messages: list[Message]) -> None:
        """Take what the stream holds itself: nothing would wake us for it."""
        while self._stream.pending():
            try:
                count = self._stream.recv_into(self._reader.space())
            except BlockingIOError:
                return
            messages += self._reader.received(count)


def prepare(connection: socket.socket) -> None:
    """Make a connected socket one that frames travel on: non-blocking, small frames at once."""
    connection.setblocking(False)
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _tls_unexpected() -> RemoteProtocolError:
    return RemoteProtocolError(
        "The other end speaks TLS, and this one does not.",
        hint="Start both with --certs, or both without.",
    )


def refuse(stream: Stream, reason: str) -> None:
    """Tell somebody who has connected why he is not wanted, and close."""
    link = Link(stream)
    with contextlib.suppress(OSError, RemoteProtocolError):
        link.send([Refused(reason)])
    link.close()


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
            hint="Make certificates with 'rig certs' and give each end its own with --certs; where"
            " nobody else is on the network, --insecure allows it as it is.",
        )
