"""Two peers on one reactor, over a socket pair; the reactor's own clock is not waited for.

What two peers do is held to a link with TLS as well.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from rig.errors import RemoteProtocolError
from rig.reactor import Reactor
from rig.splitdriver.messages import (
    Complete,
    Hello,
    Message,
    Ping,
    Pong,
    Refused,
    Reset,
    Role,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.session import Session
from rig.splitdriver.transport import peer as peer_module
from rig.splitdriver.transport.link import Link, SocketStream, Stream
from rig.splitdriver.transport.peer import Peer
from rig.splitdriver.wire import encode
from rig.tests.harness.certificates import shake_hands, tls_streams
from rig.tests.harness.until import run_until

DEADLINE_S = 5.0


class End:
    """A peer that writes down what it is told."""

    def __init__(self, stream: Stream, role: Role, reactor: Reactor) -> None:
        self.names: list[str] = []
        self.messages: list[Message] = []
        self.reasons: list[str] = []
        self.complaint: str | None = None
        self.peer = Peer(
            stream,
            role,
            Policy.HOLD,
            reactor,
            greeted=self.names.append,
            received=self._receive,
            lost=self.reasons.append,
        )

    def _receive(self, messages: Sequence[Message]) -> None:
        if self.complaint is not None:
            raise RemoteProtocolError(self.complaint)
        self.messages += messages


class World:
    """A reactor with one or two ends on a socket pair."""

    def __init__(self, *, tls: bool = False) -> None:
        self.reactor = Reactor()
        self.sockets = socket.socketpair()
        self.streams: tuple[Stream, Stream] = (
            SocketStream(self.sockets[0]),
            SocketStream(self.sockets[1]),
        )
        if tls:
            self.streams = shake_hands(*tls_streams(connections=self.sockets))

    def end(self, role: Role) -> End:
        one = End(self.streams[role is Role.BACK], role, self.reactor)
        one.peer.start()
        return one

    def run_until(self, true: Callable[[], object]) -> None:
        run_until(self.reactor, true, DEADLINE_S)

    def close(self) -> None:
        self.reactor.close()
        for one in self.sockets:
            one.close()


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    yield one
    one.close()


@pytest.fixture(params=["plain", "tls"])
def either(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose link is plain, and one whose link is TLS."""
    one = World(tls=request.param == "tls")
    yield one
    one.close()


def greeted(world: World) -> tuple[End, End]:
    front, back = world.end(Role.FRONT), world.end(Role.BACK)
    world.run_until(lambda: front.names and back.names)
    return front, back


def test_two_ends_greet_each_other_once(either: World) -> None:
    front, back = greeted(either)
    assert front.names == back.names == [socket.gethostname()]
    assert front.peer.name == socket.gethostname()


def test_messages_reach_the_other_end_in_order(either: World) -> None:
    front, back = greeted(either)
    front.peer.send([Reset(1), Reset(2)])
    front.peer.send([Reset(3)])
    either.run_until(lambda: len(back.messages) == 3)
    assert back.messages == [Reset(1), Reset(2), Reset(3)]


def test_more_than_the_socket_takes_arrives_whole(either: World) -> None:
    front, back = greeted(either)
    data = bytes(range(256)) * (1 << 14)
    back.peer.send([Complete(1, n, 0, len(data), data=data) for n in range(3)])
    either.run_until(lambda: len(front.messages) == 3)
    assert [m.data == data for m in front.messages if isinstance(m, Complete)] == [True] * 3


def test_an_end_that_closes_tells_why(either: World) -> None:
    front, back = greeted(either)
    back.peer.close("The back end is being stopped.")
    back.peer.close("A second time.")
    either.run_until(lambda: front.reasons)
    assert back.reasons == ["The back end is being stopped."]
    assert front.reasons == ["The other end closed the link: The back end is being stopped."]


def test_after_the_end_nothing_is_sent(either: World) -> None:
    front, _back = greeted(either)
    front.peer.close("Enough.")
    front.peer.send([Reset(1)])
    assert front.reasons == ["Enough."]


def test_who_breaks_the_cores_rules_is_told_and_cut_off(either: World) -> None:
    front, back = greeted(either)
    back.complaint = "URB 1 was submitted twice."
    front.peer.send([Reset(1)])
    either.run_until(lambda: front.reasons and back.reasons)
    assert back.reasons == ["URB 1 was submitted twice."]
    assert front.reasons == ["The other end closed the link: URB 1 was submitted twice."]


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "over"),
        (bytes.fromhex("00000000 63 00 0000"), "unknown type 99"),
        (bytes.fromhex("00000008 03 00 0000 0000000000000007"), "first message was Ping"),
    ],
)
def test_the_sender_of_bad_octets_is_told_and_cut_off(
    world: World, octets: bytes, complaint: str
) -> None:
    back = world.end(Role.BACK)
    world.sockets[0].sendall(octets)
    world.run_until(lambda: back.reasons)
    assert complaint in back.reasons[0]
    answers = Link(world.streams[0]).receive()
    assert isinstance(answers[0], Hello)
    assert answers[1] == Refused(back.reasons[0])


def test_two_back_ends_part_with_a_sentence(world: World) -> None:
    one = End(world.streams[0], Role.BACK, world.reactor)
    one.peer.start()
    other = world.end(Role.BACK)
    world.run_until(lambda: one.reasons and other.reasons)
    assert "Both ends are a back end." in (one.reasons + other.reasons)[0]


def test_a_vanished_end_is_told(world: World) -> None:
    back = world.end(Role.BACK)
    world.sockets[0].close()
    world.run_until(lambda: back.reasons)
    assert len(back.reasons) == 1


IMPATIENT = partial(Session, heartbeat_s=0.01, dead_after_s=0.1)


def test_a_silent_end_is_asked_and_then_held_for_dead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "Session", IMPATIENT)
    back = world.end(Role.BACK)
    world.run_until(lambda: back.reasons)
    assert "Nothing was heard from the other end" in back.reasons[0]
    heard = Link(world.streams[0]).receive()
    assert Ping(1) in heard
    assert isinstance(heard[-1], Refused)


@pytest.mark.parametrize("tls", [False, True])
def test_an_end_that_falls_silent_in_mid_frame_is_held_for_dead(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open link: the other end's machine is gone, and nothing tells us."""
    monkeypatch.setattr(peer_module, "Session", IMPATIENT)
    world = World(tls=tls)
    back = world.end(Role.BACK)
    hello, _ = encode(Hello(Role.FRONT, Policy.HOLD, "front"))
    world.streams[0].sendmsg([hello, hello[:5]])
    world.run_until(lambda: back.reasons)
    assert back.names == ["front"]
    assert "Nothing was heard from the other end" in back.reasons[0]
    world.close()


def test_octets_that_were_changed_on_the_way_end_the_link_with_a_sentence() -> None:
    world = World(tls=True)
    front, back = greeted(world)
    world.sockets[0].sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    world.run_until(lambda: back.reasons and front.reasons)
    assert "TLS with the front end failed" in back.reasons[0]
    assert "Traceback" not in front.reasons[0]
    world.close()


def test_octets_that_come_with_the_end_of_the_handshake_are_not_overlooked() -> None:
    """They have left the socket already: poll says nothing of them."""
    world = World()
    front, back = tls_streams(connections=world.sockets)
    while not front.advance():
        back.advance()
    front.sendmsg(encode(Hello(Role.FRONT, Policy.HOLD, "early")))
    assert back.advance()
    world.streams = (front, back)
    end = world.end(Role.BACK)
    assert end.names == ["early"]
    world.close()


def test_a_ping_is_answered_and_not_shown_to_the_core(world: World) -> None:
    back = world.end(Role.BACK)
    front = Link(world.streams[0])
    front.send([Hello(Role.FRONT, Policy.HOLD, "front"), Ping(5)])
    answers: list[Message] = []

    def answered() -> bool:
        answers.extend(front.receive())
        return Pong(5) in answers

    world.run_until(answered)
    assert back.messages == []


def test_what_came_before_a_link_broke_is_not_shown_after_its_loss(world: World) -> None:
    """A core that has forgotten the link must not be given URBs of it."""
    back = world.end(Role.BACK)
    front = Link(world.streams[0])
    front.send([Hello(Role.FRONT, Policy.HOLD, "front"), Ping(5), Reset(1)])
    world.sockets[0].close()  # the answer to the Ping cannot be sent
    world.run_until(lambda: back.reasons)
    assert back.messages == []


def test_many_small_messages_that_nobody_reads_count_with_what_keeps_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    one = world.end(Role.BACK)
    monkeypatch.setattr(peer_module, "MAX_BACKLOG_BYTES", 1 << 20)
    octets = 0
    while not one.reasons and octets < 2 << 20:
        one.peer.send([Reset(1)] * 100)
        octets += 800
    (reason,) = one.reasons
    assert reason.startswith("The other end did not read")
    assert octets < 1 << 20
    world.close()
