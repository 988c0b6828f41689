from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

import pytest

from rig.errors import RemoteProtocolError, UserError
from rig.net.address import listen
from rig.splitdriver.messages import Complete, Payload, Ping, Refused
from rig.splitdriver.transport.link import (
    Link,
    Outbox,
    SocketStream,
    Stream,
    refuse,
    require_private,
)
from rig.tests.harness.frames import octets_of

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    with ours, theirs:
        yield ours, theirs


def test_messages_are_received_as_they_were_sent(pair: Pair) -> None:
    front, back = Link(SocketStream(pair[0])), Link(SocketStream(pair[1]))
    front.send([Ping(1), Ping(2)])
    assert back.receive() == [Ping(1), Ping(2)]
    assert back.receive() == []


def test_what_does_not_fit_the_socket_is_sent_when_there_is_room(pair: Pair) -> None:
    data = bytes(range(256)) * (1 << 14)
    link = Link(SocketStream(pair[0]))
    link.send([Complete(1, 1, 0, len(data), data=data)])
    assert link.waits_for_room
    expected = octets_of([Complete(1, 1, 0, len(data), data=data)])
    seen = b""
    sent = len(expected) - link.backlog_bytes
    while len(seen) < len(expected):
        assert len(seen) <= sent
        seen += pair[1].recv(1 << 16)
        link.flush()
        sent = len(expected) - link.backlog_bytes
    assert seen == expected
    assert (link.waits_for_room, link.backlog_bytes) == (False, 0)


def test_more_parts_than_one_call_takes_are_sent_in_order(pair: Pair) -> None:
    pair[0].setblocking(False)
    outbox = Outbox(pair[0])
    for n in range(0, 1500, 2):
        outbox.put(bytes([n % 256]), bytes([(n + 1) % 256]))
    outbox.flush()
    assert not outbox
    assert pair[1].recv(2000, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == bytes(
        n % 256 for n in range(1500)
    )


class CountingStream(Stream):
    """A stream that counts what a link asks of it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)
        self.calls: list[str] = []

    def fileno(self) -> int:
        return self._socket.fileno()

    def recv_into(self, buffer: memoryview, /) -> int:
        self.calls.append("recv_into")
        return self._socket.recv_into(buffer)

    def sendmsg(self, parts: Iterable[Payload], /) -> int:
        self.calls.append("sendmsg")
        return self._socket.sendmsg(parts)

    def close(self) -> None:
        self._socket.close()


def test_many_messages_cost_one_call_of_the_stream_each_way(pair: Pair) -> None:
    front, back = CountingStream(pair[0]), CountingStream(pair[1])
    Link(front).send([Ping(n) for n in range(100)])
    assert len(Link(back).receive()) == 100
    assert (front.calls, back.calls) == (["sendmsg"], ["recv_into"])


def test_a_closed_link_is_told(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(RemoteProtocolError, match="closed the link"):
        Link(SocketStream(pair[0])).receive()


def test_who_is_refused_is_told_why(pair: Pair) -> None:
    refuse(SocketStream(pair[0]), "Another front end is using this port.")
    assert Link(SocketStream(pair[1])).receive() == [
        Refused("Another front end is using this port.")
    ]


def test_refusing_one_who_has_left_is_no_error(pair: Pair) -> None:
    pair[1].close()
    refuse(SocketStream(pair[0]), "Too late.")
    assert pair[0].fileno() == -1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_permission(host: str) -> None:
    require_private(host, insecure=False)


@pytest.mark.parametrize("host", ["10.77.0.1", "0.0.0.0", "::", "back.example"])
def test_beyond_this_machine_an_open_link_needs_permission(host: str) -> None:
    with pytest.raises(UserError, match=r"neither encrypted nor authenticated\. .*--insecure"):
        require_private(host, insecure=False)
    require_private(host, insecure=True)


def test_a_connection_over_tcp_sends_small_frames_at_once() -> None:
    with listen(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        link = Link(SocketStream(client))
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        link.close()
