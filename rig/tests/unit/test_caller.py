"""How a front end calls: not too often, and saying nothing twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import pytest

from rig.net.address import listen
from rig.reactor import Reactor
from rig.splitdriver.messages import Role
from rig.splitdriver.transport import caller as caller_module
from rig.splitdriver.transport.caller import Caller
from rig.splitdriver.transport.handshake import Gate, Security
from rig.splitdriver.transport.link import Stream
from rig.splitdriver.transport.security import Security as Plain
from rig.tests.harness.certificates import security
from rig.tests.harness.until import run_until

DEADLINE_S = 20.0


class World:
    """A caller, and a back end that may be there."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.listener = listen(("127.0.0.1", 0))
        self.streams: list[Stream] = []
        self.rejected: list[str] = []
        self.admitted: list[Stream] = []
        self.gate: Gate | None = None
        self.callers: list[Caller] = []

    def open(self, back: Security) -> None:
        self.gate = Gate(
            self.listener,
            back,
            self.reactor,
            admitted=lambda stream, _: self.admitted.append(stream),
            rejected=lambda _, reason: self.rejected.append(reason),
        )

    def call(self, who: Security) -> Caller:
        address = self.listener.getsockname()
        one = Caller(address, who, self.reactor, self.streams.append)
        self.callers.append(one)
        one.call()
        return one

    def run_until(self, true: Callable[[], object]) -> None:
        run_until(self.reactor, true, DEADLINE_S)

    def run_until_called_again(self) -> None:
        before = len(self.streams)
        self.run_until(lambda: len(self.streams) > before)

    def close(self) -> None:
        for one in self.callers:
            one.close()
        if self.gate is not None:
            self.gate.close()
        self.listener.close()
        self.reactor.close()
        for stream in self.streams + self.admitted:
            stream.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(caller_module, "RETRY_S", 0.01)
    monkeypatch.setattr(caller_module, "REFUSED_RETRY_S", 0.02)
    one = World()
    yield one
    one.close()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage().partition(": ")[2] for r in caplog.records if r.name == "rig.front"]


def test_a_back_end_that_comes_later_is_reached(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    address = world.listener.getsockname()
    world.listener.close()
    tries: list[str] = []
    one = Caller(address, Plain(Role.FRONT), world.reactor, world.streams.append)
    world.callers.append(one)
    real = one._unanswered

    def unanswered(reason: str) -> None:
        tries.append(reason)
        real(reason)

    one._unanswered = unanswered  # type: ignore[method-assign]
    one.call()
    world.run_until(lambda: len(tries) >= 3)
    assert said(caplog) == ["no answer: Connection refused"]
    world.listener = listen(address)
    world.run_until(lambda: world.streams)


def test_a_back_end_that_proves_itself_is_reached(world: World) -> None:
    world.open(security("back", Role.BACK, "front"))
    world.call(security("front", Role.FRONT, "back"))
    world.run_until(lambda: world.streams and world.admitted)


def test_a_certificate_that_is_not_wanted_is_told_once_and_tried_seldom(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.open(security("back", Role.BACK, "front"))
    world.call(security("front", Role.FRONT, "garage"))
    start = time.monotonic()
    world.run_until(lambda: len(world.admitted) >= 4)
    assert time.monotonic() - start >= 3 * 0.02
    assert [line[:43] for line in said(caplog)] == ["The back end's certificate is for back, 127"]
    assert not world.streams


def test_a_link_that_was_served_is_sought_again_at_once(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_module, "REFUSED_RETRY_S", 1000.0)
    one = world.call(Plain(Role.FRONT))
    for _ in range(2):
        one.lost("The link broke.", served=True)
        world.run_until_called_again()
    assert said(caplog) == ["The link broke.", "The link broke."]


def test_a_back_end_that_does_not_want_us_is_asked_seldom_and_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_module, "RETRY_S", 1000.0)
    one = world.call(Plain(Role.FRONT))
    for _ in range(2):
        one.lost("Busy.", served=False)
        world.run_until_called_again()
    assert said(caplog) == ["Busy."]


def test_a_caller_that_was_closed_calls_no_more(world: World) -> None:
    one = world.call(security("front", Role.FRONT, "back"))  # nobody answers its handshake
    one.close()
    one.lost("Late.", served=True)
    assert not world.reactor._timers
    assert not world.reactor._handlers
    assert not world.streams
