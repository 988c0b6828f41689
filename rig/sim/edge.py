"""The front end's edge to its kernel, as `rig.splitdriver.front.half` has it.  Pure.

The merge and the barriers are the real ones; sockets, threads and sysfs are a few flags.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rig.sim.client import Client
from rig.sim.promise import MAX_WAITING, BrokenError, Rule
from rig.splitdriver.order import Barriers, Merge
from rig.usb.usbip import CmdSubmit, CmdUnlink

Command = CmdSubmit | CmdUnlink
_Thing = Command | None
"""What comes out of the merge; None is the hidden device's."""


class Edge:
    """One half of a controller of ``vhci_hcd``: the mapped device, and the hidden one.

    Args:
        client: The kernel.
        received: Called with each command in the kernel's order.
        fence_passed: Called when a fence has passed.
    """

    __slots__ = (
        "_barriers",
        "_fence_passed",
        "_received",
        "_when_ready",
        "attached",
        "client",
        "fence_at",
        "hidden",
        "leaving",
        "lives",
        "merge",
    )

    def __init__(
        self,
        client: Client,
        received: Callable[[Command], None],
        fence_passed: Callable[[], None],
    ) -> None:
        self.client = client
        self.merge: Merge[_Thing] = Merge()
        self.merge.begin_behind(0)
        self._barriers: Barriers[Callable[[], None]] = Barriers()
        self._received = received
        self._fence_passed = fence_passed
        self._when_ready: Callable[[], None] | None = None
        self.hidden: deque[int] = deque()
        """Barriers that the kernel has not sent yet, by number."""
        self.attached = False
        """The front end shows a device; whether the kernel still does, it does not know."""
        self.leaving = False
        """The kernel is not done with the port of the device before."""
        self.fence_at: int | None = None
        """A fence waits for the kernel to have read past so many PDUs."""
        self.lives = 0
        """How many devices were attached."""

    # The mapped device.

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call when a device may be attached."""
        self._when_ready = call
        self._look_whether_ready()

    def attach(self) -> None:
        """The device is there."""
        self.lives += 1
        self.attached = self.client.plugged = True

    def detach(self) -> None:
        """The device goes."""
        self._when_ready = None
        if not self.attached:
            return
        if not self.broken:
            self.client.lose_device()
        self.attached = False
        self.fence_at = None
        self.leaving = True
        for thing in self.merge.give_up():
            if thing is None:
                self._barrier_came_out()

    @property
    def broken(self) -> bool:
        """Whether the kernel has detached the device, which the front end has yet to see."""
        return self.attached and not self.client.plugged

    def left(self) -> None:
        """The kernel is done with the port."""
        self.leaving = False
        self._look_whether_ready()

    def send(self) -> Command:
        """The kernel sends a command of the mapped device."""
        command = self.client.send()
        self._put(command.seqnum, command)
        return command

    # The fence.

    def fence(self) -> None:
        """Tell when all that was given back so far is done with, and all of it is known."""
        self.fence_at = self.client.put

    @property
    def read_on(self) -> bool:
        """Part A: whether the kernel has read past all that was there when the fence began.

        It reads the octets behind a PDU when the PDU's handler has returned; if another PDU has
        followed, that one's may be running.
        """
        client = self.client
        return (
            self.fence_at is not None
            and not client.pdus
            and (client.handler is None or client.read_count > self.fence_at)
        )

    def pass_part_a(self) -> None:
        """The front end sees that the kernel has read on: now for part B."""
        self.fence_at = None
        life = self.lives

        def came_out() -> None:
            if self.attached and self.lives == life:
                self._fence_passed()

        self._wait_for_barrier(came_out)

    # The hidden device.

    def send_hidden(self) -> int:
        """The kernel sends a command of the hidden device; returns its number."""
        seqnum = self.hidden.popleft()
        if self.attached:
            self._put(seqnum, None)
        else:
            self.merge.begin_behind(seqnum)
            self._barrier_came_out()
        return seqnum

    def _put(self, seqnum: int, thing: _Thing) -> None:
        for each in self.merge.put(seqnum, thing):
            if each is None:
                self._barrier_came_out()
            else:
                self._received(each)
        if self.merge.waiting > MAX_WAITING:
            raise BrokenError(Rule.GROWTH, f"More than {MAX_WAITING} commands wait in the merge.")

    def _wait_for_barrier(self, call: Callable[[], None]) -> None:
        if self._barriers.wait(call):
            self.hidden.append(self.client.next_number())

    def _barrier_came_out(self) -> None:
        waited, again = self._barriers.passed()
        for call in waited:
            call()
        if again:
            self.hidden.append(self.client.next_number())

    def _look_whether_ready(self) -> None:
        call = self._when_ready
        if call is None or self.leaving:
            return

        def came_out() -> None:
            if self._when_ready is call:  # and not the next one: its barrier is still to come
                self._when_ready = None
                call()

        self._wait_for_barrier(came_out)
