"""One half of a controller of ``vhci_hcd``, owned whole: the hidden device and one mapped device.

A half is a root hub.  Its ports share one sequence of numbers, and whoever owns all that is
attached there can restore the order in which the kernel queued things (`rig.splitdriver.order`).
So a half carries one mapped device at a time, and beside it the hidden device of the fence, which
comes first and stays.

The kernel's side of the hidden device is usbfs, where opening its node and queueing a barrier wait
for the device's lock.  Whoever resets or configures it by hand holds that lock until this half has
answered on endpoint 0: so both are done by a thread of the half's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from rig.errors import MachineError, RigError
from rig.helper_thread import HelperThread
from rig.reactor import EDGE, READABLE, WRITABLE, Reactor
from rig.splitdriver import hidden
from rig.splitdriver.front.hcd import Hcd, PduWithData
from rig.splitdriver.order import Barriers, Merge
from rig.usb import sysfs, vhci
from rig.usb.setup import SetupPacket
from rig.usb.urb import Speed, TransferType
from rig.usb.usbfs import UsbfsDevice
from rig.usb.usbip import CmdUnlink

_log = logging.getLogger("rig.half")

LOCKS = Path("/run/rig")
POLL_S = 0.01
"""The kernel says in sysfs, and nowhere else, that it is done with a port that was detached."""
DEADLINE_S = 15.0
"""For the kernel to enumerate the hidden device, to free a port, or for a barrier to come out."""

_BARRIER = memoryview(bytearray(hidden.BARRIER.pack()))


class Half:
    """A half that nobody else uses.

    Args:
        ports: All its ports.
        lock: Descriptor of the file whose lock keeps other front ends away; belongs to the half.
        reactor: Waits.
        lost: Called with the half and a sentence when the half is of no more use.

    Raises:
        OSError: The kernel does not attach the hidden device.
    """

    def __init__(
        self,
        ports: list[vhci.Port],
        lock: int,
        reactor: Reactor,
        lost: Callable[[Half, str], None],
    ) -> None:
        self.super_speed = ports[0].super_speed
        self.first_port = ports[0].number
        self._ports = ports[:-1]
        self._lock = lock
        self._reactor = reactor
        self._lost = lost
        self._merge: Merge[tuple[Hcd, PduWithData]] = Merge()
        self._barriers: Barriers[Callable[[], None]] = Barriers()
        self._node: UsbfsDevice | None = None
        self._opened: UsbfsDevice | None = None  # the same, as the helper knows it
        self._refused: OSError | None = None  # what the helper has asked the kernel for
        self._after_job: Callable[[], None] = _nothing
        self._barrier_wanted = False
        # Another front end may have left a port a moment ago: begin anywhere.
        self._turn = os.getpid()
        self._barrier_number = 0
        self._device: Hcd | None = None
        self._leaving: vhci.Port | None = None
        self._leaving_until = 0.0
        self._received: Callable[[PduWithData], None] = _nobody
        self._fence_passed: Callable[[], None] = _nothing
        self._when_ready: Callable[[], None] | None = None
        self._hidden = Hcd(ports[-1], 0, Speed.SUPER if self.super_speed else Speed.HIGH)
        self._helper = HelperThread(f"fence of port {ports[-1].number}")
        reactor.watch(self._helper, READABLE, self._on_helper)
        reactor.watch(self._hidden, READABLE, self._on_hidden)
        reactor.at(self._timer, time.monotonic() + DEADLINE_S, self._too_late)

    def close(self) -> None:
        """Detach all; the half is free for others."""
        self._drop_device()
        self._reactor.cancel(self._timer)
        self._reactor.cancel(self._leaving_timer)
        self._reactor.cancel(self._barrier_timer)
        self._reactor.unwatch(self._helper)
        self._reactor.unwatch(self._hidden)
        self._hidden.close()
        os.close(self._lock)
        self._node = None
        # What blocks now ends with the hidden device.
        self._helper.close(self._close_node)

    def _close_node(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def exhausted(self) -> bool:
        """Whether no further device may be attached: the kernel's numbers come to an end."""
        return self._merge.exhausted

    # The mapped device.

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call once, when `attach` may be called; forgotten by `detach`."""
        self._when_ready = call
        self._look_whether_ready()

    def attach(self, device: int, speed: Speed, received: Callable[[PduWithData], None]) -> Hcd:
        """Attach a device.

        A port that was just detached says that it is free while the kernel may still be taking
        leave of the device that was in it.  Attached again at once, it would get the unlinks of
        that device's URBs, which the kernel then waits for for ever (``vhci_urb_dequeue``): so
        every turn takes the next port.

        Args:
            device: Any number.
            speed: Of this half.
            received: Called with all that the kernel queues for the device, in the order in which
                it queued it.

        Returns:
            The device's port.  When it is readable, call `receive`; the watch ends with `detach`.

        Raises:
            OSError: The kernel does not attach it.
        """
        self._turn += 1
        self._device = Hcd(self._ports[self._turn % len(self._ports)], device, speed)
        self._received = received
        return self._device

    def detach(self) -> None:
        """Unplug the mapped device; without one it is no error."""
        self._when_ready = None
        if self._device is None:
            return
        self._leaving = self._device.port
        self._leaving_until = time.monotonic() + DEADLINE_S
        self._drop_device()
        # What was lost with the device is not waited for; the hidden device's requests are.
        try:
            self._pass_on(self._merge.give_up())
        except (RigError, OSError) as error:
            self._break(error)
        self._await_leaving()

    def _drop_device(self) -> None:
        if self._device is not None:
            self._reactor.unwatch(self._device.fence_fd)
            self._reactor.unwatch(self._device)
            self._device.close()
            self._device = None
            self._received = _nobody

    def receive(self) -> None:
        """Take what the kernel has sent to the mapped device's port, and pass on what is in order.

        Raises:
            RemoteProtocolError: The kernel has closed the socket, or sent what it never does.
        """
        device = self._device
        if device is not None:
            for pdu in device.receive():
                command = pdu if isinstance(pdu, CmdUnlink) else pdu[0]
                self._pass_on(self._merge.put(command.seqnum, (device, pdu)))
            self._look_at_numbers()

    def lend(self) -> tuple[int, int] | None:
        """Lend the mapped device's socket to a lane; until `take_back`.

        Returns:
            The descriptor and the kernel's next number, or None if something is under way.
        """
        device, expected = self._device, self._merge.expected
        if device is None or not device.idle or expected is None or self._merge.exhausted:
            return None
        return device.fileno(), expected

    def take_back(self, expected: int, octets: bytes, unsent: bytes) -> None:
        """Go on with the mapped device where a lane has left off; `receive` is next.

        Args:
            expected: The kernel's next number.
            octets: What was read and not used.
            unsent: What was not sent.
        """
        assert self._device is not None
        self._merge.begin_behind(expected - 1)
        self._device.take_back(octets, unsent)

    def fence(self, passed: Callable[[], None]) -> None:
        """Call back when all that was given back so far is done with, and all of it is known.

        Done with: the completion handlers have returned.  Known: what was queued until then has
        been passed on.
        """
        assert self._device is not None
        self._device.fence()
        self._fence_passed = passed

    def watch_fence(self) -> None:
        """Wait for the kernel to read on, if a fence needs it."""
        if self._device is not None and self._device.fencing:
            # Edge-triggered, and first reported at once: what was read before is not missed.
            self._reactor.watch(self._device.fence_fd, WRITABLE | EDGE, self._on_fence)

    def _on_fence(self, _: int) -> None:
        device, passed = self._device, self._fence_passed
        if device is None or not device.fence_passed():
            return
        self._reactor.unwatch(device.fence_fd)

        def came_out() -> None:
            if self._device is device:  # and not the next one, which this was not about
                passed()

        self._wait_for_barrier(came_out)

    # The hidden device.

    def _on_hidden(self, _: int) -> None:
        try:
            for pdu in self._hidden.receive():
                command = pdu if isinstance(pdu, CmdUnlink) else pdu[0]
                if self._device is None:
                    # What was on its way to a device that is gone never comes.
                    self._merge.begin_behind(command.seqnum)
                    self._pass_on([(self._hidden, pdu)])
                else:
                    self._pass_on(self._merge.put(command.seqnum, (self._hidden, pdu)))
            self._look_at_numbers()
        except (RigError, OSError) as error:
            self._break(error)

    def _look_at_numbers(self) -> None:
        if self._merge.exhausted:
            self._give_up("The numbers of vhci_hcd's controller come to an end.")

    def _break(self, error: RigError | OSError) -> None:
        self._give_up(f"The fence of vhci_hcd's port {self._hidden.port.number} broke: {error}")

    def _give_up(self, reason: str) -> None:
        """Tell once that the half is of no more use; whoever hears it closes it."""
        lost, self._lost = self._lost, _known
        lost(self, reason)

    def _pass_on(self, things: list[tuple[Hcd, PduWithData]]) -> None:
        for source, pdu in things:
            if source is self._hidden:
                self._answer(pdu)
            elif source is self._device:
                self._received(pdu)

    def _answer(self, pdu: PduWithData) -> None:
        if isinstance(pdu, CmdUnlink):
            self._hidden.answer_unlink(pdu.seqnum)
            self._hidden.flush()
            return
        command = pdu[0]
        setup = SetupPacket.unpack(command.setup)
        status, data = hidden.answer(setup, super_speed=self.super_speed)
        self._hidden.give_back(command.seqnum, status, len(data), data)
        self._hidden.flush()
        if setup == hidden.BARRIER:
            self._reactor.cancel(self._barrier_timer)
            waited, again = self._barriers.passed()
            for call in waited:
                call()
            if again:
                self._queue_barrier()
        elif hidden.is_set_configuration(setup) and self._node is None and not self._helper.busy:
            # The kernel has made the node before it configures the device; opening it waits
            # until it has configured it.
            self._open_node()

    def _open_node(self) -> None:
        port = vhci.read_port(self._hidden.port.number)
        path = sysfs.node(port.bus_id) if port is not None else None
        if path is None:
            raise MachineError("The hidden device of the fence has no node of usbfs.")

        def open_it() -> None:
            try:
                self._opened = UsbfsDevice(path)
            except OSError as error:
                self._refused = error

        self._block(open_it, self._node_opened)

    def _node_opened(self) -> None:
        self._node = self._opened
        self._reactor.cancel(self._timer)
        self._look_whether_ready()

    def _block(self, job: Callable[[], None], then: Callable[[], None]) -> None:
        """Have the helper do what may block, and then do something on this thread, if it went."""
        self._after_job = then
        self._helper.do(job)

    def _on_helper(self, _: int) -> None:
        self._helper.finished()
        if self._refused is not None:
            self._break(self._refused)
        else:
            self._after_job()

    def _wait_for_barrier(self, call: Callable[[], None]) -> None:
        if self._barriers.wait(call):
            self._queue_barrier()

    def _queue_barrier(self) -> None:
        node = self._node
        if node is None:
            return  # given up meanwhile
        self._reactor.at(self._barrier_timer, time.monotonic() + DEADLINE_S, self._barrier_late)
        if self._helper.busy:
            # The barrier before came out before the call that has queued it returned.
            self._barrier_wanted = True
            return
        self._barrier_number += 1
        number = self._barrier_number

        def queue() -> None:
            try:
                while node.reap() is not None:
                    pass  # those before; nobody needed to know that the kernel has them back
                node.submit(number, TransferType.CONTROL, 0, 0, _BARRIER)
            except OSError as error:
                self._refused = error

        self._block(queue, self._barrier_queued)

    def _barrier_queued(self) -> None:
        if self._barrier_wanted:
            self._barrier_wanted = False
            self._queue_barrier()

    # From one mapped device to the next.

    def _look_whether_ready(self) -> None:
        call = self._when_ready
        if call is None or self._node is None or self._leaving is not None:
            return

        def came_out() -> None:
            if self._when_ready is call:  # and not the next one: its barrier is still to come
                self._when_ready = None
                call()

        # Its number is the last before the next device's.
        self._wait_for_barrier(came_out)

    def _await_leaving(self) -> None:
        assert self._leaving is not None
        port = None
        with contextlib.suppress(RigError, OSError):  # the module is gone, and the port with it
            port = vhci.read_port(self._leaving.number)
        if port is not None and port.state is not vhci.PortState.NULL:
            now = time.monotonic()
            if now < self._leaving_until:
                self._reactor.at(self._leaving_timer, now + POLL_S, self._await_leaving)
            else:
                self._give_up(f"The kernel does not free vhci_hcd's port {port.number}.")
            return
        self._leaving = None
        self._look_whether_ready()

    @property
    def _timer(self) -> str:
        return f"half-{id(self)}"

    @property
    def _leaving_timer(self) -> str:
        return f"leaving-{id(self)}"

    @property
    def _barrier_timer(self) -> str:
        return f"barrier-{id(self)}"

    def _barrier_late(self) -> None:
        # Without this the endpoints that wait for it would stand still for ever.
        self._give_up(
            f"The barrier of vhci_hcd's port {self._hidden.port.number} did not come out in"
            f" {DEADLINE_S:g} s: does somebody else use its controller?"
        )

    def _too_late(self) -> None:
        self._give_up("The kernel did not enumerate the hidden device of the fence.")


def _nobody(_: PduWithData) -> None:
    """Hears what is queued for no device."""


def _known(_: Half, __: str) -> None:
    """Hears again that a half is of no more use."""


def _nothing() -> None:
    """Stands for the fence that nobody has asked for."""


def lock_half(ports: list[vhci.Port]) -> int | None:
    """Return a descriptor that keeps other front ends from using a half, or None if one does."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    path = LOCKS / f"vhci-port-{ports[0].number}.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    return None
