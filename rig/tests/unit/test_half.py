"""One half of a controller, over a model of the kernel's side."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.errors import MachineError, RemoteProtocolError
from rig.helper_thread import HelperThread
from rig.reactor import READABLE
from rig.splitdriver import order
from rig.splitdriver.front import fence_node, leaving
from rig.splitdriver.front.half import Half
from rig.splitdriver.front.half_lock import lock_half
from rig.splitdriver.front.hcd import Hcd, PduWithData
from rig.splitdriver.order import LAST_SEQNUM
from rig.tests.harness.fake_vhci import FakeVhci, KernelPort
from rig.tests.harness.stepped import SteppedReactor
from rig.usb import vhci
from rig.usb.setup import SetupPacket
from rig.usb.urb import Speed
from rig.usb.usbip import CmdUnlink


class World:
    """A half, its kernel, and what was told of it."""

    def __init__(self, kernel: FakeVhci, super_speed: bool = False) -> None:
        self.kernel = kernel
        self.reactor = SteppedReactor()
        self.lost: list[str] = []
        self.events: list[object] = []
        (*_, ports) = vhci.free_halves(kernel.read_status(), super_speed=super_speed)
        lock = lock_half(ports)
        assert lock is not None
        self.lock = lock
        self.half = Half(ports, lock, self.reactor, self._on_lost)
        self.super_speed = super_speed

    def _on_lost(self, half: Half, reason: str) -> None:
        assert half is self.half
        self.lost.append(reason)
        half.close()

    def enumerate(self) -> KernelPort:
        """Let the kernel enumerate the hidden device."""
        hidden = self.kernel.enumerate_hidden()
        self.reactor.turn()
        return hidden

    def ready(self, what: object = "ready") -> None:
        """Ask for it, and note it in its turn among the other events."""
        self.half.when_ready(lambda: self.events.append(what))
        self.reactor.turn()

    def plug(self, device: int = 1) -> tuple[Hcd, KernelPort]:
        """Attach a device; what is queued for it is noted."""
        self.ready()
        assert self.events.pop() == "ready"
        speed = Speed.SUPER if self.super_speed else Speed.HIGH
        hcd = self.half.attach(device, speed, self._on_pdu)
        self.reactor.watch(hcd, READABLE, lambda _: self.half.receive())
        return hcd, self.kernel.port_of(device)

    def _on_pdu(self, pdu: PduWithData) -> None:
        self.events.append(pdu.seqnum if isinstance(pdu, CmdUnlink) else pdu[0].seqnum)

    def fence(self, what: object = "fence") -> None:
        """Begin a round, as the port does."""
        self.half.fence(lambda: self.events.append(what))
        assert self.half._device is not None
        self.half._device.flush()
        self.half.watch_fence()
        self.reactor.turn()

    def close(self) -> None:
        if not self.lost:
            self.half.close()
        self.reactor.close()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeVhci]:
    one = FakeVhci(monkeypatch, tmp_path / "locks")
    yield one
    one.close()


@pytest.fixture(params=[False, True], ids=["high", "super"])
def either(kernel: FakeVhci, request: pytest.FixtureRequest) -> Iterator[World]:
    """A half of either kind, whose hidden device the kernel knows."""
    one = World(kernel, request.param)
    one.enumerate()
    yield one
    one.close()


@pytest.fixture
def fresh(kernel: FakeVhci) -> Iterator[World]:
    """A half whose hidden device was only just attached."""
    one = World(kernel)
    yield one
    one.close()


@pytest.fixture
def world(fresh: World) -> World:
    """A high-speed half whose hidden device the kernel knows."""
    fresh.enumerate()
    return fresh


def test_the_hidden_device_takes_the_last_port_at_the_halfs_speed(either: World) -> None:
    hidden = either.kernel.port_of(0)
    assert hidden.speed == (Speed.SUPER if either.super_speed else Speed.HIGH)
    assert hidden.number % 3 == 2


def test_a_half_is_ready_when_the_hidden_device_is_configured(fresh: World) -> None:
    fresh.ready()
    assert fresh.events == []
    fresh.enumerate()
    assert fresh.events == ["ready"]
    assert fresh.reactor.timers() == set()


def test_a_half_that_is_ready_says_so_to_each_who_asks(world: World) -> None:
    world.ready("first")
    world.ready("second")
    assert world.events == ["first", "second"]


def test_who_no_longer_asks_is_not_called(fresh: World) -> None:
    fresh.ready()
    fresh.half.detach()
    fresh.enumerate()
    assert fresh.events == []


def test_the_kernel_is_answered_about_the_hidden_device(fresh: World) -> None:
    hidden = fresh.enumerate()
    hidden.send(hidden.control(SetupPacket(0x80, 0x06, 0x0F00, 0, 5)))
    fresh.reactor.turn()
    device, configuration, configured, bos = hidden.receive()
    assert [getattr(a, "status", None) for a in (device, configuration, configured)] == [0, 0, 0]
    assert len(getattr(device, "data", b"")) == 18
    assert getattr(bos, "status", None) == -errno.EPIPE


def test_a_second_configuration_opens_no_second_node(world: World) -> None:
    world.enumerate()
    assert len(world.kernel.nodes) == 1


def test_an_unlink_of_the_kernels_requests_to_the_hidden_device_is_answered(world: World) -> None:
    hidden = world.kernel.port_of(0)
    hidden.receive()
    hidden.send(hidden.unlink(1))
    world.reactor.turn()
    assert len(hidden.receive()) == 1


def test_a_hidden_device_without_a_node_is_of_no_use(fresh: World) -> None:
    fresh.kernel.has_nodes = False
    fresh.enumerate()
    (reason,) = fresh.lost
    assert "has no node of usbfs" in reason


def test_a_kernel_that_does_not_enumerate_the_hidden_device_is_told(fresh: World) -> None:
    fresh.reactor.fire("half")
    assert fresh.lost == ["The kernel did not enumerate the hidden device of the fence."]


def test_what_is_queued_for_a_device_is_passed_on_in_its_order(either: World) -> None:
    _, port = either.plug()
    hidden = either.kernel.port_of(0)
    first, of_hidden = port.submit(), hidden.control(SetupPacket(0x80, 0, 0, 0, 2))
    second = port.submit(length=4)
    unlink = port.unlink(first.seqnum)
    third = port.submit(0x81, length=512)
    port.send(first, second, third, unlink)
    either.reactor.turn()
    assert either.events == [first.seqnum]  # what the hidden device was asked between is missing
    hidden.send(of_hidden)
    either.reactor.turn()
    assert either.events == [c.seqnum for c in (first, second, unlink, third)]


def test_the_hidden_devices_requests_wait_for_their_turn_too(world: World) -> None:
    _, port = world.plug()
    hidden = world.kernel.port_of(0)
    hidden.receive()
    first, of_hidden = port.submit(), hidden.control(SetupPacket(0x80, 0, 0, 0, 2))
    hidden.send(of_hidden)
    world.reactor.turn()
    assert hidden.receive() == []
    port.send(first)
    world.reactor.turn()
    assert len(hidden.receive()) == 1


def test_a_number_that_came_twice_is_told(world: World) -> None:
    _, port = world.plug()
    command = port.submit()
    port.send(command, command)
    with pytest.raises(RemoteProtocolError, match="twice"):
        world.reactor.turn()


def test_a_device_that_the_kernel_detaches_is_told(world: World) -> None:
    _, port = world.plug()
    world.kernel.detach(port.number)
    with pytest.raises(RemoteProtocolError, match="closed the port's socket"):
        world.reactor.turn()


# The fence.


def test_a_round_is_over_when_the_handlers_have_returned_and_the_barrier_came_out(
    either: World,
) -> None:
    hcd, port = either.plug()
    port.send(failed := port.submit())
    either.reactor.turn()
    hcd.give_back(failed.seqnum, -errno.EPROTO, 0, b"")
    either.kernel.holds_barriers = True
    either.fence()
    (node,) = either.kernel.nodes
    assert node.barriers == []  # the handler may still run
    port.receive()
    either.reactor.turn()
    assert len(node.barriers) == 1
    assert either.events == [failed.seqnum]
    node.let_go()
    either.reactor.turn()
    assert either.events == [failed.seqnum, "fence"]


def test_what_the_handler_queued_is_told_before_the_round_is_over(world: World) -> None:
    hcd, port = world.plug()
    port.send(failed := port.submit())
    world.reactor.turn()
    hcd.give_back(failed.seqnum, -errno.EPROTO, 0, b"")
    late = port.submit()  # queued by the handler, and not sent yet when it returns
    world.fence()
    port.receive()
    world.reactor.turn()
    assert "fence" not in world.events
    port.send(late)
    world.reactor.turn()
    assert world.events == [failed.seqnum, late.seqnum, "fence"]


def test_a_fence_when_the_kernel_has_read_all_passes_without_a_wait(world: World) -> None:
    _, port = world.plug()
    world.fence("first")
    port.receive()
    world.reactor.turn()
    world.fence("second")
    port.receive()
    world.reactor.turn()
    assert world.events == ["first", "second"]


def test_a_device_that_leaves_in_mid_round_is_told_of_no_end(world: World) -> None:
    _, port = world.plug()
    world.kernel.holds_barriers = True
    world.fence()
    port.receive()
    world.reactor.turn()
    world.half.detach()
    world.kernel.nodes[0].let_go()
    world.reactor.turn()
    assert world.events == []


def test_a_round_of_a_former_device_is_not_the_next_ones(world: World) -> None:
    _, port = world.plug()
    world.kernel.holds_barriers = True
    world.fence("former")
    port.receive()
    world.reactor.turn()
    world.half.detach()
    world.kernel.notice_unplug()
    world.kernel.holds_barriers = False
    world.half.when_ready(lambda: world.events.append("ready"))
    world.reactor.fire("leaving")
    world.reactor.turn()
    assert world.events == []  # it waits for a barrier of its own behind the former one's
    world.kernel.nodes[0].let_go()
    world.reactor.turn()
    assert world.events == ["ready"]


def test_a_reader_that_reads_on_after_the_device_has_gone_says_nothing(world: World) -> None:
    world.plug()
    world.fence()
    world.half.detach()
    world.half._on_fence(0)
    world.reactor.turn()
    assert world.events == []


@pytest.mark.parametrize("error", [errno.ENODEV, errno.ESHUTDOWN])
def test_a_barrier_that_cannot_be_queued_ends_the_half(world: World, error: int) -> None:
    _, port = world.plug()
    world.kernel.node_errors = [error]
    world.fence()
    port.receive()
    world.reactor.turn()
    assert world.lost == [f"The fence of vhci_hcd's port 2 broke: [Errno {error}] told to fail"]


def test_a_barrier_that_cannot_be_queued_again_ends_the_half_once(world: World) -> None:
    world.kernel.holds_barriers = True
    world.half.when_ready(lambda: world.half._node.wait(lambda: None))
    world.kernel.node_errors = [errno.ENODEV]
    world.kernel.nodes[0].let_go()
    world.reactor.turn()
    assert len(world.lost) == 1


def test_a_barrier_that_never_comes_out_ends_the_half(world: World) -> None:
    _, port = world.plug()
    port.submit()  # its number went to somebody else
    world.fence()
    port.receive()
    world.reactor.turn()
    assert world.events == []
    world.reactor.fire("barrier")
    assert world.lost == [
        "The barrier of vhci_hcd's port 2 did not come out in 15 s: does somebody else use its"
        " controller?"
    ]
    assert world.reactor.timers() == set()


def test_a_barrier_that_came_out_is_not_late(world: World) -> None:
    _, port = world.plug()
    world.fence()
    assert world.reactor.timers() == set()
    port.receive()
    world.reactor.turn()
    assert (world.events, world.reactor.timers()) == (["fence"], set())


def test_a_hidden_device_that_the_kernel_detaches_ends_the_half(world: World) -> None:
    world.plug()
    hidden = world.kernel.port_of(0)
    hidden.receive()
    world.kernel.detach(hidden.number)
    world.reactor.turn()
    assert world.lost == [
        "The fence of vhci_hcd's port 2 broke: vhci_hcd closed the port's socket."
    ]


def test_a_hidden_device_that_breaks_while_a_device_leaves_ends_the_half(world: World) -> None:
    _, port = world.plug()
    hidden = world.kernel.port_of(0)
    port.submit()  # never sent
    hidden.send(hidden.control(SetupPacket(0x80, 0, 0, 0, 2)))
    world.reactor.turn()
    world.kernel.detach(hidden.number)
    world.half.detach()
    world.reactor.turn()
    assert len(world.lost) == 1


# Who resets or configures the hidden device by hand has its lock, and waits for our answers.


@pytest.fixture
def threaded(kernel: FakeVhci, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A half whose helper is a thread."""
    monkeypatch.setattr(fence_node, "HelperThread", HelperThread)
    one = World(kernel)
    yield one
    kernel.unlock_hidden()
    one.close()
    one.half._node._helper._thread.join(10)


def test_the_hidden_device_answers_while_its_node_cannot_be_opened(threaded: World) -> None:
    world, kernel = threaded, threaded.kernel
    kernel.lock_hidden()
    hidden = world.enumerate()
    assert kernel.waits.wait(10)
    hidden.receive()
    hidden.send(hidden.control(SetupPacket(0x80, 0, 0, 0, 2)))
    world.reactor.turn()
    assert len(hidden.receive()) == 1
    world.ready()
    assert world.events == []
    kernel.unlock_hidden()
    world.reactor.until(lambda: world.events == ["ready"])


def test_the_hidden_device_answers_while_a_barrier_cannot_be_queued(threaded: World) -> None:
    world, kernel = threaded, threaded.kernel
    hidden = world.enumerate()
    world.reactor.until(lambda: bool(kernel.nodes))
    kernel.lock_hidden()
    world.half.when_ready(lambda: world.events.append("first"))
    world.reactor.until(kernel.waits.is_set)
    hidden.receive()
    hidden.send(hidden.control(SetupPacket(0x80, 0x06, 0x0100, 0, 64)))
    world.reactor.turn()
    (answer,) = hidden.receive()
    assert getattr(answer, "status", None) == 0
    assert world.events == []
    kernel.unlock_hidden()
    world.reactor.until(lambda: world.events == ["first"])


def test_a_barrier_for_the_next_waits_until_the_call_that_queued_the_last_is_over(
    threaded: World,
) -> None:
    world, kernel = threaded, threaded.kernel
    world.enumerate()
    world.reactor.until(lambda: bool(kernel.nodes) and not world.half._node._helper.busy)
    for number in range(50):
        world.half._node.wait(lambda number=number: world.events.append(number))  # type: ignore[misc]
    world.reactor.until(lambda: len(world.events) == 50)
    assert world.events == list(range(50))


def test_a_half_that_ends_while_the_kernel_blocks_leaves_nothing_open(threaded: World) -> None:
    world, kernel = threaded, threaded.kernel
    kernel.lock_hidden()
    world.enumerate()
    assert kernel.waits.wait(10)
    world.reactor.fire("half")
    assert world.lost == ["The kernel did not enumerate the hidden device of the fence."]
    kernel.unlock_hidden()
    world.half._node._helper._thread.join(10)
    assert all(node.closed.is_set() for node in kernel.nodes)


def test_a_node_that_cannot_be_opened_ends_the_half(
    fresh: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: str) -> None:
        raise OSError(errno.ENODEV, "gone")

    monkeypatch.setattr(fence_node, "UsbfsDevice", gone)
    fresh.enumerate()
    assert fresh.lost == ["The fence of vhci_hcd's port 2 broke: [Errno 19] gone"]


# From one device to the next.


def test_a_device_waits_for_a_barrier_of_its_own_and_for_no_formers(world: World) -> None:
    world.kernel.holds_barriers = True
    world.ready("first")
    world.half.detach()  # it left before it came
    world.ready("second")
    world.half.detach()
    _, port = world.half, world.kernel.port_of(0)
    world.kernel.nodes[0].let_go()
    world.reactor.turn()
    assert len(world.kernel.nodes[0].barriers) == 1  # for those who came later
    gone = next(port.seqnums)  # of a device whose end the kernel has numbered and never told
    world.ready("third")
    world.kernel.nodes[0].let_go()
    world.reactor.turn()
    assert world.events == []
    world.kernel.nodes[0].let_go()
    world.reactor.turn()
    assert (world.events, world.half._merge.expected) == (["third"], gone + 2)


def test_every_turn_takes_the_next_port_and_never_the_hidden_devices(world: World) -> None:
    taken = []
    for _ in range(4):
        _, port = world.plug()
        taken.append(port.number)
        world.half.detach()
        world.kernel.notice_unplug()
        world.reactor.fire("leaving")
    assert taken in ([0, 1, 0, 1], [1, 0, 1, 0])


def test_the_next_device_waits_until_the_port_is_free(world: World) -> None:
    _, port = world.plug()
    world.kernel.leaving.add(port.number)
    world.half.detach()
    world.kernel.notice_unplug()
    world.ready()
    world.reactor.fire("leaving")
    world.reactor.turn()
    assert (world.events, world.reactor.timers()) == ([], {"leaving"})
    world.kernel.leaving.clear()
    world.reactor.fire("leaving")
    world.reactor.turn()
    assert (world.events, world.reactor.timers()) == (["ready"], set())


def test_a_port_that_the_kernel_never_frees_ends_the_half(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = world.plug()
    monkeypatch.setattr(leaving, "DEADLINE_S", 0.0)
    world.kernel.leaving.add(port.number)
    world.half.detach()
    assert world.lost == [f"The kernel does not free vhci_hcd's port {port.number}."]
    assert world.reactor.timers() == set()


@pytest.mark.parametrize(
    "error", [MachineError("vhci_hcd is not loaded."), OSError(errno.ENODEV, "gone")], ids=repr
)
def test_a_module_that_was_unloaded_while_a_port_is_freed_is_waited_for_no_longer(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def gone(_: int) -> None:
        raise error

    world.plug()
    monkeypatch.setattr(vhci, "read_port", gone)
    world.half.detach()
    assert world.reactor.timers() == set()


def test_what_was_lost_with_a_device_is_not_waited_for(world: World) -> None:
    _, port = world.plug()
    lost, late = port.submit(), port.submit()
    hidden = world.kernel.port_of(0)
    hidden.receive()
    of_hidden = hidden.control(SetupPacket(0x80, 0, 0, 0, 2))
    port.send(late)
    hidden.send(of_hidden)
    world.reactor.turn()
    world.half.detach()
    assert len(hidden.receive()) == 1  # the hidden device's request was not lost
    assert world.events == []  # what was queued for the device is nobody's
    world.kernel.notice_unplug()
    world.reactor.fire("leaving")
    _, port = world.plug()
    port.send(command := port.submit())
    world.reactor.turn()
    assert world.events == [command.seqnum]
    assert lost.seqnum < command.seqnum


def test_detaching_without_a_device_is_nothing(world: World) -> None:
    world.half.detach()
    world.half.receive()
    world.half.watch_fence()
    assert world.reactor.timers() == set()


def test_an_attach_that_the_kernel_refuses_is_told_and_can_be_tried_again(world: World) -> None:
    world.ready()
    world.kernel.attach_errors = [errno.EBUSY]
    with pytest.raises(OSError, match="told to fail"):
        world.half.attach(1, Speed.HIGH, world._on_pdu)
    world.half.attach(1, Speed.HIGH, world._on_pdu)


def test_numbers_that_come_to_an_end_end_the_half_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = world.plug()
    monkeypatch.setattr(order, "LAST_SEQNUM", 5)
    assert not world.half.exhausted
    port.send(port.submit(), port.submit())
    world.reactor.turn()
    assert world.half.exhausted
    assert world.lost == ["The numbers of vhci_hcd's controller come to an end."]


def test_numbers_that_come_to_an_end_between_two_devices_end_the_half(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "LAST_SEQNUM", 3)
    world.ready()
    assert len(world.lost) == 1
    assert LAST_SEQNUM > 3


# Locks.


def test_closing_detaches_all_and_frees_the_lock(world: World) -> None:
    world.plug()
    ports = world.kernel.read_status()[0][:3]
    assert lock_half(ports) is None
    world.half.close()
    world.lost.append("closed by the test")
    assert sorted(world.kernel.notice_unplug())[-1] == 2
    assert world.kernel.attached == {}
    assert world.kernel.nodes[0].closed.wait(10)
    free = lock_half(ports)
    assert free is not None
    os.close(free)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(world.lock)
