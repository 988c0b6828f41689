"""One port of the back end, from what is plugged in to the front end's messages and back."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from rig.daemon import Events
from rig.faults.plan import Plan
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, When
from rig.faults.triggers import Injector
from rig.splitdriver.back import port as port_module
from rig.splitdriver.back.back_port import BackPort
from rig.splitdriver.back.port import Port
from rig.splitdriver.backend import BackEnd
from rig.splitdriver.messages import (
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Message,
    Reset,
    ResetDone,
    Resume,
    Submit,
    Unlink,
)
from rig.splitdriver.policy import Policy
from rig.tests.harness.fake_usbfs import DEVICE, HUB, Node, Nodes
from rig.tests.harness.stepped import SteppedReactor
from rig.usb import sysfs
from rig.usb.setup import SetupPacket
from rig.usb.sysfs import PortLocation
from rig.usb.urb import Direction, Speed, TransferFlags
from rig.usb.usbfs import Reaped

OTHER_DEVICE = "/dev/bus/usb/003/003"
OUT, IN = 0x01, 0x81
FAULT = EndpointFault(
    name="f",
    direction=Direction.OUT,
    status=EndpointStatus.EPROTO,
    when=When.BEFORE,
    nth=2,
)


class World:
    """A port with a front end that hears all it says."""

    def __init__(
        self, nodes: Nodes, *, window: int = 1, faults: bool = False, time_stops: bool = False
    ) -> None:
        self.nodes = nodes
        self.reactor = SteppedReactor()
        self.out = io.BytesIO()
        self.said: list[Message] = []
        injector = Injector(Plan(name="t", faults=(FAULT,)), EndpointFault) if faults else None
        self.port = BackPort(
            BackEnd(Policy.HOLD, window),
            Port("dummy_hcd.0/1"),
            injector,
            send=self.said.extend,
            events=Events(self.out),
            reactor=self.reactor,
            time_stops=time_stops,
        )
        self.port.core.linked()

    @property
    def node(self) -> Node:
        return self.nodes.nodes[DEVICE]

    def look(self) -> None:
        """Look into the port, and wait until it has been seen."""
        self.port.look()
        self.reactor.until(lambda: not self.port._helper.busy)

    def plug(self, path: str = DEVICE) -> None:
        """Plug in, and let the front end configure it."""
        self.nodes.add("3-1", path)
        self.look()
        assert isinstance(self.said.pop(), Connect)
        self.hear(urb(0, 0, setup=SetupPacket(0, 9, 1, 0, 0)))
        self.reactor.until(lambda: bool(self.said))
        assert self.take() == [Complete(1, 0, 0, 0)]
        self.node.take()

    def unplug(self) -> None:
        self.nodes.present.pop("3-1", None)
        self.node.hang_up()
        self.reactor.turn()
        self.look()

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.port.core.receive(message)
        self.port.act()

    def end(self, *done: Reaped) -> None:
        """Let URBs end in the controller."""
        self.node.complete(*done)
        self.reactor.turn()

    def take(self) -> list[Message]:
        said = self.said[:]
        self.said.clear()
        return said

    def events(self, *which: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.out.getvalue().splitlines()]
        told = [line for line in lines if line["event"] in which]
        return [{key: value for key, value in line.items() if key != "t"} for line in told]

    def close(self) -> None:
        self.port.close()
        for node in self.nodes.nodes.values():
            assert node.closed.wait(10)
            assert node.overlaps == []
        self.reactor.close()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    one = Nodes()
    monkeypatch.setattr(port_module, "UsbfsDevice", one.open)
    monkeypatch.setattr(sysfs, "locate", lambda _: PortLocation("usb3", 1, "3-1"))
    monkeypatch.setattr(sysfs, "twin", lambda _: None)
    monkeypatch.setattr(sysfs, "node", one.present.get)
    yield one
    one.close()


@pytest.fixture
def world(nodes: Nodes) -> Iterator[World]:
    one = World(nodes)
    one.plug()
    yield one
    one.close()


def urb(number: int, address: int = OUT, setup: SetupPacket | None = None) -> Submit:
    data = bytearray(b"data") if address == OUT else b""
    packed = setup.pack() if setup is not None else bytes(8)
    length = 4 if address else 0
    return Submit(1, number, address, TransferFlags.NONE, length, packed, data)


def calls(node: Node) -> list[tuple[object, ...]]:
    return [call[:2] for call in node.take()]


def test_a_device_is_told_of_and_its_status_too(world: World) -> None:
    assert world.events("plugged") == [{"event": "plugged", "device": "3-1", "speed": "HIGH"}]
    status = world.port.status()
    endpoints = status.pop("endpoints")
    assert status == {"name": "dummy_hcd.0/1", "device": 1, "violations": 0, "served": True}
    assert isinstance(endpoints, list)
    assert (endpoints[0].address, endpoints[0].kind, endpoints[0].done) == (0, "control", None)


def test_the_status_tells_what_is_queued_and_what_the_controller_has(world: World) -> None:
    world.hear(urb(1), urb(2))
    endpoints = world.port.status()["endpoints"]
    assert isinstance(endpoints, list)
    (one,) = [one for one in endpoints if one.queued]
    assert (one.queued, one.in_flight, one.stopped) == (2, 1, False)


def test_an_urb_goes_to_the_controller_and_its_end_to_the_front_end(world: World) -> None:
    world.hear(urb(1), urb(2))
    assert calls(world.node) == [("submit", 1)]
    world.end(Reaped(1, 0, 4))
    assert world.take() == [Complete(1, 1, 0, 4)]
    assert calls(world.node) == [("submit", 2)]


def test_an_error_stops_the_endpoint_until_the_front_end_resumes_it(world: World) -> None:
    world.hear(urb(1), urb(2))
    world.end(Reaped(1, -errno.EPIPE, 0))
    assert world.take() == [Complete(1, 1, -errno.EPIPE, 0, 1, quiet=True)]
    assert calls(world.node) == [("submit", 1)]
    world.hear(Resume(1, OUT, 1))
    assert calls(world.node) == [("submit", 2)]


def test_a_submit_that_the_kernel_refuses_is_told_at_once(world: World) -> None:
    world.node.errors = {"submit": errno.ENOMEM}
    world.hear(urb(1))
    assert world.take() == [Complete(1, 1, -errno.ENOMEM, 0, 1, quiet=True)]


def test_an_urb_that_is_unlinked_is_discarded_and_told(world: World) -> None:
    world.hear(urb(1), Unlink(1, 1))
    world.reactor.until(lambda: bool(world.said))
    assert world.take() == [Complete(1, 1, -errno.ECONNRESET, 0, 2, quiet=True)]


def test_a_reset_is_carried_out_and_told(world: World) -> None:
    world.hear(Reset(1))
    world.reactor.until(lambda: bool(world.said))
    assert world.take() == [ResetDone(1, 0)]
    assert world.events("reset") == [{"event": "reset", "status": "0", "port": "dummy_hcd.0/1"}]


def test_the_front_end_is_heard_while_the_kernel_blocks(world: World) -> None:
    let_go = world.node.hold("reset")
    world.hear(Reset(1), urb(1))
    world.reactor.until(lambda: world.node.blocks_in("reset"))
    world.hear(urb(2, IN), Unlink(1, 2))
    assert world.take() == [Complete(1, 2, -errno.ECONNRESET, 0, 1, quiet=True)]
    assert ("submit", 1) not in calls(world.node)
    let_go()
    world.reactor.until(lambda: bool(world.said))
    assert world.take() == [ResetDone(1, 0)]
    assert ("submit", 1) in calls(world.node)


def test_what_a_reset_has_killed_is_told_before_it(world: World) -> None:
    let_go = world.node.hold("reset")
    world.hear(urb(1), Reset(1))
    world.reactor.until(lambda: world.node.blocks_in("reset"))
    world.node.complete(Reaped(1, -errno.ENOENT, 0))
    let_go()
    world.reactor.until(lambda: bool(world.said))
    assert world.take() == [
        Complete(1, 1, -errno.ESHUTDOWN, 0, 1, quiet=True),
        ResetDone(1, 0),
    ]


def test_a_device_that_leaves_is_told_once_with_what_it_had_ended_before(world: World) -> None:
    world.hear(urb(1), urb(2, IN))
    world.node.complete(Reaped(1, 0, 4))
    world.unplug()
    assert world.take() == [Complete(1, 1, 0, 4), Disconnect(1)]
    assert world.events("unplugged") == [{"event": "unplugged", "device": "3-1"}]
    assert world.node.closed.wait(10)
    world.look()
    assert world.take() == []


def test_what_was_queued_for_a_device_that_left_does_not_run_on_the_next(world: World) -> None:
    world.hear(urb(1), urb(2))
    world.node.complete(Reaped(1, 0, 4))
    # Nobody has looked at the end of URB 1 when another device is found in the port.
    other = world.nodes.add("3-1", OTHER_DEVICE)
    world.look()
    assert world.take() == [Complete(1, 1, 0, 4), Disconnect(1)]
    assert [name for name, *_ in other.take() if name == "submit"] == []
    world.hear(Disconnected(1))
    assert world.take() == [Connect(2, Speed.HIGH)]


@pytest.mark.parametrize("call", ["descriptors", "speed", "claim_interface", "close"])
def test_a_device_that_does_not_answer_is_not_waited_for(nodes: Nodes, call: str) -> None:
    world = World(nodes)
    node = nodes.add("3-1", DEVICE)
    if call == "close":
        node.octets = b""  # it is not to be served
    let_go = node.hold(call)
    world.port.look()
    world.reactor.until(lambda: node.blocks_in(call))
    assert world.take() == []
    let_go()
    world.look()
    assert world.take() == ([] if call == "close" else [Connect(1, Speed.HIGH)])
    world.close()


def test_a_device_that_left_before_it_was_seen_is_told_and_missed(nodes: Nodes) -> None:
    world = World(nodes)
    node = nodes.add("3-1", DEVICE)
    let_go = node.hold("speed")
    world.port.look()
    world.reactor.until(lambda: node.blocks_in("speed"))
    del nodes.present["3-1"]
    world.port.look()
    let_go()
    world.reactor.until(lambda: len(world.said) == 2)
    assert world.take() == [Connect(1, Speed.HIGH), Disconnect(1)]
    world.close()


def test_a_port_that_is_given_back_while_one_looks_leaves_nothing_open(nodes: Nodes) -> None:
    world = World(nodes)
    node = nodes.add("3-1", DEVICE)
    let_go = node.hold("speed")
    world.port.look()
    world.reactor.until(lambda: node.blocks_in("speed"))
    world.port.close()
    let_go()
    assert node.closed.wait(10)
    assert nodes.nodes[HUB].closed.wait(10)
    world.reactor.close()


def test_news_of_other_devices_leave_a_known_one_alone(world: World) -> None:
    world.look()
    assert (world.take(), world.node.take()) == ([], [])


def test_the_end_of_a_blocked_device_is_not_waited_for(world: World) -> None:
    let_go = world.node.hold("reset")
    world.hear(Reset(1))
    world.reactor.until(lambda: world.node.blocks_in("reset"))
    world.unplug()
    assert world.take() == [Disconnect(1)]
    assert not world.node.closed.is_set()
    let_go()


def test_the_urbs_of_a_front_end_that_is_lost_are_taken_back(world: World) -> None:
    world.hear(urb(1), urb(2), urb(3, IN))
    world.node.take()
    world.port.core.link_lost()
    world.port.core.linked()
    world.port.act()
    world.reactor.until(lambda: bool(world.said))
    assert world.take() == [Connect(1, Speed.HIGH)]
    assert calls(world.node) == [("discard", 3), ("discard", 1)]


def test_a_violation_is_told_with_how_many_there_were(nodes: Nodes) -> None:
    world = World(nodes, window=2)
    world.plug()
    world.hear(urb(1), urb(2))
    world.end(Reaped(1, -errno.EPROTO, 0), Reaped(2, 0, 4))
    world.hear(Resume(1, OUT, 1))
    assert [event["count"] for event in world.events("violation")] == [1]
    assert world.port.status()["violations"] == 1
    world.close()


def test_a_fault_is_told_with_all_that_identifies_it(nodes: Nodes) -> None:
    world = World(nodes, faults=True)
    world.plug()
    world.hear(urb(1), urb(2))
    world.end(Reaped(1, 0, 4))
    assert world.take()[-1] == Complete(1, 2, -errno.EPROTO, 0, 1, quiet=True)
    assert world.events("fault") == [
        {
            "event": "fault",
            "layer": "endpoint",
            "rule": "f",
            "match": 2,
            "by_hand": False,
            "when": "before",
            "status": "-EPROTO",
            "endpoint": OUT,
            "urb": 2,
            "buffer_bytes": 4,
        }
    ]
    world.close()


def test_how_long_an_endpoint_stood_still_is_told_on_request(nodes: Nodes) -> None:
    world = World(nodes, time_stops=True)
    world.plug()
    world.hear(urb(1), urb(2))
    world.end(Reaped(1, -errno.EPIPE, 0))
    assert world.events("went-on") == []
    world.hear(Resume(1, OUT, 1))
    (told,) = world.events("went-on")
    assert told["endpoint"] == OUT
    assert told["stood_s"] >= 0
    world.end(Reaped(2, 0, 4))
    assert len(world.events("went-on")) == 1
    world.close()


def test_how_long_an_endpoint_stood_still_is_not_told_unasked(world: World) -> None:
    world.hear(urb(1))
    world.end(Reaped(1, -errno.EPIPE, 0))
    world.hear(Resume(1, OUT, 1))
    assert world.events("went-on") == []
