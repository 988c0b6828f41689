"""One half of a controller of ``vhci_hcd``, owned whole: the hidden device and one mapped device.

A half is a root hub.  Its ports share one sequence of numbers, and whoever owns all that is
attached there can restore the order in which the kernel queued things (`rig.splitdriver.order`).
So a half carries one mapped device at a time, and beside it the hidden device of the fence, which
comes first and stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from rig.errors import RigError
from rig.reactor import EDGE, READABLE, WRITABLE, Reactor
from rig.splitdriver import hidden
from rig.splitdriver.front.fence_node import FenceNode
from rig.splitdriver.front.hcd import Hcd, PduWithData
from rig.splitdriver.front.leaving import Leaving
from rig.splitdriver.order import Merge
from rig.usb import vhci
from rig.usb.setup import SetupPacket
from rig.usb.urb import Speed
from rig.usb.usbip import CmdUnlink


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
        # Another front end may have left a port a moment ago: begin anywhere.
        self._turn = os.getpid()
        self._device: Hcd | None = None
        self._leaving = Leaving(reactor, self._look_whether_ready, self._give_up)
        self._received: Callable[[PduWithData], None] = _nobody
        self._fence_passed: Callable[[], None] = _nothing
        self._when_ready: Callable[[], None] | None = None
        self._hidden = Hcd(ports[-1], 0, Speed.SUPER if self.super_speed else Speed.HIGH)
        self._node = FenceNode(
            ports[-1].number, reactor, ready=self._look_whether_ready, lost=self._give_up
        )
        reactor.watch(self._hidden, READABLE, self._on_hidden)

    def close(self) -> None:
        """Detach all; the half is free for others."""
        self._drop_device()
        self._leaving.close()
        self._reactor.unwatch(self._hidden)
        self._hidden.close()
        os.close(self._lock)
        self._node.close()

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
        self._leaving.begin(self._device.port)
        self._drop_device()
        # What was lost with the device is not waited for; the hidden device's requests are.
        try:
            self._pass_on(self._merge.give_up())
        except (RigError, OSError) as error:
            self._break(error)
        self._leaving.look()

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

        self._node.wait(came_out)

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
            self._node.came_out()
        elif hidden.is_set_configuration(setup):
            # The kernel has made the node before it configures the device; opening it waits
            # until it has configured it.
            self._node.open()

    # From one mapped device to the next.

    def _look_whether_ready(self) -> None:
        call = self._when_ready
        if call is None or not self._node.is_open or self._leaving.under_way:
            return

        def came_out() -> None:
            if self._when_ready is call:  # and not the next one: its barrier is still to come
                self._when_ready = None
                call()

        # Its number is the last before the next device's.
        self._node.wait(came_out)


def _nobody(_: PduWithData) -> None:
    """Hears what is queued for no device."""


def _known(_: Half, __: str) -> None:
    """Hears again that a half is of no more use."""


def _nothing() -> None:
    """Stands for the fence that nobody has asked for."""
