"""Connecting to a host: nobody waits, neither for its name nor for its answer."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator

import pytest

from rig.helper_thread import HelperThread
from rig.net import connecting
from rig.net.address import listen
from rig.net.connecting import Connecting
from rig.tests.harness.stepped import SteppedReactor

LOOPBACK = "127.0.0.1"


class World:
    """A reactor, a host that listens, and what came of an attempt."""

    def __init__(self) -> None:
        self.reactor = SteppedReactor()
        self.listener = listen((LOOPBACK, 0))
        self.port: int = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = []
        self.reasons: list[str] = []

    def connect(self, host: str = LOOPBACK) -> Connecting:
        one = Connecting(
            (host, self.port),
            self.reactor,
            connected=self.sockets.append,
            failed=self.reasons.append,
        )
        one.start()
        return one

    def until_over(self) -> None:
        self.reactor.until(lambda: bool(self.sockets or self.reasons))

    def close(self) -> None:
        for one in (self.listener, *self.sockets):
            one.close()
        self.reactor.close()


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    yield one
    one.close()


def known(monkeypatch: pytest.MonkeyPatch, *places: connecting.Place) -> None:
    """Let every name be that of these addresses."""
    monkeypatch.setattr(connecting, "_places", lambda back, flags=0: list(places))


def test_a_host_that_listens_is_reached_by_a_socket_that_does_not_block(world: World) -> None:
    world.connect()
    world.until_over()
    assert not world.sockets[0].getblocking()
    assert world.reactor.timers() == set()


def test_a_host_that_does_not_listen_is_told(world: World) -> None:
    world.listener.close()
    world.connect()
    world.until_over()
    assert (world.reasons, world.reactor.timers()) == (["Connection refused"], set())


def test_a_name_that_is_slow_to_be_known_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer, asked = threading.Event(), threading.Event()

    def slow(back: tuple[str, int], flags: int = 0) -> list[connecting.Place]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        asked.set()
        assert may_answer.wait(10)
        return [(socket.AF_INET, (LOOPBACK, world.port))]

    monkeypatch.setattr(connecting, "_places", slow)
    world.connect("back.example")
    assert asked.wait(10)
    world.reactor.turn()
    assert (world.sockets, world.reasons) == ([], [])
    may_answer.set()
    world.until_over()
    assert len(world.sockets) == 1


def test_a_name_that_there_is_no_descriptor_to_ask_for_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(name: str) -> HelperThread:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(connecting, "HelperThread", exhausted)
    world.connect("back.example")
    assert world.reasons == ["Too many open files"]


@pytest.mark.parametrize("name", ["a..b", "no such host"])
def test_a_name_that_nobody_has_is_told_in_words(world: World, name: str) -> None:
    world.connect(name)
    world.until_over()
    assert len(world.reasons[0]) > 10


def test_the_next_address_is_tried_when_one_refuses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = listen((LOOPBACK, 0))
    refusing = deaf.getsockname()
    deaf.close()
    unknown = 255  # no address family
    known(
        monkeypatch,
        (unknown, refusing),
        (socket.AF_INET, refusing),
        (socket.AF_INET, (LOOPBACK, world.port)),
    )
    world.connect()
    world.until_over()
    assert len(world.sockets) == 1


def test_a_host_that_is_silent_is_given_up_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(self: socket.socket, address: object) -> int:
        return errno.EINPROGRESS

    class Silent(socket.socket):
        connect_ex = silent

    monkeypatch.setattr(socket, "socket", Silent)
    # A socket that was never connected hangs up at once: nobody is to look.
    monkeypatch.setattr(world.reactor, "watch", lambda *_: None)
    world.connect()
    assert world.reasons == []
    world.reactor.fire("connecting")
    assert world.reasons == ["timed out"]


def test_an_attempt_that_is_given_up_tells_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.connect()
    one.close()
    world.reactor.turn()
    assert (world.sockets, world.reasons, world.reactor.timers()) == ([], [], set())


def test_a_name_that_is_known_too_late_is_of_no_use(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer = threading.Event()

    def slow(back: tuple[str, int], flags: int = 0) -> list[connecting.Place]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        assert may_answer.wait(10)
        return []

    monkeypatch.setattr(connecting, "_places", slow)
    one = world.connect("back.example")
    resolver = one._resolver
    assert resolver is not None
    one.close()
    may_answer.set()
    resolver._thread.join(10)
    world.reactor.turn()
    assert (world.sockets, world.reasons) == ([], [])
