"""One port of the front end, from the back end's messages to the kernel's PDUs and back."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.daemon import Events
from rig.splitdriver.front.front_port import FrontPort
from rig.splitdriver.front.halves import Halves
from rig.splitdriver.frontend import FrontEnd
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    Capability,
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Message,
    ResetDone,
    Resume,
    Submit,
    Unlink,
    device_number,
)
from rig.tests.harness.fake_vhci import FakeVhci, GivenBack, KernelPort, Unlinked, numbers
from rig.tests.harness.stepped import SteppedReactor
from rig.usb.urb import Speed

DEVICE = device_number(3, 1)
LARGE = 1 << 20


class World:
    """A port, the kernel it is shown to, and what it said."""

    def __init__(self, kernel: FakeVhci, capabilities: Capability = ALL_CAPABILITIES) -> None:
        self.kernel = kernel
        self.reactor = SteppedReactor()
        self.out = io.BytesIO()
        self.said: list[Message] = []
        self.broken: list[str] = []
        self.halves = Halves(self.reactor)
        self.port = FrontPort(
            FrontEnd(capabilities=capabilities),
            self.halves,
            send=self.said.extend,
            broke=self._on_broken,
            events=Events(self.out),
            reactor=self.reactor,
        )

    def _on_broken(self, reason: str) -> None:
        """Lose the link once, as the service does."""
        self.broken.append(reason)
        if len(self.broken) == 1:
            self.port.link_lost()

    def hear(self, *messages: Message) -> None:
        """Take messages of the back end."""
        for message in messages:
            self.port.receive(message)
        self.port.act()
        self.reactor.turn()

    def turn(self) -> None:
        self.reactor.turn()

    def plug(self, speed: Speed = Speed.HIGH) -> KernelPort:
        """Connect a device; the kernel enumerates the hidden one, if it does not know it."""
        self.hear(Connect(DEVICE, speed))
        if not self.kernel.nodes:
            self.kernel.enumerate_hidden()
            self.turn()
        return self.kernel.port_of(DEVICE)

    def take(self) -> list[Message]:
        """What was said since."""
        said = self.said[:]
        self.said.clear()
        return said

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.out.getvalue().splitlines()]

    def close(self) -> None:
        self.port.link_lost()
        self.halves.close()
        self.reactor.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    kernel = FakeVhci(monkeypatch, tmp_path / "locks")
    one = World(kernel)
    yield one
    one.close()
    kernel.close()


@pytest.fixture
def old_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """A world whose back end does not know that a front end may let go of a device."""
    kernel = FakeVhci(monkeypatch, tmp_path / "locks")
    one = World(kernel, ALL_CAPABILITIES & ~Capability.LET_GO)
    yield one
    one.close()
    kernel.close()


def numbers_of(messages: list[Message]) -> list[tuple[str, int]]:
    return [(type(m).__name__, m.urb_id) for m in messages if isinstance(m, Submit | Unlink)]


def test_a_device_is_attached_when_the_hidden_one_is_known(world: World) -> None:
    world.hear(Connect(DEVICE, Speed.HIGH))
    assert (world.port.vhci_port, world.events()) == (None, [])
    world.kernel.enumerate_hidden()
    world.turn()
    number = world.kernel.port_of(DEVICE).number
    assert (world.port.vhci_port, world.events()) == (number, ["attached"])


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH, Speed.SUPER, Speed.SUPER_PLUS])
def test_a_device_is_attached_at_its_speed(world: World, speed: Speed) -> None:
    assert world.plug(speed).speed is speed


def test_urbs_go_out_and_come_back(world: World) -> None:
    port = world.plug()
    port.send(command := port.submit(0x81, length=4))
    world.turn()
    (submit,) = world.take()
    assert isinstance(submit, Submit)
    assert (submit.device, submit.urb_id, submit.buffer_bytes) == (DEVICE, command.seqnum, 4)
    world.hear(Complete(DEVICE, command.seqnum, 0, 2, data=b"in"))
    assert port.receive() == [GivenBack(command.seqnum, 0, 2, b"in")]


def test_what_waited_for_the_hidden_devices_turn_is_told_with_it(world: World) -> None:
    port = world.plug()
    port.send(failed := port.submit(0x81, length=4))
    world.turn()
    world.kernel.holds_barriers = True
    world.hear(Complete(DEVICE, failed.seqnum, -errno.EPROTO, 0, 1, quiet=True))
    port.receive()
    world.turn()  # the barrier is queued
    world.take()
    # Queued behind the barrier on another port, and sent before it.
    port.send(late := port.submit(0x81, length=4), port.unlink(late.seqnum))
    world.turn()
    assert world.take() == []
    world.kernel.nodes[0].let_go()
    world.turn()
    assert numbers_of(world.take()) == [("Submit", late.seqnum), ("Unlink", late.seqnum)]


def test_an_error_is_followed_by_a_round_of_the_fence_and_then_by_resume(world: World) -> None:
    port = world.plug()
    port.send(failed := port.submit(), queued := port.submit())
    world.turn()
    world.take()
    world.hear(Complete(DEVICE, failed.seqnum, -errno.EPROTO, 0, 1, quiet=True))
    unlink = port.unlink(queued.seqnum)  # by the handler
    assert (port.receive(), world.take()) == ([GivenBack(failed.seqnum, -errno.EPROTO, 0)], [])
    world.turn()
    port.send(unlink)
    world.turn()
    assert world.take() == [Unlink(DEVICE, queued.seqnum, local=True)]
    # What was given back for the unlink has a handler, too.
    assert numbers(port.receive()) == [queued.seqnum, unlink.seqnum]
    world.turn()
    assert world.take() == [Resume(DEVICE, 0x01, 1)]


def test_an_urb_is_given_back_before_its_unlink_is_answered(world: World) -> None:
    port = world.plug()
    port.send(command := port.submit())
    port.send(unlink := port.unlink(command.seqnum))
    world.turn()
    assert numbers_of(world.take()) == [("Submit", command.seqnum), ("Unlink", command.seqnum)]
    world.hear(Complete(DEVICE, command.seqnum, -errno.ECONNRESET, 0, 1, quiet=True))
    assert port.receive() == [
        GivenBack(command.seqnum, -errno.ECONNRESET, 0),
        Unlinked(unlink.seqnum),
    ]


def test_a_disconnect_detaches_the_device(world: World) -> None:
    port = world.plug()
    world.hear(Disconnect(DEVICE))
    assert world.take() == [Disconnected(DEVICE)]
    assert world.kernel.notice_unplug() == [port.number]
    assert (world.port.vhci_port, world.events()) == (None, ["attached", "detached"])


def test_a_disconnect_in_mid_round_ends_it(world: World) -> None:
    port = world.plug()
    port.send(failed := port.submit())
    world.turn()
    world.take()
    world.kernel.holds_barriers = True
    world.hear(Complete(DEVICE, failed.seqnum, -errno.EPROTO, 0, 1, quiet=True))
    port.receive()
    world.turn()
    world.hear(Disconnect(DEVICE))
    world.kernel.nodes[0].let_go()
    world.turn()
    assert world.take() == [Disconnected(DEVICE)]


def test_a_device_that_leaves_before_it_could_be_attached_is_never_attached(world: World) -> None:
    world.hear(Connect(DEVICE, Speed.HIGH), Disconnect(DEVICE))
    world.kernel.enumerate_hidden()
    world.turn()
    assert (world.events(), world.take()) == ([], [Disconnected(DEVICE)])


def test_the_next_device_comes_into_the_same_half(world: World) -> None:
    first = world.plug()
    world.hear(Disconnect(DEVICE), Connect(DEVICE + 1, Speed.HIGH))
    world.kernel.notice_unplug()
    world.reactor.fire("leaving")
    world.turn()
    second = world.kernel.port_of(DEVICE + 1)
    assert second.number != first.number
    second.send(command := second.submit())
    world.turn()
    assert numbers_of(world.take()) == [("Submit", command.seqnum)]


def test_a_lost_link_detaches_the_device(world: World) -> None:
    port = world.plug()
    world.port.link_lost()
    assert world.kernel.notice_unplug() == [port.number]
    assert world.take() == []


def test_the_end_of_a_reset_is_told(world: World) -> None:
    world.plug()
    world.hear(ResetDone(DEVICE, -errno.EIO))
    told = json.loads(world.out.getvalue().splitlines()[-1])
    assert (told["event"], told["status"], told["device_port"]) == ("reset", "-EIO", 3)


def test_a_device_for_which_there_is_no_half_waits_for_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.kernel.leaving.update(range(12))
    world.hear(Connect(DEVICE, Speed.HIGH))
    world.reactor.fire("plug")
    (said,) = caplog.messages
    assert said.startswith("the device in port 3 of the link is not shown: Every controller")
    world.kernel.leaving.clear()
    world.reactor.fire("plug")
    world.kernel.enumerate_hidden()
    world.turn()
    assert (world.events(), world.broken) == (["attached"], [])
    assert world.reactor.timers() == set()


def test_a_device_that_waits_for_a_half_may_leave(world: World) -> None:
    world.kernel.leaving.update(range(12))
    world.hear(Connect(DEVICE, Speed.HIGH), Disconnect(DEVICE))
    assert (world.take(), world.reactor.timers()) == ([Disconnected(DEVICE)], set())


def test_a_device_that_the_kernel_does_not_attach_is_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.hear(Connect(DEVICE, Speed.HIGH))
    world.kernel.attach_errors = [errno.EBUSY]
    world.kernel.enumerate_hidden()
    world.turn()
    assert (world.events(), world.port.vhci_port) == ([], None)
    assert "is not shown: [Errno 16] told to fail" in caplog.text
    world.reactor.fire("plug")
    world.turn()
    assert (world.events(), world.broken) == (["attached"], [])


def test_a_device_whose_port_the_kernel_detaches_is_let_go_of_and_shown_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    port = world.plug()
    world.kernel.detach(port.number)
    world.turn()
    reason = f"vhci_hcd gave up port {port.number}: vhci_hcd closed the port's socket."
    assert (world.take(), world.broken, caplog.messages) == ([Disconnected(DEVICE)], [], [reason])
    world.hear(Connect(DEVICE + 1, Speed.HIGH))
    assert world.events() == ["attached", "port-broke", "detached"]  # after a pause
    world.reactor.fire("leaving")
    world.reactor.fire("plug")
    world.turn()
    assert world.events()[-1] == "attached"
    again = world.kernel.port_of(DEVICE + 1)
    again.send(command := again.submit())
    world.turn()
    assert numbers_of(world.take()) == [("Submit", command.seqnum)]


def test_the_back_end_may_not_know_of_it_and_then_the_link_breaks(old_back: World) -> None:
    port = old_back.plug()
    old_back.kernel.detach(port.number)
    old_back.turn()
    assert old_back.broken == [
        f"vhci_hcd gave up port {port.number}: vhci_hcd closed the port's socket."
    ]


def test_nothing_more_is_said_of_a_device_that_was_let_go_of(world: World) -> None:
    port = world.plug()
    port.send(command := port.submit(), failed := port.submit(0x02))
    world.turn()
    world.take()
    port.send(port.submit(), port.unlink(failed.seqnum))
    world.kernel.detach(port.number)
    # What was queued before is read and told, what comes back cannot be given back.
    world.hear(Complete(DEVICE, command.seqnum, 0, 0))
    world.turn()
    assert isinstance(world.take()[-1], Disconnected)
    world.hear(Complete(DEVICE, failed.seqnum, -errno.ECONNRESET, 0, 1, quiet=True))
    assert (world.take(), world.broken) == ([], [])


def test_a_link_that_is_lost_while_the_port_breaks_is_told_once(world: World) -> None:
    port = world.plug()
    world.kernel.detach(port.number)
    world.port.link_lost()
    world.turn()
    assert (world.take(), world.events()) == ([], ["attached", "detached"])


def test_a_half_that_is_lost_costs_the_device_and_another_half_shows_it(world: World) -> None:
    world.plug()
    world.kernel.detach(world.kernel.port_of(0).number)
    world.turn()
    assert (world.broken, world.take()) == ([], [Disconnected(DEVICE)])
    assert world.events() == ["attached", "port-broke", "detached"]
    world.hear(Connect(DEVICE + 1, Speed.HIGH))
    world.reactor.fire("plug")
    world.kernel.enumerate_hidden()
    world.turn()
    assert world.events()[-1] == "attached"


def test_data_that_do_not_fit_the_socket_are_sent_when_there_is_room(world: World) -> None:
    port = world.plug()
    port.send(command := port.submit(0x81, length=LARGE))
    world.turn()
    data = bytes(range(256)) * (LARGE // 256)
    world.hear(Complete(DEVICE, command.seqnum, 0, LARGE, data=data))
    seen = b""
    while len(seen) < LARGE + 48:
        seen += port.socket.recv(LARGE)
        world.turn()
    assert seen[48:] == data
    # And nobody waits for room any more: the next one goes the usual way.
    port.send(command := port.submit(0x81, length=4))
    world.turn()
    world.hear(Complete(DEVICE, command.seqnum, 0, 2, data=b"in"))
    assert port.receive() == [GivenBack(command.seqnum, 0, 2, b"in")]
