"""``rig front`` as a back end meets it, over a model of ``vhci_hcd``."""

from __future__ import annotations

import errno
import io
import json
import logging
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rig.daemon import Command, Events
from rig.errors import RemoteProtocolError, UserError
from rig.net.address import listen
from rig.splitdriver.front import service
from rig.splitdriver.front.service import FrontService
from rig.splitdriver.lane import StaleError
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    Capability,
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Hello,
    Message,
    Pong,
    Refused,
    Reset,
    Resume,
    Role,
    Submit,
    Unlink,
    device_number,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.transport.caller import Caller
from rig.splitdriver.transport.link import Link, SocketStream
from rig.splitdriver.transport.security import Security
from rig.tests.harness.fake_vhci import FakeVhci, KernelPort
from rig.tests.harness.stepped import SteppedReactor
from rig.usb.urb import Speed

GREETING = Hello(Role.BACK, Policy.HOLD, "back")
FIRST, SECOND = device_number(0, 1), device_number(1, 1)


class World:
    """A service, its kernel, and the back end that it calls."""

    def __init__(
        self, kernel: FakeVhci, capabilities: Capability = ALL_CAPABILITIES, *, away: bool = False
    ) -> None:
        self.kernel = kernel
        self.reactor = SteppedReactor()
        self.out = io.BytesIO()
        self.listener = listen(("127.0.0.1", 0))
        self.listener.setblocking(True)
        self.listener.settimeout(5)
        address = self.listener.getsockname()
        if away:
            self.listener.close()
        self.service = FrontService(
            partial(Caller, address, Security(Role.FRONT), self.reactor),
            Policy.HOLD,
            capabilities,
            events=Events(self.out),
            reactor=self.reactor,
        )
        if kernel.attached:
            kernel.enumerate_hidden()
            self.reactor.turn()
        self.backs: list[socket.socket] = []

    def back(self, *messages: Message) -> Link:
        """Answer its call as a back end, and say something."""
        connection, _ = self.listener.accept()
        connection.settimeout(5)
        self.backs.append(connection)
        link = Link(SocketStream(connection))
        link.send(messages)
        self.reactor.turn(0.2)
        return link

    def served(self, *messages: Message) -> Link:
        """A back end that has been greeted."""
        link = self.back(GREETING, *messages)
        assert isinstance(self.hear(link)[0], Hello)
        return link

    def say(self, link: Link, *messages: Message) -> None:
        link.send(messages)
        self.reactor.turn(0.2)

    def hear(self, link: Link, count: int = 1) -> list[Message]:
        """Let the service work until it has said so much."""
        heard: list[Message] = []

        def enough() -> bool:
            heard.extend(link.receive())
            return len(heard) >= count

        self.reactor.until(enough)
        return heard

    def send(self, port: KernelPort, *commands: object) -> None:
        port.send(*commands)  # type: ignore[arg-type]
        self.reactor.turn()

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.out.getvalue().splitlines()]

    def status(self) -> dict[str, object]:
        status = self.service.obey(Command(1, "status", {}))
        assert isinstance(status, dict)
        return status

    def close(self) -> None:
        self.service.close()
        self.reactor.close()
        self.listener.close()
        for connection in self.backs:
            connection.close()


@pytest.fixture(autouse=True, params=["lane", "no lane"])
def forwards_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane must be compiled for these tests; without one all is the same."""
    assert vars(service)["lane"] is not None
    if request.param == "no lane":
        monkeypatch.setattr(service, "lane", None)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeVhci]:
    one = FakeVhci(monkeypatch, tmp_path / "locks")
    yield one
    one.close()


@pytest.fixture
def world(kernel: FakeVhci) -> Iterator[World]:
    one = World(kernel)
    yield one
    one.close()


def test_a_back_end_is_greeted_and_told_of(world: World) -> None:
    world.served()
    assert world.events() == ["back"]
    assert world.status() == {"ports": {}, "back": "back"}


def test_the_hidden_device_is_there_before_a_device_is(world: World) -> None:
    assert len(world.kernel.attached) == 1


def test_devices_of_several_ports_are_shown_each_in_a_half_of_its_own(world: World) -> None:
    world.served(Connect(FIRST, Speed.HIGH), Connect(SECOND, Speed.HIGH))
    world.kernel.enumerate_hidden()
    world.reactor.turn()
    first, second = world.kernel.port_of(FIRST), world.kernel.port_of(SECOND)
    assert first.number // 3 != second.number // 3
    assert world.status()["ports"] == {0: first.number, 1: second.number}


def test_what_one_port_does_is_told_of_that_port(world: World) -> None:
    back = world.served(Connect(FIRST, Speed.HIGH), Connect(SECOND, Speed.HIGH))
    world.kernel.enumerate_hidden()
    world.reactor.turn()
    port = world.kernel.port_of(SECOND)
    world.send(port, command := port.submit(0x81, length=4))
    (submit,) = world.hear(back)
    assert isinstance(submit, Submit)
    assert (submit.device, submit.urb_id) == (SECOND, command.seqnum)
    world.say(back, Complete(SECOND, command.seqnum, 0, 2, data=b"in"), Disconnect(FIRST))
    assert world.hear(back) == [Disconnected(FIRST)]
    assert [answer.seqnum for answer in port.receive()] == [command.seqnum]


def test_a_port_that_breaks_costs_that_device_alone(world: World) -> None:
    back = world.served(Connect(FIRST, Speed.HIGH), Connect(SECOND, Speed.HIGH))
    world.kernel.enumerate_hidden()
    world.reactor.turn()
    world.kernel.detach(world.kernel.port_of(FIRST).number)
    world.reactor.turn()
    assert world.hear(back) == [Disconnected(FIRST)]
    port = world.kernel.port_of(SECOND)
    world.send(port, port.submit())
    assert isinstance(world.hear(back)[0], Submit)
    world.say(back, Connect(FIRST + 1, Speed.HIGH))
    world.reactor.fire("leaving")
    world.reactor.fire("plug")
    world.reactor.turn()
    assert world.status()["ports"] == {0: world.kernel.port_of(FIRST + 1).number, 1: port.number}
    assert "back-lost" not in world.events()


def test_a_back_end_that_is_away_is_called_until_it_answers(
    kernel: FakeVhci, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        world = World(kernel, away=True)
        for _ in range(2):
            world.reactor.until(lambda: "call" in world.reactor.timers())
            world.reactor.fire("call")
        world.reactor.until(lambda: "call" in world.reactor.timers())
    assert [r.name for r in caplog.records].count("rig.front") == 1  # said once
    assert world.reactor.timers() == {"call"}
    assert world.status()["back"] is None
    world.close()


def test_a_link_that_is_lost_unplugs_every_device_and_the_back_end_is_called_again(
    world: World,
) -> None:
    back = world.served(Connect(FIRST, Speed.HIGH))
    back.close()
    world.reactor.until(lambda: "back-lost" in world.events())
    assert world.events() == ["back", "attached", "detached", "back-lost"]
    assert len(world.kernel.notice_unplug()) == 1
    world.reactor.fire("leaving")
    world.reactor.fire("call")
    again = world.served(Connect(FIRST, Speed.HIGH))
    world.reactor.turn()
    assert world.events()[-1] == "attached"
    port = world.kernel.port_of(FIRST)
    world.send(port, port.submit())
    assert len(world.hear(again)) == 1


def test_a_device_for_which_there_is_no_half_costs_the_others_nothing(world: World) -> None:
    devices = [Connect(device_number(number, 1), Speed.HIGH) for number in range(3)]
    back = world.served(*devices)
    port = world.kernel.port_of(FIRST)
    world.send(port, port.submit())
    assert len(world.hear(back)) == 1
    assert world.status()["ports"] == {0: port.number, 1: None, 2: None}


def test_what_a_back_end_must_not_say_costs_the_link_with_a_reason(world: World) -> None:
    back = world.served()
    world.say(back, Reset(FIRST))
    assert world.hear(back) == [Refused("A back end must not send Reset.")]


def test_what_speaks_of_no_port_is_the_back_ends_fault(world: World) -> None:
    with pytest.raises(RemoteProtocolError, match="must not send Pong"):
        world.service._on_messages([Pong(1)])


def test_what_both_ends_can_do_is_what_the_port_does(kernel: FakeVhci) -> None:
    world = World(kernel, Capability.PORT_RESET)
    back = world.served(Connect(FIRST, Speed.HIGH))
    port = world.kernel.port_of(FIRST)
    first, second = port.submit(), port.submit()
    world.send(port, first, second)
    world.hear(back, 2)
    world.say(back, Complete(FIRST, first.seqnum, -errno.EPROTO, 0, 1, quiet=True))
    world.send(port, port.unlink(second.seqnum))
    assert world.hear(back) == [Unlink(FIRST, second.seqnum, local=False)]
    world.close()


def test_an_endpoint_is_resumed_over_the_link(world: World) -> None:
    back = world.served(Connect(FIRST, Speed.HIGH))
    port = world.kernel.port_of(FIRST)
    world.send(port, command := port.submit())
    world.hear(back)
    world.say(back, Complete(FIRST, command.seqnum, -errno.EPROTO, 0, 1, quiet=True))
    port.receive()
    assert world.hear(back) == [Resume(FIRST, 0x01, 1)]


def test_a_machine_without_a_free_half_is_told_and_called_for_none(
    kernel: FakeVhci, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.leaving.update(range(12))
    with caplog.at_level(logging.WARNING):
        world = World(kernel)
    assert "has a port in use" in caplog.text
    world.close()


def test_a_lane_of_other_code_is_told_of_and_not_used(
    kernel: FakeVhci, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "lane", None)
    monkeypatch.setattr(service, "_stale", StaleError("Compile it anew."))
    world = World(kernel)
    world.served(Connect(FIRST, Speed.HIGH))
    assert caplog.messages == ["Compile it anew."]
    world.close()


def test_a_service_that_stops_says_so_and_detaches_all(kernel: FakeVhci) -> None:
    world = World(kernel)
    back = world.served(Connect(FIRST, Speed.HIGH))
    world.service.close()
    assert back.receive() == [Refused("The front end is being stopped.")]
    assert len(kernel.notice_unplug()) == 2
    assert kernel.attached == {}
    world.close()


def test_an_unknown_command_is_the_users_fault(world: World) -> None:
    with pytest.raises(UserError, match="knows no command 'dance'"):
        world.service.obey(Command(1, "dance", {}))
