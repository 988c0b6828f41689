"""``rig back`` as a front end meets it, over models of usbfs and sysfs."""

from __future__ import annotations

import errno
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.daemon import Command, Events
from rig.errors import UserError
from rig.faults.plan import Plan
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, When
from rig.faults.triggers import EndpointInjector, Injector
from rig.net.address import listen
from rig.splitdriver.back import port as port_module
from rig.splitdriver.back import service as back_service
from rig.splitdriver.back.options import Rules, parser, rules_of
from rig.splitdriver.back.service import BackService
from rig.splitdriver.lane import StaleError
from rig.splitdriver.messages import (
    Capability,
    Complete,
    Connect,
    Disconnect,
    Hello,
    Message,
    Ping,
    Pong,
    Refused,
    Reset,
    Resume,
    Role,
    Submit,
    device_number,
)
from rig.splitdriver.policy import ACA_STATUSES, Policy
from rig.splitdriver.transport.handshake import Gate
from rig.splitdriver.transport.link import Link, SocketStream
from rig.splitdriver.transport.meeting import Admitted, Rejected
from rig.splitdriver.transport.security import Security
from rig.tests.harness.fake_usbfs import DEVICE, TWIN_HUB, Nodes
from rig.tests.harness.stepped import SteppedReactor
from rig.usb import sysfs, uevent
from rig.usb.sysfs import PortLocation
from rig.usb.urb import Direction, Speed, TransferFlags
from rig.usb.usbfs import Reaped

NAMES = ("3-1", "3-2")
SECOND = device_number(1, 1)


class World:
    """A service with two ports, its reactor, and what it told."""

    def __init__(
        self,
        nodes: Nodes,
        names: tuple[str, ...] = NAMES,
        rules: Rules = Rules(),  # noqa: B008 - frozen
        injector: EndpointInjector | None = None,
    ) -> None:
        self.nodes = nodes
        self.out = io.BytesIO()
        self.reactor = SteppedReactor()
        self.fronts: list[socket.socket] = []
        self.service = BackService(
            names,
            rules,
            self._door,
            injector=injector,
            events=Events(self.out),
            reactor=self.reactor,
        )

    def _door(self, admitted: Admitted, rejected: Rejected) -> Gate:
        listener = listen(("127.0.0.1", 0))
        self.address = listener.getsockname()
        return Gate(
            listener,
            Security(Role.BACK),
            self.reactor,
            admitted=admitted,
            rejected=rejected,
        )

    def front(self, *messages: Message) -> Link:
        """Come as a front end and say something."""
        connection = socket.create_connection(self.address, timeout=5)
        self.fronts.append(connection)
        link = Link(SocketStream(connection))
        link.send(messages)
        return link

    def look(self) -> None:
        """Look into the ports, and wait until they have been seen."""
        self.service._look()
        self.reactor.until(lambda: not any(p._helper.busy for p in self.service._ports))

    def hear(self, link: Link, count: int = 1) -> list[Message]:
        """Let the service work until it has said so much to this front end."""
        heard: list[Message] = []

        def enough() -> bool:
            heard.extend(link.receive())
            return len(heard) >= count

        self.reactor.until(enough)
        return heard

    def served(self) -> Link:
        """A front end that has been greeted and told of what is plugged in."""
        link = self.front(GREETING)
        self.hear(link, 1 + sum(name in self.nodes.present for name in NAMES))
        return link

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.out.getvalue().splitlines()]

    def close(self) -> None:
        self.service.close()
        self.reactor.close()
        for connection in self.fronts:
            connection.close()


GREETING = Hello(Role.FRONT, Policy.HOLD, "front")


@pytest.fixture(autouse=True, params=["lane", "no lane"])
def forwards_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane must be compiled for these tests; without one all is the same."""
    assert vars(back_service)["lane"] is not None
    if request.param == "no lane":
        monkeypatch.setattr(back_service, "lane", None)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    one = Nodes()
    monkeypatch.setattr(port_module, "UsbfsDevice", one.open)
    monkeypatch.setattr(sysfs, "locate", lambda name: PortLocation("usb3", int(name[2:]), name))
    monkeypatch.setattr(sysfs, "twin", lambda _: None)
    monkeypatch.setattr(sysfs, "node", one.present.get)
    monkeypatch.setattr(sysfs, "controller_driver", lambda _: "xhci_hcd")
    yield one
    one.close()


@pytest.fixture
def world(nodes: Nodes) -> Iterator[World]:
    one = World(nodes)
    yield one
    one.close()


def submit(number: int, device: int = 1) -> Submit:
    return Submit(device, number, 0x01, TransferFlags.NONE, 4, bytes(8), b"data")


def test_a_front_end_is_greeted_and_told_of(world: World) -> None:
    front = world.front(GREETING)
    assert world.hear(front) == [Hello(Role.BACK, Policy.HOLD, socket.gethostname())]
    assert world.events() == ["front"]
    assert world.service.obey(Command(1, "status", {})) == {
        "ports": [
            {"name": name, "device": None, "violations": 0, "served": False, "endpoints": []}
            for name in NAMES
        ],
        "front": "front",
    }


def test_without_a_front_end_the_status_names_none(world: World) -> None:
    status = world.service.obey(Command(1, "status", {}))
    assert isinstance(status, dict)
    assert status["front"] is None


def test_a_second_front_end_is_refused_and_the_first_is_served_on(world: World) -> None:
    first = world.served()
    second = world.front(GREETING)
    assert world.hear(second) == [Refused("Another front end is using this back end.")]
    assert first.receive() == []
    assert world.events() == ["front"]


def test_when_a_front_end_has_left_the_next_is_served(world: World) -> None:
    world.served().close()
    world.reactor.until(lambda: world.events() == ["front", "front-lost"])
    assert isinstance(world.hear(world.front(GREETING))[0], Hello)


def test_a_service_that_stops_says_so(nodes: Nodes) -> None:
    world = World(nodes)
    front = world.served()
    world.service.close()
    assert front.receive() == [Refused("The back end is being stopped.")]
    world.reactor.close()
    world.fronts[0].close()


def test_a_front_end_of_another_policy_is_refused(world: World) -> None:
    front = world.front(Hello(Role.FRONT, Policy.ACA, "front"))
    _, refusal = world.hear(front, 2)
    assert isinstance(refusal, Refused)
    assert "policy is aca, this one's hold" in refusal.reason


def test_a_front_end_is_promised_no_order_where_there_is_none(nodes: Nodes) -> None:
    world = World(nodes, rules=Rules(Policy.NAIVE))
    (hello,) = world.hear(world.front())
    assert isinstance(hello, Hello)
    assert Capability.IN_ORDER not in hello.capabilities
    world.close()


def test_a_lane_of_other_code_is_told_of_and_not_used(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(back_service, "lane", None)
    monkeypatch.setattr(back_service, "_stale", StaleError("Compile it anew."))
    world = World(nodes)
    assert isinstance(world.hear(world.front(GREETING))[0], Hello)
    assert caplog.messages == ["Compile it anew."]
    world.close()
    World(nodes, rules=Rules(lane=False)).close()
    assert len(caplog.messages) == 1


# Several ports.


def test_a_connector_that_is_given_twice_is_told_by_both_its_names(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, twin = PortLocation("usb3", 1, "3-1"), PortLocation("usb4", 1, "4-1")
    nodes.present["usb4"] = TWIN_HUB
    monkeypatch.setattr(sysfs, "locate", {"dummy_hcd.0/1": here, "3-1": here, "4-1": twin}.get)
    monkeypatch.setattr(sysfs, "twin", {here: twin, twin: here}.get)
    for again in ("dummy_hcd.0/1", "3-1", "4-1"):
        complaint = f"Port '{again}' is the same connector as port 'dummy_hcd.0/1'. Give each"
        with pytest.raises(UserError, match=complaint):
            World(nodes, ("dummy_hcd.0/1", again))
        assert all(node.closed.wait(10) for node in nodes.nodes.values())


def test_every_port_has_its_own_place_on_the_link(world: World) -> None:
    front = world.served()
    world.nodes.add("3-2", "/dev/bus/usb/003/007")
    world.service._look()
    assert world.hear(front) == [Connect(SECOND, Speed.HIGH)]
    world.nodes.add("3-1", DEVICE)
    world.service._look()
    assert world.hear(front) == [Connect(1, Speed.HIGH)]


def test_ports_are_served_side_by_side_with_the_same_numbers_of_urbs(world: World) -> None:
    first = world.nodes.add("3-1", DEVICE)
    second = world.nodes.add("3-2", "/dev/bus/usb/003/007")
    world.look()
    front = world.served()
    front.send([submit(1), submit(1, SECOND)])
    world.reactor.until(lambda: 1 in second.buffers)
    assert 1 in first.buffers
    second.complete(Reaped(1, 0, 4))
    assert world.hear(front) == [Complete(SECOND, 1, 0, 4)]
    first.complete(Reaped(1, 0, 4))
    assert world.hear(front) == [Complete(1, 1, 0, 4)]


def test_a_port_that_is_not_on_the_link_is_the_front_ends_fault(world: World) -> None:
    front = world.served()
    front.send([Reset(device_number(2, 1))])
    assert world.hear(front) == [Refused("There is no port 2 on this link.")]
    assert world.events()[-1] == "front-lost"


def test_what_speaks_of_no_port_and_is_not_the_sessions_is_the_front_ends_fault(
    world: World,
) -> None:
    front = world.served()
    # Only the session may say these, and it never passes them on.
    with pytest.raises(Exception, match="must not send Hello"):
        world.service._on_messages([GREETING])
    front.send([Disconnect(1)])
    assert world.hear(front) == [Refused("A front end must not send Disconnect.")]


def test_a_link_that_is_lost_is_lost_for_every_port(world: World) -> None:
    nodes = [world.nodes.add("3-1", DEVICE), world.nodes.add("3-2", "/dev/bus/usb/003/007")]
    world.look()
    front = world.served()
    front.send([submit(1), submit(1, SECOND)])
    world.reactor.until(lambda: all(1 in node.buffers for node in nodes))
    front.close()
    world.reactor.until(lambda: all(("discard", 1) in node.calls for node in nodes))


def test_news_of_usb_devices_make_the_ports_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.nodes.add("3-1", DEVICE)
    news = [{"SUBSYSTEM": "block"}, {"SUBSYSTEM": "usb", "DEVTYPE": "usb_interface"}]
    monkeypatch.setattr(uevent, "drain", lambda _: news)
    world.service._on_uevents(0)
    assert world.events() == []
    news.append({"SUBSYSTEM": "usb", "DEVTYPE": "usb_device"})
    world.service._on_uevents(0)
    world.reactor.until(lambda: world.events() == ["plugged"])


def test_a_device_that_does_not_answer_holds_up_neither_the_link_nor_the_other_port(
    world: World,
) -> None:
    mute = world.nodes.add("3-1", DEVICE)
    let_go = mute.hold("descriptors")
    world.service._look()
    world.reactor.until(lambda: mute.blocks_in("descriptors"))
    front = world.front(GREETING, Ping(7))
    assert world.hear(front, 2)[1] == Pong(7)
    world.nodes.add("3-2", "/dev/bus/usb/003/007")
    world.service._look()
    assert world.hear(front) == [Connect(SECOND, Speed.HIGH)]
    let_go()
    assert world.hear(front) == [Connect(1, Speed.HIGH)]


def test_a_port_that_cannot_be_mapped_gives_the_others_back(nodes: Nodes) -> None:
    reactor = SteppedReactor()
    hubs = nodes.present
    original = sysfs.locate

    def missing(name: str) -> PortLocation:
        return original(name) if name == NAMES[0] else PortLocation("usb9", 1, "9-1")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysfs, "locate", missing)
        with pytest.raises(UserError, match="its hub usb9 is not there"):
            World(nodes)
    assert nodes.nodes[hubs["usb3"]].closed.wait(10)
    reactor.close()


# Commands.


def test_an_unknown_command_is_the_users_fault(world: World) -> None:
    with pytest.raises(UserError, match="knows no command 'dance'"):
        world.service.obey(Command(1, "dance", {}))


def test_without_a_plan_nothing_is_planned(world: World) -> None:
    nothing: dict[str, object] = {"planned": {}, "fired": {}, "layers": {}}
    assert world.service.obey(Command(1, "faults", {})) == nothing
    assert world.service.obey(Command(1, "phase", {"name": "write"})) is None


def test_with_a_plan_its_rules_are_told_and_its_phase_is_set(nodes: Nodes) -> None:
    rule = EndpointFault(
        name="f", direction=Direction.OUT, status=EndpointStatus.EPROTO, when=When.BEFORE, nth=1
    )
    injector = Injector(Plan(name="t", faults=(rule,)), EndpointFault)
    world = World(nodes, injector=injector)
    assert world.service.obey(Command(1, "phase", {"name": "write"})) is None
    told = world.service.obey(Command(1, "faults", {}))
    counts = {"planned": injector.planned, "fired": injector.fired}
    assert told == {**counts, "layers": {"f": "endpoint"}}
    assert "f" in injector.planned
    world.close()


# Rules.


def test_a_window_where_the_kernel_is_not_exact_is_the_users_fault(nodes: Nodes) -> None:
    with pytest.raises(UserError, match=r"is xhci_hcd's, where a window of 4 is not exact\. Leave"):
        World(nodes, rules=Rules(window=4))
    assert all(node.closed.is_set() for node in nodes.nodes.values())


def test_a_window_where_the_kernel_is_exact_is_taken(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysfs, "controller_driver", lambda _: "dummy_hcd")
    World(nodes, rules=Rules(window=4)).close()


@pytest.mark.parametrize("policy", [Policy.ACA, Policy.NAIVE])
def test_another_policy_is_served_by_its_rule(nodes: Nodes, policy: Policy) -> None:
    nodes.add("3-1", DEVICE)
    world = World(nodes, rules=Rules(policy))
    front = world.front(Hello(Role.FRONT, policy, "front"))
    world.hear(front, 2)
    front.send([Resume(1, 0x01, 0)])
    assert world.hear(front) == [Refused(f"RESUME, but the policy is {policy}.")]
    world.close()


def rules(*options: str) -> Rules:
    return rules_of(parser().parse_args(["--port", "3-1", *options]))


def test_the_rules_are_hold_and_a_window_of_1_unless_told_otherwise() -> None:
    assert rules() == Rules(Policy.HOLD, 1, ACA_STATUSES["EPROTO"], time_stops=False)
    assert rules("--policy", "aca", "--aca-status", "EAGAIN", "--time-stops") == Rules(
        Policy.ACA, 1, ACA_STATUSES["EAGAIN"], time_stops=True
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--window", "0"), "A window of 0 cannot be. Take 1 to 64"),
        (("--window", "65"), "A window of 65 cannot be"),
        (("--window", "2", "--policy", "aca"), "for policy hold, not for aca"),
        (("--window", "2", "--plan", "x"), "do not go together"),
        (("--aca-status", "EAGAIN"), "for policy aca, not for hold"),
        (("--seed", "7"), "of no use without --plan"),
        (("--port", "3-2") * 256, "One link carries 256 ports, not 257"),
    ],
)
def test_options_that_contradict_each_other_are_told(
    options: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        rules(*options)


RULE = {"layer": "endpoint", "direction": "out", "status": "EPROTO", "when": "before", "nth": 1}


def test_a_rule_is_taken_while_it_runs(world: World) -> None:
    with pytest.raises(UserError, match="has the place 'cable'"):
        world.service.obey(Command(1, "add", {"rules": [{**RULE, "place": "cable"}]}))
    assert world.service.obey(Command(2, "add", {"rules": [RULE]})) == ["endpoint-1"]
    device = world.nodes.add("3-1", DEVICE)
    world.look()
    front = world.served()
    front.send([submit(1)])
    (complete,) = world.hear(front)
    assert isinstance(complete, Complete)
    assert (complete.status, complete.actual_bytes) == (-errno.EPROTO, 0)
    assert device.buffers == {}
    assert "fault" in world.events()


def test_with_a_window_no_rule_is_taken(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "controller_driver", lambda _: "dummy_hcd")
    world = World(nodes, rules=Rules(window=4))
    with pytest.raises(UserError, match="do not go together"):
        world.service.obey(Command(1, "add", {"rules": [RULE]}))
    world.close()


@pytest.mark.usefixtures("nodes")
def test_a_place_for_control_that_cannot_be_used_is_an_error_and_nobody_is_served(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["--port", "3-1", "--listen", "127.0.0.1:0", "--supervised"]
    assert back_service.main([*words, "--control", str(tmp_path / "file")]) == 2
    said = capfd.readouterr()
    assert f"no control socket in '{tmp_path}/file'" in said.err
    assert "listening" not in said.out
