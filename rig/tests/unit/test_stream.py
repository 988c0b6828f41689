"""What a link asks of a stream, held to every kind of stream alike."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import Complete, Message, Payload, Ping
from rig.splitdriver.transport.link import Link, SocketStream, Stream
from rig.splitdriver.transport.rendezvous import MAGIC, NONCE_BYTES, Rendezvous
from rig.splitdriver.transport.virtio_port import VirtioStream
from rig.splitdriver.wire import encode
from rig.tests.harness.certificates import shake_hands, tls_streams

MAX_FRAME = Complete(1, 1, 0, 4 << 20, data=bytes(range(256)) * (1 << 14))
MAX_ROUNDS = 100_000

Make = Callable[[], tuple[Stream, Stream]]


class DeviceStream(Stream):
    """A stream that is no socket, used as a character device is."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)

    def fileno(self) -> int:
        return self._file.fileno()

    def recv_into(self, buffer: memoryview, /) -> int:
        return os.readv(self.fileno(), [buffer])

    def sendmsg(self, parts: Iterable[Payload], /) -> int:
        return os.writev(self.fileno(), list(parts))

    def close(self) -> None:
        self._file.close()


def sockets() -> tuple[Stream, Stream]:
    ours, theirs = socket.socketpair()
    return SocketStream(ours), SocketStream(theirs)


def devices() -> tuple[Stream, Stream]:
    ours, theirs = socket.socketpair()
    return DeviceStream(ours.detach()), DeviceStream(theirs.detach())


def tls() -> tuple[Stream, Stream]:
    return shake_hands(*tls_streams())


def virtio() -> tuple[Stream, Stream]:
    """Two ends that have met, and have begun: a socket stands for the port."""
    ours, theirs = socket.socketpair()
    streams = []
    for end, (nonce, other) in zip((ours, theirs), (NONCES, NONCES[::-1]), strict=True):
        end.setblocking(False)
        rendezvous = Rendezvous(nonce)
        rendezvous.received(MAGIC + other + nonce)
        rendezvous.stream(b"\0")
        streams.append(VirtioStream(end.detach(), rendezvous))
    return streams[0], streams[1]


NONCES = bytes(NONCE_BYTES - 1) + b"1", bytes(NONCE_BYTES - 1) + b"2"
KINDS: dict[str, Make] = {
    "plain": sockets,
    "tls": tls,
    "device": devices,
    "virtio": virtio,
}


class Pair:
    """Two links, joined."""

    def __init__(self, make: Make) -> None:
        self.streams = make()
        self.front, self.back = map(Link, self.streams)

    def close(self) -> None:
        self.front.close()
        self.back.close()


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS[request.param]


@pytest.fixture
def pair(make: Make) -> Iterator[Pair]:
    one = Pair(make)
    yield one
    one.close()


def exchange(pair: Pair, to_back: int, to_front: int) -> tuple[list[Message], list[Message]]:
    """Let both ends go on until so many messages have come."""
    at_back: list[Message] = []
    at_front: list[Message] = []
    for _ in range(MAX_ROUNDS):
        for link in (pair.front, pair.back):
            if link.waits_for_room:
                link.flush()
        at_back += pair.back.receive()
        at_front += pair.front.receive()
        if len(at_back) == to_back and len(at_front) == to_front:
            return at_back, at_front
    raise AssertionError(f"{len(at_back)} and {len(at_front)} messages came, and no more")


def test_what_is_sent_comes_in_order(pair: Pair) -> None:
    pair.front.send([Ping(n) for n in range(2000)])
    at_back, _ = exchange(pair, 2000, 0)
    assert at_back == [Ping(n) for n in range(2000)]
    assert pair.back.receive() == []


def test_frames_of_the_largest_size_go_both_ways_at_once(pair: Pair) -> None:
    """Far more than all buffers between them hold: nobody may wait for the other to read first."""
    for link in (pair.front, pair.back):
        link.send([MAX_FRAME] * 3)
        assert link.waits_for_room
        assert link.backlog_bytes > 8 << 20
    at_back, at_front = exchange(pair, 3, 3)
    assert at_back == at_front == [MAX_FRAME] * 3
    assert not pair.front.waits_for_room
    assert pair.front.backlog_bytes == 0


def test_an_end_that_does_not_read_is_not_waited_for(pair: Pair) -> None:
    for _ in range(10):
        pair.front.send([MAX_FRAME])
    backlog = pair.front.backlog_bytes
    pair.front.flush()
    assert pair.front.backlog_bytes <= backlog
    assert backlog > 30 << 20
    assert exchange(pair, 10, 0)[0] == [MAX_FRAME] * 10


def test_a_close_is_told_after_what_was_sent_before(pair: Pair) -> None:
    pair.front.send([Ping(1)])
    pair.front.close()
    assert pair.back.receive() == [Ping(1)]
    with pytest.raises(RemoteProtocolError, match="closed the link"):
        pair.back.receive()


def test_a_close_in_the_middle_of_a_frame_is_told(pair: Pair) -> None:
    head, data = encode(MAX_FRAME)
    pair.streams[0].sendmsg([head, memoryview(data)[:5000]])
    pair.front.close()
    assert pair.back.receive() == []
    with pytest.raises(RemoteProtocolError, match="closed the link"):
        pair.back.receive()


def test_a_close_is_told_to_who_sends(pair: Pair) -> None:
    pair.back.close()
    with pytest.raises((OSError, RemoteProtocolError)):
        pair.front.send([MAX_FRAME] * 100)


def test_closing_twice_is_no_error(pair: Pair) -> None:
    pair.front.close()
    pair.front.close()


SIZES = st.one_of(st.integers(1, 40), st.integers(1, 1 << 16), st.sampled_from([16384, 16385]))


@pytest.mark.parametrize("kind", KINDS)
@given(parts=st.lists(SIZES, max_size=30), rooms=st.lists(SIZES, min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_any_parts_come_whole_into_any_rooms(kind: str, parts: list[int], rooms: list[int]) -> None:
    """However they were cut by the sender, and however little room the receiver has."""
    pair = Pair(KINDS[kind])
    source, sink = pair.streams
    wanted = [os.urandom(size) for size in parts]
    stream = b"".join(wanted)
    waiting: list[Payload] = list(wanted)
    seen = bytearray()
    turn = 0
    while len(seen) < len(stream):
        if waiting:
            try:
                sent = source.sendmsg(waiting)
            except BlockingIOError:
                sent = 0
            rest = b"".join(waiting)[sent:]
            waiting = [rest] if rest else []
        room = memoryview(bytearray(rooms[turn % len(rooms)]))
        turn += 1
        try:
            seen += room[: sink.recv_into(room)]
        except BlockingIOError:
            continue
    assert seen == stream
    pair.close()
