from __future__ import annotations

import errno
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from rig.buffers import ReceiveBuffer
from rig.cable.controllers import Controller
from rig.cable.discipline import Queue, Transfer
from rig.cable.transfers import GONE_S
from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.codec import unpack
from rig.cable.usbredir.vocabulary import CAPABILITIES
from rig.cable.vudc import Returned, Unlinked
from rig.cable.wire import Wire
from rig.faults.plan import Plan
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, Place, When
from rig.faults.triggers import EndpointInjector, Injector
from rig.tests.harness.fake_usb_redir import FakeUsbRedir
from rig.tests.unit.test_descriptors import CONFIGURATION, DEVICE, GADGET
from rig.usb.urb import Direction
from rig.usb.usbip import HEADER_BYTES, CmdSubmit, CmdUnlink, unpack_command


def transfer(number: int) -> Transfer:
    return Transfer(number, 0x01, 512)


def started(queue: Queue, *numbers: int) -> None:
    """The queue starts exactly the transfers of these numbers, each when the former has ended."""
    for number in numbers:
        running = queue.start()
        assert running is not None
        assert running.id == number
        queue.ended(failed=False)
    assert queue.start() is None


def proven(queue: Queue) -> None:
    """QEMU has read the answer, and the fence after it, and all that it wrote was taken."""
    queue.read()
    queue.drained()
    queue.read()
    queue.drained()


def queue_with(*numbers: int, short_stops: bool = False) -> Queue:
    queue = Queue(pipelined=True, short_stops=short_stops)
    for number in numbers:
        queue.arrive(transfer(number))
    return queue


def cancel(queue: Queue, number: int) -> bool | None:
    """Cancel; return whether the transfer is with the device, None if there is no such transfer."""
    found = queue.find(number)
    if found is None:
        queue.crossed(number)
        return None
    return queue.cancel(found)


def test_one_transfer_runs_at_a_time() -> None:
    queue = queue_with(1, 2)
    assert queue.start()
    assert queue.start() is None


def test_transfers_run_in_the_order_of_their_arrival() -> None:
    started(queue_with(1, 2, 3), 1, 2, 3)


def test_what_stands_behind_an_error_never_starts() -> None:
    queue = queue_with(1, 2, 3)
    queue.start()
    queue.ended(failed=True)
    proven(queue)
    assert queue.start() is None


def test_the_place_of_a_stale_transfer_is_held_until_it_is_taken_back() -> None:
    queue = queue_with(1, 2)
    queue.start()
    queue.ended(failed=True)
    proven(queue)
    queue.arrive(transfer(3))
    assert queue.start() is None
    assert cancel(queue, 2) is False
    started(queue, 3)


def test_what_arrives_behind_an_error_waits_until_a_fence_was_read_and_all_was_taken() -> None:
    queue = queue_with(1)
    queue.start()
    queue.ended(failed=True)
    queue.arrive(transfer(2))
    for happens in (queue.read, queue.drained, queue.read, queue.drained):
        assert queue.start() is None
        happens()
    started(queue, 2)


def test_what_crossed_the_error_never_starts_when_it_is_taken_back() -> None:
    queue = queue_with(1)
    queue.start()
    queue.ended(failed=True)
    queue.arrive(transfer(2))
    queue.read()
    queue.drained()
    queue.read()
    assert cancel(queue, 2) is False
    queue.drained()
    assert queue.start() is None


def test_each_error_has_to_be_read_anew() -> None:
    queue = queue_with(1)
    queue.start()
    queue.ended(failed=True)
    queue.arrive(transfer(2))
    proven(queue)
    queue.start()
    queue.ended(failed=True)
    queue.arrive(transfer(3))
    queue.drained()
    assert queue.start() is None


def test_the_last_cancel_of_what_stands_behind_an_error_ends_the_stop() -> None:
    queue = queue_with(1, 2)
    queue.start()
    queue.ended(failed=True)
    queue.arrive(transfer(3))  # crosses the error
    assert cancel(queue, 2) is False
    assert queue.start() is None
    assert cancel(queue, 3) is False
    queue.arrive(transfer(2))
    started(queue, 2)
    assert queue.stop is None


def test_the_first_cancel_behind_an_error_makes_the_others_stale() -> None:
    queue = queue_with(1)
    queue.start()
    queue.ended(failed=True)
    queue.arrive(transfer(2))
    queue.arrive(transfer(3))
    assert cancel(queue, 2) is False
    proven(queue)
    assert queue.start() is None


def test_a_cancel_without_an_error_makes_nothing_stale() -> None:
    queue = queue_with(1, 2, 3)
    assert cancel(queue, 2) is False
    started(queue, 1, 3)


def test_an_error_of_a_transfer_that_was_taken_back_stops_nothing() -> None:
    queue = queue_with(1, 2)
    queue.start()
    assert cancel(queue, 1) is True
    queue.ended(failed=True)
    started(queue, 2)


def test_a_short_transfer_stops_where_the_controller_may_stop() -> None:
    for short_stops in (False, True):
        queue = queue_with(1, 2, short_stops=short_stops)
        queue.start()
        queue.ended(failed=False, short=True)
        assert (queue.start() is None) is short_stops


def test_a_cancel_means_the_newest_transfer_of_its_id() -> None:
    queue = queue_with(1)
    old = queue.start()
    assert cancel(queue, 1) is True
    new = transfer(1)
    queue.arrive(new)
    assert queue.find(1) is new
    assert cancel(queue, 1) is False
    assert cancel(queue, 1) is None
    assert queue.ended(failed=True) is old


def test_a_cancel_that_crosses_its_answer_means_nothing() -> None:
    queue = queue_with(1)
    queue.start()
    queue.ended(failed=False)
    assert cancel(queue, 1) is None


def test_an_error_that_crosses_its_transfers_cancel_stops_nothing() -> None:
    queue = queue_with(1, 2)
    queue.start()
    queue.ended(failed=True)
    assert cancel(queue, 1) is None
    started(queue, 2)


def test_the_control_pipe_goes_on_behind_an_error() -> None:
    queue = Queue(pipelined=False)
    queue.arrive(transfer(1))
    queue.start()
    queue.ended(failed=True)
    queue.arrive(transfer(2))
    started(queue, 2)


def test_a_reset_takes_back_all_but_what_is_the_cables_own() -> None:
    queue = queue_with(1, 2)
    queue.arrive(Transfer(None, 0, 0))
    queue.start()
    assert [gone.id for gone in queue.clear(keep_own=True)] == [1, 2]
    assert queue.ended(failed=True).cancelled
    own = queue.start()
    assert own is not None
    assert own.id is None


# The whole of it between a model of QEMU and a model of vudc.

OUT, IN = 0x01, 0x81
LENGTHS = (512, 4096, 16384)
GADGET_CONFIGURATION = GADGET[len(DEVICE) :]
IDS = range(1, 9)


def faulty(injected: int) -> EndpointInjector:
    """An injector whose rules fail every so-manyth transfer, in every way."""
    rules = tuple(
        EndpointFault(
            name=f"{direction}-{when}",
            direction=direction,
            status=EndpointStatus.EPIPE,
            when=when,
            place=Place.CABLE,
            every=injected + number,
            times=-1,
        )
        for number, (direction, when) in enumerate(
            (direction, when) for direction in Direction for when in When
        )
    )
    return Injector(Plan(name="test", faults=rules), EndpointFault)


class CableBetweenModels(RuleBasedStateMachine):
    """Whatever comes in whatever order: QEMU's assertions hold, and nothing stale has run."""

    def __init__(self) -> None:
        super().__init__()
        self.qemu = FakeUsbRedir()
        self.now_s = 0.0
        self.received: deque[redir.Packet] = deque()  # by QEMU, which has not acted on it yet
        self.to_qemu = ReceiveBuffer()
        self.in_vudc: dict[int, CmdSubmit] = {}
        self.unlinked: deque[int] = deque()
        self.ever_ran: set[int] = set()

    @initialize(controller=st.sampled_from(Controller), injected=st.integers(0, 6))
    def connect(self, controller: Controller, injected: int) -> None:
        injector = faulty(injected + 2) if injected else None
        self.wire = Wire(controller, injector)
        self.wire.from_qemu(redir.Hello(0, bytes(64), CAPABILITIES), 0.0)
        self.wire.attach(0.0)
        for answer in (DEVICE, CONFIGURATION, GADGET_CONFIGURATION):
            self._answer_control(answer)
        self.wire.from_qemu(redir.SetConfiguration(1, 1), 0.0)
        self._answer_control(b"")
        self.wire.to_qemu.clear()
        assert self.wire.configured == 1

    def _answer_control(self, data: bytes) -> None:
        command = unpack_command(self._one_piece())
        assert isinstance(command, CmdSubmit)
        self.wire.from_vudc(Returned(command.seqnum, 0, len(data), data), 0.0)

    def _one_piece(self) -> bytes:
        (octets,) = self.wire.to_vudc
        self.wire.to_vudc.clear()
        return bytes(octets)

    # What QEMU does.

    @rule(endpoint=st.sampled_from((OUT, IN)), length=st.sampled_from(LENGTHS), data=st.data())
    def submit(self, endpoint: int, length: int, data: st.DataObject) -> None:
        free = sorted(set(IDS) - self.qemu.ids_in_use)
        if free:
            self.qemu.submit(endpoint, data.draw(st.sampled_from(free)), length)

    @rule(endpoint=st.sampled_from((OUT, IN)))
    def cancel(self, endpoint: int) -> None:
        if endpoint in self.qemu.endpoints:
            self.qemu.cancel(endpoint)

    @precondition(lambda self: self.qemu.sent)
    @rule(count=st.integers(1, 4))
    def reach_the_cable(self, count: int) -> None:
        for _ in range(min(count, len(self.qemu.sent))):
            self.wire.from_qemu(self.qemu.sent.popleft(), self.now_s)
            self._carry()

    @rule(count=st.integers(1, 4))
    def reach_qemu(self, count: int) -> None:
        self.act()
        for _ in range(count):
            packet = unpack(self.to_qemu, wide=True)
            if packet is None:
                break
            self.received.append(packet)

    @precondition(lambda self: self.received)
    @rule()
    def act(self) -> None:
        while self.received:
            self.qemu.receive(self.received.popleft())

    @precondition(lambda self: self.wire.unread)
    @rule()
    def look_what_qemu_has_read(self) -> None:
        if len(self.to_qemu):
            return
        self.wire.read()
        self._carry()
        self.reach_the_cable(len(self.qemu.sent))
        self.wire.drained(self.now_s)
        self._carry()

    @rule()
    def time_passes(self) -> None:
        self.now_s += 2 * GONE_S
        self.wire.tick(self.now_s)
        self._carry()

    # What the device does.

    @precondition(lambda self: self.in_vudc)
    @rule(status=st.sampled_from((0, 0, 0, -errno.EPIPE, -errno.EPROTO)), data=st.data())
    def finish(self, status: int, data: st.DataObject) -> None:
        seqnum = data.draw(st.sampled_from(sorted(self.in_vudc)))
        command = self.in_vudc.pop(seqnum)
        full = command.buffer_bytes
        actual = (
            data.draw(st.sampled_from((full, full, 0))) if command.endpoint_address & 0x80 else full
        )
        octets = bytes(actual) if command.endpoint_address & 0x80 else b""
        self.wire.from_vudc(Returned(seqnum, status, actual, octets), self.now_s)
        self._carry()

    @precondition(lambda self: self.unlinked)
    @rule()
    def unlink(self) -> None:
        seqnum = self.unlinked.popleft()
        status = -errno.ECONNRESET if self.in_vudc.pop(seqnum, None) else 0
        self.wire.from_vudc(Unlinked(seqnum, status), self.now_s)
        self._carry()

    def _carry(self) -> None:
        for piece in self.wire.to_qemu:
            put(self.to_qemu, bytes(piece))
        self.wire.to_qemu.clear()
        pieces = deque(self.wire.to_vudc)
        self.wire.to_vudc.clear()
        while pieces:
            header = pieces.popleft()
            assert len(header) == HEADER_BYTES
            command = unpack_command(bytes(header))
            if isinstance(command, CmdUnlink):
                self.unlinked.append(command.target)
                continue
            running = {c.endpoint_address for c in self.in_vudc.values()}
            assert command.endpoint_address not in running, "window 1"
            self.in_vudc[command.seqnum] = command
            if command.payload_bytes:
                data = bytes(pieces.popleft())
                assert len(data) == command.payload_bytes
                self.ever_ran.add(int.from_bytes(data[:4], "little"))

    @invariant()
    def nothing_stale_has_run(self) -> None:
        assert not self.ever_ran & self.qemu.halted_behind

    def teardown(self) -> None:
        """Let all come to its end: then each transfer was answered exactly once."""
        if not hasattr(self, "wire"):
            return
        for _ in range(200):
            self.time_passes()
            while self.unlinked:
                self.unlink()
            for seqnum in list(self.in_vudc):
                command = self.in_vudc.pop(seqnum)
                is_in = command.endpoint_address & 0x80
                data = bytes(command.buffer_bytes if is_in else 0)
                self.wire.from_vudc(Returned(seqnum, 0, command.buffer_bytes, data), self.now_s)
                self._carry()
            self.reach_the_cable(len(self.qemu.sent))
            self.reach_qemu(100)
            self.look_what_qemu_has_read()
            if not self.qemu.answers.total():
                break
        assert not +self.qemu.answers, "each transfer is answered"
        self.nothing_stale_has_run()


def put(buffer: ReceiveBuffer, octets: bytes) -> None:
    while octets:
        space = buffer.space()
        count = min(len(space), len(octets))
        space[:count] = octets[:count]
        buffer.received(count)
        buffer.peek(1 << 16)
        octets = octets[count:]


TestCableBetweenModels = CableBetweenModels.TestCase
TestCableBetweenModels.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("late", [0, 1, 2])
def test_what_crosses_an_error_never_runs(late: int) -> None:
    """Two transfers stand behind one that fails; `late` of them come after the error's answer."""
    machine = CableBetweenModels()
    machine.connect(Controller.XHCI_RAW, 0)
    machine.qemu.submit(OUT, 1, 512)
    for number in range(2 - late):
        machine.qemu.submit(OUT, 2 + number, 512)
    machine.reach_the_cable(3)
    (seqnum,) = machine.in_vudc
    del machine.in_vudc[seqnum]
    machine.wire.from_vudc(Returned(seqnum, -errno.EPROTO, 0), 0.0)
    machine._carry()
    for number in range(late):
        machine.qemu.submit(OUT, 4 + number, 512)
    machine.reach_the_cable(late)
    assert not machine.in_vudc
    machine.reach_qemu(1)
    machine.time_passes()
    machine.look_what_qemu_has_read()
    assert not machine.in_vudc
    machine.reach_qemu(1)  # the fence; QEMU has acted on the error before
    machine.look_what_qemu_has_read()
    assert not machine.in_vudc
    assert machine.qemu.halted_behind == {2, 3}
    machine.qemu.submit(OUT, 6, 512)
    machine.reach_the_cable(1)
    assert machine.ever_ran == {1, 4}
