"""The kernel's side of the hidden device: its node of usbfs, where the barriers are queued.

Opening the node and queueing a barrier wait for the device's lock.  Whoever resets or configures it
by hand holds that lock until its half has answered on endpoint 0: so both are done by a thread of
their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rig.errors import MachineError
from rig.helper_thread import HelperThread
from rig.reactor import READABLE, Reactor
from rig.splitdriver import hidden
from rig.splitdriver.order import Barriers
from rig.usb import sysfs, vhci
from rig.usb.urb import TransferType
from rig.usb.usbfs import UsbfsDevice

DEADLINE_S = 15.0
"""For the kernel to enumerate the hidden device, or for a barrier to come out."""

_BARRIER = memoryview(bytearray(hidden.BARRIER.pack()))


class FenceNode:
    """Queues barriers, and says which callers each of them was for.

    Args:
        port: Number of the port of ``vhci_hcd`` that the hidden device is in.
        reactor: Waits.
        ready: Called when barriers can be queued.
        lost: Called with a sentence when none will be queued any more, or come out.
    """

    def __init__(
        self,
        port: int,
        reactor: Reactor,
        *,
        ready: Callable[[], None],
        lost: Callable[[str], None],
    ) -> None:
        self._port = port
        self._reactor = reactor
        self._ready = ready
        self._lost = lost
        self._barriers: Barriers[Callable[[], None]] = Barriers()
        self._node: UsbfsDevice | None = None
        self._opened: UsbfsDevice | None = None  # the same, as the helper knows it
        self._refused: OSError | None = None  # what the helper has asked the kernel for
        self._after_job: Callable[[], None] = self._node_opened
        self._barrier_wanted = False
        self._barrier_number = 0
        self._helper = HelperThread(f"fence of port {port}")
        reactor.watch(self._helper, READABLE, self._on_helper)
        reactor.at(self._timer, time.monotonic() + DEADLINE_S, self._too_late)

    def close(self) -> None:
        """Queue no more, and call nobody; what blocks now ends with the hidden device."""
        self._reactor.cancel(self._timer)
        self._reactor.cancel(self._barrier_timer)
        self._reactor.unwatch(self._helper)
        self._node = None
        self._helper.close(self._close_node)

    def _close_node(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def is_open(self) -> bool:
        """Whether barriers can be queued."""
        return self._node is not None

    def open(self) -> None:
        """The device is configured: open its node, if it is not; `ready` is called then.

        Raises:
            MachineError: It has none.
        """
        if self._node is not None or self._helper.busy:
            return
        port = vhci.read_port(self._port)
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
        self._ready()

    def wait(self, call: Callable[[], None]) -> None:
        """Call when a barrier that is queued from now on has come out."""
        if self._barriers.wait(call):
            self._queue_barrier()

    def came_out(self) -> None:
        """The barrier has come out, and is answered: call those who waited for it."""
        self._reactor.cancel(self._barrier_timer)
        waited, again = self._barriers.passed()
        for call in waited:
            call()
        if again:
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

    def _block(self, job: Callable[[], None], then: Callable[[], None]) -> None:
        """Have the helper do what may block, and then do something on this thread, if it went."""
        self._after_job = then
        self._helper.do(job)

    def _on_helper(self, _: int) -> None:
        self._helper.finished()
        if self._refused is not None:
            self._lost(f"The fence of vhci_hcd's port {self._port} broke: {self._refused}")
        else:
            self._after_job()

    @property
    def _timer(self) -> str:
        return f"half-{id(self)}"

    @property
    def _barrier_timer(self) -> str:
        return f"barrier-{id(self)}"

    def _barrier_late(self) -> None:
        # Without this the endpoints that wait for it would stand still for ever.
        self._lost(
            f"The barrier of vhci_hcd's port {self._port} did not come out in {DEADLINE_S:g} s:"
            " does somebody else use its controller?"
        )

    def _too_late(self) -> None:
        self._lost("The kernel did not enumerate the hidden device of the fence.")
