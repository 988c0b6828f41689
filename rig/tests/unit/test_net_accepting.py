"""Taking calls when what they need has run out."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from rig.net.accepting import Accepting
from rig.net.address import listen
from rig.tests.harness.stepped import SteppedReactor


class Exhausted:
    """A listener that has no descriptor for a caller, as long as `error` says so."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.error = 0
        self.asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        if self.error:
            raise OSError(self.error, "Exhausted")
        return self._real.accept()

    def fileno(self) -> int:
        return self._real.fileno()

    def getsockname(self) -> tuple[str, int]:
        found: tuple[str, int] = self._real.getsockname()
        return found

    def close(self) -> None:
        self._real.close()


class World:
    def __init__(self) -> None:
        self.reactor = SteppedReactor()
        self.listener = Exhausted(listen(("127.0.0.1", 0)))
        self.came: list[socket.socket] = []
        self.accepting = Accepting(
            self.listener,  # type: ignore[arg-type] # has all that is used of a socket
            self.reactor,
            lambda stream, _: self.came.append(stream),
        )
        self.callers: list[socket.socket] = []

    def call(self) -> None:
        self.callers.append(socket.create_connection(self.accepting.address, timeout=5))
        self.reactor.turn(1.0)

    def close(self) -> None:
        self.accepting.close()
        self.reactor.close()
        for stream in [*self.came, *self.callers]:
            stream.close()


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    yield one
    one.close()


def test_calls_are_taken_as_they_come(world: World) -> None:
    world.call()
    world.call()
    assert len(world.came) == 2


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_call_without_a_descriptor_waits_and_does_not_wake_us_again(
    world: World, error: int
) -> None:
    world.listener.error = error
    world.call()  # would be ready for ever
    assert world.listener.asked == 1
    assert world.reactor.timers() == {"accepting"}
    world.listener.error = 0
    world.reactor.fire("accepting")
    world.reactor.turn(1.0)
    assert len(world.came) == 1


def test_a_call_that_waits_is_taken_when_something_becomes_free(world: World) -> None:
    world.listener.error = errno.EMFILE
    world.call()
    world.listener.error = 0
    world.accepting.look_again()
    world.reactor.turn(1.0)
    assert len(world.came) == 1
    assert world.reactor.timers() == set()


def test_a_caller_that_has_gone_again_is_no_reason_to_look_away(world: World) -> None:
    asked: list[int] = []
    accept = world.listener.accept

    def gone() -> tuple[socket.socket, object]:
        if not asked:
            asked.append(1)
            raise OSError(errno.ECONNABORTED, "Gone")
        return accept()

    world.listener.accept = gone  # type: ignore[method-assign]
    world.call()
    assert len(world.came) == 1
    assert world.reactor.timers() == set()


def test_who_is_closed_looks_no_more(world: World) -> None:
    world.listener.error = errno.EMFILE
    world.call()
    world.accepting.close()
    world.accepting.look_again()
    assert world.reactor.timers() == set()
