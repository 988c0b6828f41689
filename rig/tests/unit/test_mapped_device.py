"""A device over a model of usbfs: what is asked of the kernel, and what is told of its answers."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from rig.faults.plan import Plan
from rig.faults.rules.endpoint import EndpointEffect, EndpointFault, EndpointStatus, When
from rig.faults.triggers import Fired, Injector
from rig.splitdriver.back.flight import Completion, Configured, Ended, ResetEnded
from rig.splitdriver.back.mapped_device import MappedDevice
from rig.splitdriver.messages import Submit
from rig.tests.harness.fake_usbfs import DESCRIPTORS, Node
from rig.tests.harness.stepped import SteppedReactor
from rig.usb import descriptors
from rig.usb.bot import unit_ready, write_10
from rig.usb.bot_stages import Stage
from rig.usb.setup import ClearHalt, Operation, SetConfiguration, SetInterface
from rig.usb.urb import Direction, TransferFlags, TransferType
from rig.usb.usbfs import BULK_CONTINUATION, Reaped

OUT, IN, INTERRUPT = 0x01, 0x81, 0x82
KINDS = {IN: TransferType.BULK, OUT: TransferType.BULK, INTERRUPT: TransferType.INTERRUPT}


class World:
    """A device and what it told."""

    def __init__(self, *faults: EndpointFault, errors: dict[str, int] | None = None) -> None:
        self.node = Node()
        self.node.errors = errors or {}
        self.reactor = SteppedReactor()
        self.told: list[Ended] = []
        self.fired: list[str] = []
        self.injector = Injector(Plan(name="test", faults=faults), EndpointFault)
        self.device = MappedDevice(
            self.node,  # type: ignore[arg-type]
            descriptors.parse(DESCRIPTORS),
            injector=self.injector if faults else None,
            on_fault=self._on_fault,
            reactor=self.reactor,
            progressed=lambda: self.told.extend(self.device.ended()),
        )

    def _on_fault(self, fired: Fired[EndpointEffect], urb: Submit) -> None:
        self.fired.append(f"{fired.rule_name} at URB {urb.urb_id}")

    def take(self) -> list[Ended]:
        told, self.told = self.told, []
        return told

    def until_told(self) -> list[Ended]:
        """Wait for the helper, or for an URB."""
        self.reactor.until(lambda: bool(self.told))
        return self.take()

    def perform(self, operation: Operation, number: int = 0) -> list[Ended]:
        self.device.perform(urb(number, 0), operation)
        return self.until_told()

    def configure(self) -> None:
        assert self.perform(SetConfiguration(1)) == [Configured(KINDS), Completion(0, 0, 0)]
        self.node.take()

    def close(self) -> None:
        self.device.close()
        assert self.node.closed.wait(10)
        self.reactor.close()
        assert self.node.overlaps == []


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    one.configure()
    yield one
    one.close()


@pytest.fixture
def faulty(request: pytest.FixtureRequest) -> Iterator[World]:
    """Its parameter are faults."""
    one = World(*request.param)
    one.configure()
    yield one
    one.close()


def with_faults(*faults: EndpointFault) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("faulty", [faults], indirect=True, ids=["faulty"])


def fault(when: When, direction: Direction = Direction.OUT, nth: int = 1) -> EndpointFault:
    status = EndpointStatus.EPROTO
    return EndpointFault(name="f", direction=direction, status=status, when=when, nth=nth)


def halt(when: When, direction: Direction = Direction.OUT, nth: int = 1) -> EndpointFault:
    status = EndpointStatus.EPIPE
    return EndpointFault(
        name=f"h{nth}", direction=direction, status=status, when=when, nth=nth, halt=True
    )


def urb(number: int, address: int, data: bytes = b"", length: int = 0) -> Submit:
    setup = bytes(range(8)) if not address & 0x7F else bytes(8)
    flags = TransferFlags.SHORT_NOT_OK
    return Submit(1, number, address, flags, length or len(data), setup, bytearray(data))


def names(calls: list[tuple[object, ...]]) -> list[object]:
    return [call[0] for call in calls]


# The data path.


@pytest.mark.parametrize(
    ("address", "kind"),
    [(IN, TransferType.BULK), (INTERRUPT, TransferType.INTERRUPT), (0x8F, TransferType.BULK)],
)
def test_the_transfer_type_is_that_of_the_configured_endpoint(
    world: World, address: int, kind: TransferType
) -> None:
    world.device.start(urb(1, address, length=4))
    assert world.node.take() == [("submit", 1, kind, address, 1, bytes(4))]


def test_out_data_go_to_usbfs_from_the_buffer_that_received_them(world: World) -> None:
    one = urb(1, OUT, b"data")
    world.device.start(one)
    assert world.node.buffers[1].obj is one.data


def test_in_data_come_back_as_long_as_they_moved(world: World) -> None:
    world.device.start(urb(1, IN, length=4))
    world.node.buffers[1][:2] = b"in"
    world.node.complete(Reaped(1, -errno.EREMOTEIO, 2))
    assert world.until_told() == [Completion(1, -errno.EREMOTEIO, 2, b"in")]


@pytest.mark.parametrize(("count", "keeps"), [(4, True), (2, True), (1, False), (0, False)])
def test_few_in_data_do_not_keep_a_large_buffer(world: World, count: int, keeps: bool) -> None:
    world.device.start(urb(1, IN, length=4))
    world.node.complete(Reaped(1, 0, count))
    (told,) = world.until_told()
    assert isinstance(told, Completion)
    assert isinstance(told.data, memoryview) is keeps


def test_a_control_transfer_carries_its_setup_packet_first(world: World) -> None:
    world.device.start(urb(1, 0x80, length=4))
    assert world.node.take()[0][-1] == bytes(range(8)) + bytes(4)
    world.node.buffers[1][8:11] = b"abc"
    world.node.complete(Reaped(1, 0, 3))
    assert world.until_told() == [Completion(1, 0, 3, b"abc")]


def test_a_control_transfer_takes_its_data_behind_its_setup_packet(world: World) -> None:
    world.device.start(urb(1, 0x00, b"data"))
    assert world.node.take()[0][-1] == bytes(range(8)) + b"data"


def test_several_ends_are_told_in_their_order(world: World) -> None:
    for number in (1, 2, 3):
        world.device.start(urb(number, OUT, b"data"))
    world.node.complete(Reaped(2, 0, 4), Reaped(1, 0, 4), Reaped(3, -errno.EPIPE, 0))
    world.reactor.turn()
    assert [done.urb_id for done in world.take() if isinstance(done, Completion)] == [2, 1, 3]


def test_a_refused_submit_is_a_completion(world: World) -> None:
    world.node.errors = {"submit": errno.ENOMEM}
    world.device.start(urb(1, OUT, b"data"))
    assert world.device.ended_at_once() == [Completion(1, -errno.ENOMEM, 0)]


def test_what_continues_an_urb_that_was_refused_comes_back_untouched_behind_it(
    world: World,
) -> None:
    world.node.errors = {"submit": errno.ENOMEM}
    world.device.start(urb(1, OUT, b"data"))
    world.node.errors = {}
    world.device.start(urb(2, OUT, b"data"), continues=True)
    world.device.start(urb(3, IN, length=4), continues=True)
    assert world.device.ended_at_once() == [
        Completion(1, -errno.ENOMEM, 0),
        Completion(2, -errno.ECONNRESET, 0),
    ]
    assert list(world.node.buffers)[-1] == 3
    world.device.start(urb(2, OUT, b"data"), continues=True)
    assert list(world.node.buffers)[-1] == 2


def test_an_urb_that_continues_others_says_so_to_the_kernel(world: World) -> None:
    world.device.start(urb(1, OUT, b"data"))
    world.device.start(urb(2, OUT, b"data"), continues=True)
    flags = [call[4] for call in world.node.take()]
    assert flags == [TransferFlags.SHORT_NOT_OK, TransferFlags.SHORT_NOT_OK | BULK_CONTINUATION]


def test_a_continued_urb_that_comes_behind_an_error_comes_back_untouched_behind_it(
    world: World,
) -> None:
    world.device.start(urb(1, OUT, b"data"))
    world.node.complete(Reaped(1, -errno.EPROTO, 2))
    world.node.errors = {"submit": errno.EREMOTEIO}
    world.device.start(urb(2, OUT, b"data"), continues=True)
    assert world.device.ended_at_once() == [
        Completion(1, -errno.EPROTO, 2),
        Completion(2, -errno.ECONNRESET, 0),
    ]


def test_the_same_errno_of_one_that_continues_none_is_its_status(world: World) -> None:
    world.node.errors = {"submit": errno.EREMOTEIO}
    world.device.start(urb(1, OUT, b"data"))
    assert world.device.ended_at_once() == [Completion(1, -errno.EREMOTEIO, 0)]


# What the kernel has no memory for.


@pytest.fixture
def starved(world: World) -> World:
    """URB 1 is in the controller; the kernel has no memory for URBs 2 and 3 behind it."""
    world.device.start(urb(1, OUT, b"data"))
    world.node.errors = {"submit": errno.ENOMEM}
    world.device.start(urb(2, OUT, b"data"))
    world.device.start(urb(3, OUT, b"data"))
    world.node.take()
    return world


def end(world: World, *numbers: int) -> list[Ended]:
    """Let URBs end; return what is told."""
    world.node.complete(*(Reaped(number, 0, 4) for number in numbers))
    world.reactor.turn()
    return world.take()


def submitted(world: World) -> list[object]:
    return [call[1] for call in world.node.take() if call[0] == "submit"]


def test_an_urb_without_memory_waits_for_another_to_end(starved: World) -> None:
    assert starved.device.ended_at_once() == []
    starved.device.start(urb(4, IN, length=4))
    starved.node.errors = {}
    assert end(starved, 1) == [Completion(1, 0, 4)]
    assert submitted(starved) == [4, 2, 3, 4]  # each endpoint's in their order
    assert end(starved, 2, 3) == [Completion(2, 0, 4), Completion(3, 0, 4)]
    assert starved.reactor.timers() == set()


def test_what_stands_behind_one_without_memory_does_not_overtake_it(starved: World) -> None:
    starved.node.errors = {}
    starved.device.start(urb(4, OUT, b"data"))
    assert submitted(starved) == []
    end(starved, 1)
    assert submitted(starved) == [2, 3, 4]


def test_without_another_in_flight_it_is_told(starved: World) -> None:
    assert end(starved, 1) == [
        Completion(1, 0, 4),
        Completion(2, -errno.ENOMEM, 0),
        Completion(3, -errno.ENOMEM, 0),
    ]
    assert starved.reactor.timers() == set()


def test_memory_that_another_device_gives_back_is_found(starved: World) -> None:
    starved.reactor.fire("memory")
    assert submitted(starved) == [2]
    starved.node.errors = {}
    starved.reactor.fire("memory")
    assert (submitted(starved), starved.take()) == ([2, 3], [])


def test_one_without_memory_is_taken_back_at_once(starved: World) -> None:
    starved.device.discard([3])
    assert starved.device.ended_at_once() == [Completion(3, -errno.ENOENT, 0)]
    starved.node.errors = {}
    end(starved, 1)
    assert submitted(starved) == [2]


def test_one_that_waits_for_memory_behind_what_blocks_is_taken_back_in_its_turn(
    world: World,
) -> None:
    world.device.start(urb(1, IN, length=4))
    world.node.errors = {"submit": errno.ENOMEM}
    let_go = world.node.hold("clear_halt")
    world.device.perform(urb(9, 0), ClearHalt(IN))
    world.reactor.until(lambda: world.node.blocks_in("clear_halt"))
    world.device.start(urb(2, OUT, b"data"))
    world.device.discard([2])
    let_go()
    assert world.until_told() == [Completion(9, 0, 0), Completion(2, -errno.ENOENT, 0)]


def test_a_reset_kills_it_behind_what_the_kernel_has_killed(starved: World) -> None:
    let_go = starved.node.hold("reset")
    starved.device.reset()
    starved.reactor.until(lambda: starved.node.blocks_in("reset"))
    starved.reactor.fire("memory")  # nothing is asked of the device meanwhile
    starved.node.complete(Reaped(1, -errno.ENOENT, 0))
    let_go()
    assert starved.until_told() == [
        *(Completion(number, -errno.ENOENT, 0) for number in (1, 2, 3)),
        ResetEnded(0),
    ]


@pytest.mark.parametrize(
    ("operation", "killed"),
    [(SetInterface(0, 0), [2, 3]), (SetInterface(7, 0), []), (ClearHalt(IN), [])],
)
def test_a_request_kills_it_as_the_kernel_would(
    starved: World, operation: Operation, killed: list[int]
) -> None:
    told = starved.perform(operation, 9)
    assert told == [*(Completion(n, -errno.ENOENT, 0) for n in killed), Completion(9, 0, 0)]


def test_what_continues_one_that_failed_meanwhile_comes_back_untouched(world: World) -> None:
    world.device.start(urb(1, OUT, b"data"))
    world.node.errors = {"submit": errno.ENOMEM}
    world.device.start(urb(2, OUT, b"data"), continues=True)
    world.node.errors = {"submit": errno.EREMOTEIO}
    world.device.start(urb(3, IN, length=4))  # of another endpoint: its own business
    world.node.complete(Reaped(1, -errno.EPROTO, 0))
    world.reactor.turn()
    assert world.take()[1:] == [
        Completion(1, -errno.EPROTO, 0),
        Completion(2, -errno.ECONNRESET, 0),
    ]


def test_a_device_is_not_lent_while_something_waits_for_memory(starved: World) -> None:
    assert starved.device.lend([]) is None


# What blocks.


def test_set_configuration_releases_all_and_claims_what_is_there_then(world: World) -> None:
    world.perform(SetConfiguration(1))
    assert world.node.take() == [
        ("release_interface", 0),
        ("set_configuration", 1),
        ("claim_interface", 0),
    ]


def test_a_configuration_that_is_not_described_has_no_endpoints(world: World) -> None:
    assert world.perform(SetConfiguration(0), 5) == [Configured({}), Completion(5, 0, 0)]
    assert names(world.node.take()) == ["release_interface", "set_configuration"]


def test_a_configuration_that_fails_changes_nothing(world: World) -> None:
    world.node.errors = {"set_configuration": errno.EIO}
    assert world.perform(SetConfiguration(0), 5) == [Completion(5, -errno.EIO, 0)]
    assert world.node.take()[-1] == ("claim_interface", 0)


def test_a_reset_releases_all_and_claims_it_again(world: World) -> None:
    world.device.reset()
    assert world.until_told() == [ResetEnded(0)]
    assert world.node.take() == [("release_interface", 0), ("reset",), ("claim_interface", 0)]


def test_what_was_claimed_is_claimed_again_when_a_reset_fails(world: World) -> None:
    world.node.errors = {"reset": errno.EIO}
    for _ in range(2):
        world.device.reset()
        assert world.until_told() == [ResetEnded(-errno.EIO)]
        assert world.node.take() == [("release_interface", 0), ("reset",), ("claim_interface", 0)]


@pytest.mark.parametrize(
    ("operation", "call"),
    [(SetInterface(0, 0), ("set_interface", 0, 0)), (ClearHalt(IN), ("clear_halt", IN))],
)
def test_other_requests_become_their_ioctls(
    world: World, operation: SetInterface | ClearHalt, call: tuple[object, ...]
) -> None:
    assert world.perform(operation, 1) == [Completion(1, 0, 0)]
    assert world.node.take() == [call]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errno.EINVAL, -errno.EPIPE),
        (errno.ENOENT, -errno.EPIPE),
        (errno.ETIMEDOUT, -errno.ETIMEDOUT),
    ],
)
def test_what_the_kernel_does_not_know_is_a_stall(world: World, error: int, status: int) -> None:
    world.node.errors = {"clear_halt": error}
    assert world.perform(ClearHalt(IN), 1) == [Completion(1, status, 0)]


def test_an_urb_that_is_discarded_is_told_as_any_other(world: World) -> None:
    world.device.start(urb(1, OUT, b"data"))
    world.device.discard([1])
    assert world.until_told() == [Completion(1, -errno.ENOENT, 0)]


def test_urbs_are_taken_back_at_one_go(world: World) -> None:
    for number in (1, 2, 3):
        world.device.start(urb(number, OUT, b"data"))
    world.node.take()
    world.device.discard([3, 2, 1])
    # One turn: with one for each, the first would run to its end before the last is asked for.
    world.reactor.turn(5.0)
    assert world.node.take() == [("discard", 3), ("discard", 2), ("discard", 1)]


def test_an_urb_that_the_kernel_does_not_let_go_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.node.errors = {"discard": errno.EIO}
    with caplog.at_level(logging.WARNING):
        world.device.discard([1])
        world.reactor.until(lambda: bool(caplog.records))
    assert "URB 1 is not let go" in caplog.text


def test_nothing_is_asked_of_the_device_while_the_kernel_blocks(world: World) -> None:
    world.device.start(urb(1, OUT, b"data"))
    world.node.take()
    let_go = world.node.hold("reset")
    world.device.reset()
    world.reactor.until(lambda: world.node.blocks_in("reset"))
    world.node.complete(Reaped(1, 0, 4))
    world.device.start(urb(2, OUT, b"data"))
    world.device.discard([2])
    world.device.start(urb(3, IN, length=4))
    world.reactor.turn()
    assert world.device.ended() == []
    assert names(world.node.take()) == ["release_interface", "reset"]
    let_go()
    # What came meanwhile is done behind it, and in its order.
    world.reactor.until(lambda: ("submit", 3) in [call[:2] for call in world.node.calls])
    assert [call[:2] for call in world.node.take()] == [
        ("claim_interface", 0),
        ("submit", 2),
        ("discard", 2),
        ("submit", 3),
    ]
    world.reactor.turn(0.1)
    assert world.take() == [
        Completion(1, 0, 4),  # first: it may be the reset that has ended it
        ResetEnded(0),
        Completion(2, -errno.ENOENT, 0),
    ]


def test_a_second_reset_waits_for_the_first(world: World) -> None:
    let_go = world.node.hold("reset")
    world.device.reset()
    world.device.reset()
    world.reactor.until(lambda: world.node.blocks_in("reset"))
    assert names(world.node.calls).count("reset") == 1
    let_go()
    world.reactor.until(lambda: len(world.told) == 2)
    assert world.take() == [ResetEnded(0), ResetEnded(0)]


def test_closing_while_the_kernel_blocks_does_not_wait_and_closes_the_node_behind_it(
    world: World,
) -> None:
    let_go = world.node.hold("reset")
    world.device.reset()
    world.device.start(urb(1, OUT, b"data"))
    world.reactor.until(lambda: world.node.blocks_in("reset"))
    world.device.close()
    assert not world.node.closed.is_set()
    let_go()
    assert world.node.closed.wait(10)
    assert names(world.node.take())[-2:] == ["claim_interface", "close"]


# A device that goes.


def test_a_device_that_hangs_up_is_told_once(world: World) -> None:
    world.device.start(urb(1, OUT, b"data"))
    world.node.complete(Reaped(1, -errno.ESHUTDOWN, 0))
    world.node.hang_up()
    world.reactor.turn()
    assert world.take() == [Completion(1, -errno.ESHUTDOWN, 0)]


def test_what_is_left_of_a_device_that_has_gone_is_not_asked_for_again(world: World) -> None:
    world.device.start(urb(1, OUT, b"data"))
    world.node.hang_up()
    world.reactor.turn()
    assert world.take() == []
    assert world.device.ended() == []


def test_a_device_that_hung_up_is_not_listened_to_after_a_job(world: World) -> None:
    world.node.hang_up()
    world.reactor.turn()
    assert world.perform(ClearHalt(IN), 1) == [Completion(1, 0, 0)]
    world.reactor.turn()


# Faults.


@with_faults(fault(When.BEFORE))
def test_a_fault_before_the_data_keeps_the_urb_from_the_controller(faulty: World) -> None:
    faulty.device.start(urb(7, OUT, b"data"))
    assert faulty.node.take() == []
    assert faulty.device.ended_at_once() == [Completion(7, -errno.EPROTO, 0)]
    assert faulty.fired == ["f at URB 7"]


@with_faults(fault(When.BEFORE, nth=3))
def test_a_fault_takes_its_turn_behind_what_the_controller_has(faulty: World) -> None:
    for number in (1, 2, 3):
        faulty.device.start(urb(number, OUT, b"data"))
    assert faulty.device.ended_at_once() == []
    faulty.node.complete(Reaped(1, 0, 4))
    faulty.reactor.turn()
    assert faulty.take() == [Completion(1, 0, 4)]
    faulty.node.complete(Reaped(2, 0, 4))
    faulty.reactor.turn()
    assert faulty.take() == [Completion(2, 0, 4), Completion(3, -errno.EPROTO, 0)]


@with_faults(fault(When.BEFORE, nth=3))
def test_a_fault_takes_its_turn_behind_what_the_kernel_has_no_memory_for(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.node.errors = {"submit": errno.ENOMEM}
    faulty.device.start(urb(2, OUT, b"data"))
    faulty.device.start(urb(3, OUT, b"data"))
    faulty.device.discard([2])
    assert faulty.device.ended_at_once() == [Completion(2, -errno.ENOENT, 0)]
    faulty.node.complete(Reaped(1, 0, 4))
    faulty.reactor.turn()
    assert faulty.take() == [Completion(1, 0, 4), Completion(3, -errno.EPROTO, 0)]


@with_faults(fault(When.BEFORE))
def test_a_fault_does_not_wait_for_another_endpoint(faulty: World) -> None:
    faulty.device.start(urb(1, IN, length=4))
    faulty.device.start(urb(2, OUT, b"data"))
    assert faulty.device.ended_at_once() == [Completion(2, -errno.EPROTO, 0)]


@with_faults(fault(When.MIDDLE))
def test_a_fault_in_the_middle_lets_half_of_the_packets_through(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, bytes(2048)))
    assert len(faulty.node.buffers[1]) == 1024
    faulty.node.complete(Reaped(1, 0, 1024))
    assert faulty.until_told() == [Completion(1, -errno.EPROTO, 1024)]


def nak(for_s: float, nth: int = 1) -> EndpointFault:
    return EndpointFault(name="nak", direction=Direction.OUT, for_s=for_s, nth=nth)


@with_faults(nak(60))
def test_what_is_answered_nak_runs_when_its_time_has_come(
    faulty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    assert faulty.node.take() == []
    later_s = time.monotonic() + 61
    monkeypatch.setattr("rig.splitdriver.back.mapped_device.time.monotonic", lambda: later_s)
    faulty.reactor.fire("memory")
    assert names(faulty.node.take()) == ["submit"]
    faulty.node.complete(Reaped(1, 0, 4))
    assert faulty.until_told() == [Completion(1, 0, 4)]


@with_faults(nak(60))
def test_what_is_answered_nak_holds_up_its_own_endpoint_alone(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.device.start(urb(2, OUT, b"data"))
    faulty.device.start(urb(3, IN, length=4))
    faulty.reactor.fire("memory")
    assert [call[1] for call in faulty.node.take()] == [3]


@with_faults(nak(60))
def test_what_is_answered_nak_is_taken_back_at_once(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.device.discard([1])
    assert faulty.device.ended() == [Completion(1, -errno.ENOENT, 0)]
    assert faulty.node.take() == []
    assert "memory" in faulty.reactor.timers()
    faulty.reactor.fire("memory")
    assert faulty.reactor.timers() == set()


@with_faults(nak(60))
def test_a_reset_ends_what_is_answered_nak(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.device.reset()
    assert Completion(1, -errno.ENOENT, 0) in faulty.until_told()


@with_faults(halt(When.BEFORE))
def test_an_endpoint_is_halted_before_the_stall_is_told(faulty: World) -> None:
    let_go = faulty.node.hold("set_halt")
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.reactor.until(lambda: faulty.node.blocks_in("set_halt"))
    assert faulty.device.ended() == []
    let_go()
    assert faulty.until_told() == [Completion(1, -errno.EPIPE, 0)]
    assert faulty.node.take() == [("set_halt", OUT)]


@with_faults(halt(When.MIDDLE, Direction.IN))
def test_an_endpoint_is_halted_when_what_moves_before_has_moved(faulty: World) -> None:
    faulty.device.start(urb(1, IN, length=1024))
    assert names(faulty.node.take()) == ["submit"]
    faulty.node.complete(Reaped(1, 0, 512))
    assert faulty.until_told() == [Completion(1, -errno.EPIPE, 512, bytes(512))]
    assert faulty.node.take() == [("set_halt", IN)]


@with_faults(halt(When.BEFORE, nth=2))
def test_no_endpoint_is_halted_while_the_controller_has_others_of_it(faulty: World) -> None:
    for number in (1, 2):
        faulty.device.start(urb(number, OUT, b"data"))
    faulty.reactor.turn()
    assert names(faulty.node.take()) == ["submit"]
    faulty.node.complete(Reaped(1, 0, 4))
    faulty.reactor.until(lambda: len(faulty.told) == 2)
    assert faulty.take() == [Completion(1, 0, 4), Completion(2, -errno.EPIPE, 0)]
    assert faulty.node.take() == [("set_halt", OUT)]


@with_faults(halt(When.AFTER), halt(When.BEFORE, nth=2))
def test_halts_that_meet_are_brought_about_one_after_the_other(faulty: World) -> None:
    for number in (1, 2):
        faulty.device.start(urb(number, OUT, b"data"))
    faulty.node.complete(Reaped(1, 0, 4))
    faulty.reactor.until(lambda: len(faulty.told) == 2)
    assert faulty.take() == [Completion(1, -errno.EPIPE, 4), Completion(2, -errno.EPIPE, 0)]
    assert names(faulty.node.take()) == ["submit", "set_halt", "set_halt"]


@with_faults(halt(When.AFTER))
def test_other_endpoints_ends_are_told_behind_a_halt(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.device.start(urb(2, IN, length=4))
    faulty.node.complete(Reaped(1, 0, 4), Reaped(2, 0, 4))
    faulty.reactor.until(lambda: len(faulty.told) == 2)
    assert faulty.take() == [Completion(1, -errno.EPIPE, 4), Completion(2, 0, 4, bytes(4))]


OTHER = 0x03
"""An endpoint that no interface has."""


def blocked(world: World, call: str, begin: Callable[[], None]) -> Callable[[], None]:
    """Begin what blocks in that call; return what lets it go on."""
    let_go = world.node.hold(call)
    begin()
    world.reactor.until(lambda: world.node.blocks_in(call))
    return let_go


@pytest.mark.parametrize(
    ("operation", "call"), [(None, "reset"), (SetConfiguration(1), "set_configuration")]
)
@with_faults(halt(When.AFTER))
def test_what_is_killed_halts_nothing_and_is_told_first(
    faulty: World, operation: Operation | None, call: str
) -> None:
    """The device has forgotten the error when the request is done: a halt would be a new one."""
    device = faulty.device
    device.start(urb(1, OUT, b"data"))
    begin = device.reset if operation is None else partial(device.perform, urb(9, 0), operation)
    let_go = blocked(faulty, call, begin)
    faulty.node.complete(Reaped(1, 0, 4))
    let_go()
    end = ResetEnded(0) if operation is None else Completion(9, 0, 0)
    assert faulty.until_told() == [Completion(1, -errno.EPIPE, 4), end]
    faulty.reactor.turn()
    assert "set_halt" not in names(faulty.node.take())


@with_faults(halt(When.BEFORE, nth=2))
def test_what_was_to_fail_behind_what_is_killed_halts_nothing(faulty: World) -> None:
    for number in (1, 2):
        faulty.device.start(urb(number, OUT, b"data"))
    let_go = blocked(faulty, "reset", faulty.device.reset)
    faulty.node.complete(Reaped(1, -errno.ENOENT, 0))
    let_go()
    assert faulty.until_told() == [
        Completion(1, -errno.ENOENT, 0),
        Completion(2, -errno.EPIPE, 0),
        ResetEnded(0),
    ]
    assert "set_halt" not in names(faulty.node.take())


@with_faults(nak(60), halt(When.BEFORE, nth=2))
def test_what_was_to_fail_behind_what_the_kernel_never_had_halts_nothing(faulty: World) -> None:
    for number in (1, 2):
        faulty.device.start(urb(number, OUT, b"data"))
    faulty.device.reset()
    assert faulty.until_told() == [
        Completion(1, -errno.ENOENT, 0),
        Completion(2, -errno.EPIPE, 0),
        ResetEnded(0),
    ]
    assert "set_halt" not in names(faulty.node.take())


@with_faults(halt(When.AFTER))
def test_an_endpoint_that_a_request_does_not_kill_is_halted_behind_it(faulty: World) -> None:
    """What is killed is told before the request's end all the same."""
    operation = partial(faulty.device.perform, urb(9, 0), SetInterface(0, 0))
    for number, address in ((1, OTHER), (2, OTHER), (3, OUT)):
        faulty.device.start(urb(number, address, b"data"))
    let_go = blocked(faulty, "set_interface", operation)
    faulty.node.complete(Reaped(1, 0, 4), Reaped(2, 0, 4), Reaped(3, -errno.ENOENT, 0))
    let_go()
    faulty.reactor.until(lambda: len(faulty.told) == 4)
    assert faulty.take() == [
        Completion(3, -errno.ENOENT, 0),
        Completion(9, 0, 0),
        Completion(1, -errno.EPIPE, 4),
        Completion(2, 0, 4),
    ]
    assert faulty.node.take()[-1] == ("set_halt", OTHER)


@with_faults(halt(When.AFTER))
def test_a_device_that_has_gone_is_not_asked_to_halt(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.node.complete(Reaped(1, 0, 4))
    faulty.node.hang_up()
    faulty.reactor.turn()
    assert faulty.take() == [Completion(1, -errno.EPIPE, 4)]
    assert "set_halt" not in names(faulty.node.take())


@with_faults(halt(When.AFTER))
def test_what_stands_behind_a_halt_is_told_behind_it(faulty: World) -> None:
    for number in (1, 2):
        faulty.device.start(urb(number, OUT, b"data"))
    faulty.node.complete(Reaped(1, 0, 4), Reaped(2, 0, 4))
    faulty.reactor.until(lambda: len(faulty.told) == 2)
    assert faulty.take() == [Completion(1, -errno.EPIPE, 4), Completion(2, 0, 4)]


@with_faults(halt(When.AFTER), fault(When.BEFORE, nth=2))
def test_a_fault_behind_a_halt_is_told_behind_it(faulty: World) -> None:
    for number in (1, 2):
        faulty.device.start(urb(number, OUT, b"data"))
    faulty.node.complete(Reaped(1, 0, 4))
    faulty.reactor.until(lambda: len(faulty.told) == 2)
    assert faulty.take() == [Completion(1, -errno.EPIPE, 4), Completion(2, -errno.EPROTO, 0)]


@with_faults(halt(When.AFTER))
def test_a_transfer_that_fails_by_itself_halts_nothing(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.node.complete(Reaped(1, -errno.EPROTO, 0))
    assert faulty.until_told() == [Completion(1, -errno.EPROTO, 0)]
    assert names(faulty.node.take()) == ["submit"]


@with_faults(halt(When.BEFORE))
def test_a_stall_is_told_also_if_the_device_does_not_halt(
    faulty: World, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.node.errors = {"set_halt": errno.EPIPE}
    faulty.device.start(urb(1, OUT, b"data"))
    assert faulty.until_told() == [Completion(1, -errno.EPIPE, 0)]
    assert "endpoint 0x01 is not halted" in caplog.text


@with_faults(fault(When.AFTER, Direction.IN))
def test_a_fault_after_the_data_tells_an_error_with_all_that_moved(faulty: World) -> None:
    faulty.device.start(urb(1, IN, length=4))
    faulty.node.buffers[1][:] = b"data"
    faulty.node.complete(Reaped(1, 0, 4))
    assert faulty.until_told() == [Completion(1, -errno.EPROTO, 4, b"data")]


@with_faults(fault(When.AFTER))
def test_an_error_of_the_devices_own_is_not_replaced(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.node.complete(Reaped(1, -errno.EPIPE, 0))
    assert faulty.until_told() == [Completion(1, -errno.EPIPE, 0)]


@with_faults(fault(When.AFTER, nth=2))
def test_a_transfer_that_no_rule_meets_runs_as_it_is(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.node.complete(Reaped(1, 0, 4))
    assert faulty.until_told() == [Completion(1, 0, 4)]
    assert faulty.fired == []


@with_faults(
    EndpointFault(
        name="f",
        nth=1,
        direction=Direction.IN,
        status=EndpointStatus.EPROTO,
        when=When.BEFORE,
        opcode=0x2A,
        stage=Stage.STATUS,
    )
)
def test_a_fault_meets_the_stage_and_the_command_that_it_names(faulty: World) -> None:
    for number, sent in enumerate((unit_ready(1), write_10(2, 0, 1)), start=1):
        faulty.device.start(urb(10 * number, OUT, sent))
        if number == 2:
            faulty.device.start(urb(21, OUT, bytes(512)))
        faulty.device.start(urb(10 * number + 5, IN, length=13))
    assert faulty.fired == ["f at URB 25"]


FAULT_OF_DATA = EndpointFault(
    name="f",
    direction=Direction.OUT,
    status=EndpointStatus.EPROTO,
    when=When.BEFORE,
    stage=Stage.DATA,
    nth=1,
)


@with_faults(FAULT_OF_DATA)
def test_what_passed_while_no_rule_was_armed_is_not_guessed(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, write_10(1, 0, 1)))
    faulty.injector.arm("f", False)
    faulty.device.start(urb(2, OUT, bytes(512)))
    faulty.injector.arm("f")
    faulty.device.start(urb(3, OUT, bytes(512)))  # of which command, nobody knows
    assert faulty.fired == []
    faulty.device.start(urb(4, OUT, write_10(2, 0, 1)))
    faulty.device.start(urb(5, OUT, bytes(512)))
    assert faulty.fired == ["f at URB 5"]


@with_faults(fault(When.AFTER))
def test_a_device_is_lent_only_while_there_is_no_rule_to_ask(faulty: World) -> None:
    device, injector = faulty.device, faulty.injector
    assert device.lend([]) is None
    injector.arm("f", False)
    assert device.lend([]) == []
    injector.fire("f")
    assert device.lend([]) is None
    injector.remove("f")
    assert device.lend([]) == []


@with_faults(fault(When.AFTER))
def test_a_device_is_not_lent_before_what_a_rule_has_altered_is_told(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, b"data"))
    faulty.injector.remove("f")
    assert faulty.device.lend([]) is None
    faulty.node.complete(Reaped(1, 0, 4))
    assert faulty.until_told() == [Completion(1, -errno.EPROTO, 4)]
    assert faulty.device.lend([]) == []


@with_faults(FAULT_OF_DATA)
def test_what_a_lane_has_forwarded_is_not_guessed(faulty: World) -> None:
    faulty.device.start(urb(1, OUT, write_10(1, 0, 1)))
    faulty.node.complete(Reaped(1, 0, 31))
    faulty.until_told()
    faulty.injector.arm("f", False)
    assert faulty.device.lend([]) == []
    faulty.device.take_back([], 1, [])
    faulty.injector.arm("f")
    faulty.device.start(urb(2, OUT, bytes(512)))
    assert faulty.fired == []


@with_faults(fault(When.BEFORE, Direction.IN))
def test_interrupt_and_control_transfers_are_not_asked_about(faulty: World) -> None:
    faulty.device.start(urb(1, INTERRUPT, length=4))
    faulty.device.start(urb(2, 0x80, length=4))
    assert names(faulty.node.take()) == ["submit", "submit"]
