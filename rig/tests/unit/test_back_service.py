"""``rig back`` as a front end meets it, with no device and no kernel's port."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rig.daemon import Command, Events
from rig.errors import UserError
from rig.reactor import Reactor
from rig.splitdriver import back_service
from rig.splitdriver.back_service import BackService
from rig.splitdriver.link import Link, listen
from rig.splitdriver.messages import PROTOCOL_VERSION, Hello, Message, Refused, Role
from rig.usb.urb import Speed


class NoPort:
    """A port into which nothing is plugged."""

    name = "dummy_hcd.0/1"
    device: socket.socket | None = None
    present = False

    def __init__(self, *_: object) -> None:
        self.abandoned = 0

    def look(self) -> Speed | None:
        return None

    def completions(self) -> list[object]:
        return []

    refused = completions

    def abandon(self) -> None:
        self.abandoned += 1

    def close(self) -> None:
        """Nothing is to be undone."""


class World:
    """A service, its reactor, and what it told."""

    def __init__(self) -> None:
        self.out = io.BytesIO()
        self.reactor = Reactor()
        self.listener = listen(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.service = BackService("x", self.listener, None, Events(self.out), self.reactor)
        self.fronts: list[socket.socket] = []

    def front(self, *messages: Message) -> Link:
        """Come as a front end and say something."""
        connection = socket.create_connection(self.address, timeout=5)
        self.fronts.append(connection)
        link = Link(connection)
        link.send(messages)
        return link

    def step(self) -> None:
        """Handle what is ready now, and wait for nothing."""
        for number, events in self.reactor._epoll.poll(0.2):
            if number in self.reactor._handlers:
                self.reactor._handlers[number](events)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.out.getvalue().splitlines()]

    def close(self) -> None:
        self.service.close()
        self.reactor.close()
        for connection in self.fronts:
            connection.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(back_service, "Port", NoPort)
    one = World()
    yield one
    one.close()


def hear(world: World, link: Link) -> list[Message]:
    """Let the service work until it has said something to this front end."""
    for _ in range(25):
        world.step()
        if messages := link.receive():
            return messages
    raise AssertionError("the service says nothing")


GREETING = Hello(Role.FRONT, PROTOCOL_VERSION, "front")


def test_a_front_end_is_greeted_and_told_of(world: World) -> None:
    front = world.front(GREETING)
    assert hear(world, front) == [Hello(Role.BACK, PROTOCOL_VERSION, socket.gethostname())]
    world.step()
    assert world.events() == ["front"]
    assert world.service.obey(Command(1, "status", {})) == {
        "port": "dummy_hcd.0/1",
        "device": None,
        "front": "front",
    }


def test_a_second_front_end_is_refused_and_the_first_is_served_on(world: World) -> None:
    first = world.front(GREETING)
    hear(world, first)
    second = world.front(GREETING)
    assert hear(world, second) == [Refused("Another front end is using this port.")]
    world.step()
    assert first.receive() == []
    assert world.events() == ["front"]


def test_when_a_front_end_has_left_the_next_is_served(world: World) -> None:
    first = world.front(GREETING)
    hear(world, first)
    world.step()
    first.close()
    world.step()
    assert world.events() == ["front", "front-lost"]
    assert isinstance(hear(world, world.front(GREETING))[0], Hello)


def test_a_service_that_stops_says_so(world: World) -> None:
    front = world.front(GREETING)
    hear(world, front)
    world.step()
    world.service._front.close("The back end is being stopped.")  # type: ignore[union-attr]
    assert front.receive() == [Refused("The back end is being stopped.")]


def test_an_unknown_command_is_the_users_fault(world: World) -> None:
    with pytest.raises(UserError, match="knows no command 'dance'"):
        world.service.obey(Command(1, "dance", {}))


def test_without_a_plan_nothing_is_planned(world: World) -> None:
    assert world.service.obey(Command(1, "faults", {})) == {"planned": {}, "fired": {}}
    assert world.service.obey(Command(1, "phase", {"name": "write"})) is None


class Plugged(NoPort):
    """A port with a device that stays; to look for another would lose it."""

    def __init__(self, *_: object) -> None:
        super().__init__()
        self.present = True
        self.location = SimpleNamespace(device="1-1")

    def look(self) -> Speed | None:
        assert self.device is None, "asked again although a device is known"
        if not self.present:
            return None
        self.device = socket.socket()
        return Speed.HIGH

    def close_device(self) -> None:
        assert self.device is not None
        self.device.close()
        self.device = None


def test_news_of_other_devices_leave_a_known_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_service, "Port", Plugged)
    world = World()
    world.service._look()
    world.service._look()
    assert world.events() == ["plugged"]
    port: Any = world.service._port
    port.present = False
    world.service._look()
    assert world.events() == ["plugged", "unplugged"]
    world.close()
