"""TLS 1.3 as a stream of octets: both ends show a certificate of the same private CA.

OpenSSL works on memory here and never sees the socket.  So one large read feeds many records, what
waits to be sent is known to the octet, and TLS fits on any stream that is used as a socket is.

Imported only where certificates are given: OpenSSL is slow to load under emulation.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import cast

from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import Payload, Role
from rig.splitdriver.transport.link import Stream, prepare
from rig.splitdriver.transport.tls_errors import Whose, explain, hung_up, is_alert, speaks_plainly

RECORD_BYTES = 1 << 14
"""The most that one TLS record carries (RFC 8446 §5.1)."""

CHUNK_BYTES = 1 << 18
"""So much is read from the socket at once, and at most so much is encrypted ahead of it."""

MAX_UNREAD_BYTES = 1 << 16
"""So much may OpenSSL itself have to say (replies to KeyUpdate) to an end that does not read."""

_HANDSHAKE, _ALERT = 22, 21  # content types, RFC 8446 §5.1


class TlsStream(Stream):
    """One connection; implements `rig.splitdriver.transport.link.Stream`.

    Call `advance` whenever the socket is ready until it returns True; only then is it known who is
    at the other end, and only then may octets be sent and received.

    Args:
        connection: Connected; becomes non-blocking and belongs to the stream.
        context: With our certificate and the CA's; demands a certificate of the other end.
        role: Ours.  The back end plays TLS's server.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, role: Role) -> None:
        prepare(connection)
        self._socket = connection
        self._whose = Whose.of_peer(role)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=role is Role.BACK)
        self._received = memoryview(bytearray(CHUNK_BYTES))
        self._begun = False
        self.meets_plain = False
        """Whether the other end has begun without TLS."""
        self._unsent: Payload = b""  # encrypted, and not yet taken by the socket
        self._ahead_bytes = 0  # of what was offered to us: its octets are in _unsent
        self._ended = False
        self._failure: RemoteProtocolError | None = None

    # Proving.

    @property
    def waits_for_room(self) -> bool:
        """Whether the handshake goes on when the socket becomes writable."""
        return bool(self._unsent)

    @property
    def peer_names(self) -> tuple[str, ...]:
        """The names in the other end's certificate, once `advance` has returned True."""
        return names_in(self._tls)

    def advance(self) -> bool:
        """Go on with the handshake as far as possible now.

        Returns:
            Whether it is done: the other end has proved who it is.

        Raises:
            RemoteProtocolError: It is not of our CA, or speaks no TLS 1.3, or hung up.
            OSError: The connection is broken.
        """
        self._push()
        with contextlib.suppress(BlockingIOError):
            if not self._fill():
                raise hung_up(self._whose)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        except ssl.SSLError as error:
            raise self._explain(error) from None
        else:
            done = True
        self._push()
        return done and not self._unsent

    # The stream.

    def fileno(self) -> int:
        """See `Octets.fileno`."""
        return self._socket.fileno()

    @property
    def plain(self) -> bool:
        """Never: they are encrypted."""
        return False

    def pending(self) -> bool:
        """Whether octets have been read from the socket that `recv_into` has not handed out."""
        if self._ended or self._failure is not None:
            return False
        return self._incoming.pending > 0 or self._tls.pending() > 0

    def recv_into(self, buffer: memoryview, /) -> int:
        """See `Octets.recv_into`."""
        if self._failure is not None:
            raise self._failure
        # Nothing more is read before all that was read is handed out: so memory is bounded.
        count = self._decrypt(buffer) if self.pending() else 0
        if not count and not self._ended:
            if not self._fill():
                return 0
            count = self._decrypt(buffer)
        if self._outgoing.pending:
            self._reply()
        if not count and not self._ended:
            raise BlockingIOError
        return count

    def sendmsg(self, parts: Iterable[Payload], /) -> int:
        """See `Octets.sendmsg`.

        An octet counts as taken when the record that it is in has gone, so that whoever waits to
        send knows that he must.
        """
        if self._unsent or self._outgoing.pending:
            if not self._push():
                raise BlockingIOError
            taken, self._ahead_bytes = self._ahead_bytes, 0
            if taken:
                return taken
        taken = 0
        for piece in pieces(parts):
            self._encrypt(piece)
            if not self._push():
                self._ahead_bytes = len(piece)
                if not taken:
                    raise BlockingIOError
                break
            taken += len(piece)
        return taken

    def close(self) -> None:
        """Say goodbye if that goes at once, and close."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()
        # The other end's goodbye is not waited for: unwrap() has asked for it, and raised.
        if self._socket.fileno() >= 0:
            with contextlib.suppress(OSError, RemoteProtocolError):
                self._push()
        self._socket.close()

    def _fill(self) -> bool:
        """Read from the socket; return False at its end."""
        count = self._socket.recv_into(self._received)
        if not self._begun and count:
            self._begun = True
            if self._received[0] not in (_HANDSHAKE, _ALERT):
                self.meets_plain = True
                raise speaks_plainly(self._whose)
        self._incoming.write(self._received[:count])
        return count > 0

    def _decrypt(self, buffer: memoryview) -> int:
        """Put what was read into `buffer`; return how many octets, 0 if more must be read first."""
        count = 0
        try:
            while count < len(buffer):
                got: int = self._tls.read(len(buffer) - count, buffer[count:])  # type: ignore[assignment]
                if not got:  # the other end has said goodbye; whatever follows is not for us
                    self._ended = True
                    break
                count += got
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._failure = self._explain(error)
            if not count:
                raise self._failure from None
        return count

    def _encrypt(self, piece: Payload) -> None:
        view = memoryview(piece)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            raise self._explain(error) from None

    def _explain(self, error: ssl.SSLError) -> RemoteProtocolError:
        """Let the other end have OpenSSL's alert, if it goes at once; return the sentence."""
        with contextlib.suppress(OSError, RemoteProtocolError):
            self._push()
        return explain(error, self._whose)

    def _push(self) -> bool:
        """Send what is encrypted; return whether all of it has gone."""
        if self._outgoing.pending:
            fresh = self._outgoing.read()
            self._unsent = b"".join((self._unsent, fresh)) if self._unsent else fresh
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return False
            except ConnectionError:
                self._hear_why()
                raise
            left = len(self._unsent) - sent
            self._unsent = memoryview(self._unsent)[sent:] if left else b""
        return True

    def _hear_why(self) -> None:
        """Raise what the other end said before it hung up, if that was an alert."""
        try:
            self._fill()
            self._tls.read(1)
        except ssl.SSLError as error:
            if is_alert(error):
                raise explain(error, self._whose) from None
        except OSError:
            pass

    def _reply(self) -> None:
        """Send what OpenSSL has to say; if that does not go now, it goes with our next octets."""
        if not self._push() and len(self._unsent) > CHUNK_BYTES + MAX_UNREAD_BYTES:
            raise RemoteProtocolError("The other end asks for new keys and does not read them.")


def pieces(parts: Iterable[Payload]) -> Iterator[Payload]:
    """Cut what is to be sent so that it fills records, copying as little as that needs.

    What is small shares a record with what follows it.  Of what is large, only the beginning that
    fills up such a record and the end that fills none are copied.
    """
    small: list[Payload] = []
    room = RECORD_BYTES
    for part in parts:
        if len(part) <= room:
            small.append(part)
            room -= len(part)
            continue
        view = memoryview(part)
        if room < RECORD_BYTES:
            yield b"".join((*small, view[:room]))
            view = view[room:]
        whole = len(view) - len(view) % RECORD_BYTES
        for start in range(0, whole, CHUNK_BYTES):
            yield view[start : min(start + CHUNK_BYTES, whole)]
        small = [view[whole:]]
        room = RECORD_BYTES - len(small[0])
    if room < RECORD_BYTES:
        yield small[0] if len(small) == 1 else b"".join(small)


def names_in(tls: ssl.SSLObject) -> tuple[str, ...]:
    """Return the names that the other end's certificate was made for, as `canonical` has them."""
    certificate = tls.getpeercert() or {}
    alternatives = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    return tuple(canonical(value) for kind, value in alternatives if kind in ("DNS", "IP Address"))


def canonical(name: str) -> str:
    """Return a machine's name or address as it is compared: no case, one way to write it."""
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return name.lower().rstrip(".")
