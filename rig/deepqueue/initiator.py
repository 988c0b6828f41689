"""A bulk-only initiator on usbfs: claims a disk, runs commands, makes it ready again.  An edge.

It decides nothing about a command on its way: `rig.deepqueue.exchange` does.
"""

from __future__ import annotations

import errno
import logging
import math
import select
import time
from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from rig.deepqueue.counters import Counters
from rig.deepqueue.exchange import Action, Buffer, Ended, Ending, Exchange, Submit, Unlink
from rig.deepqueue.plugged import storage_interface
from rig.errors import MachineError
from rig.reactor import HasFileno
from rig.usb import bot
from rig.usb.urb import Direction, TransferFlags, TransferType
from rig.usb.usbfs import BULK_CONTINUATION, Reaped, UsbfsDevice

DEADLINE_S: Final = 30.0
"""Of a command (``SD_TIMEOUT``, ``drivers/scsi/sd.h``)."""

UNLINK_DEADLINE_S: Final = 20.0
"""Until an URB that was unlinked is given back."""

STOP_GRACE_S: Final = 5.0
"""For a command that is on its way when all is to stop."""

READY_ATTEMPTS: Final = 8
"""After a reset the first command is told of it (UNIT ATTENTION); the second should pass."""

READY_DEADLINE_S: Final = 20.0
"""For all of them together."""

_log = logging.getLogger(__name__)


class Recovery(StrEnum):
    """How the client makes the device ready again."""

    PORT_RESET = "port-reset"
    """As usb-storage does first (``usb_stor_port_reset``)."""
    BULK_RESET = "bulk-reset"
    """Bulk-Only reset and both halts cleared (BOT §5.3.4)."""


class Initiator:
    """A disk, claimed.

    Args:
        usbfs: The device's node; belongs to this.
        urb_bytes: Of each URB of a data stage.
        deadline_s: Of a command.
        stall_is_error: See `Exchange`.
        recovery: What `recover` does.
        stop: Readable when all is to stop: a command on its way is given up soon.
        counters: Where what is done is counted.

    Raises:
        MachineError: The device has no endpoints for it.
        OSError: Its interface cannot be claimed.

    Attributes:
        counters: What was done.
        gone: The device is no more.
        recovery: What `recover` does.
        stage_s: How long the last stage of the last command took, from its first submit until all
            its URBs were given back.
    """

    def __init__(
        self,
        usbfs: UsbfsDevice,
        *,
        urb_bytes: int = 16384,
        deadline_s: float = DEADLINE_S,
        stall_is_error: bool = False,
        recovery: Recovery = Recovery.PORT_RESET,
        stop: HasFileno | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.counters = counters or Counters()
        self.gone = False
        self.recovery = recovery
        self.stage_s = 0.0
        self._stage_began = 0.0
        self._usbfs = usbfs
        self._urb_bytes = urb_bytes
        self._deadline_s = deadline_s
        self._stall_is_error = stall_is_error
        self._interface, self._addresses = storage_interface(usbfs)
        self._next_id = 1
        self._stop = stop
        self._all_until = math.inf
        self._poll = select.poll()
        self._poll.register(usbfs, select.POLLOUT)
        if stop is not None:
            self._poll.register(stop, select.POLLIN)
        usbfs.claim_interface(self._interface)

    def close(self) -> None:
        """Let the device go."""
        self._usbfs.close()

    def fileno(self) -> int:
        """The device's descriptor: it hangs up when the device goes."""
        return self._usbfs.fileno()

    @property
    def stopped(self) -> bool:
        """Whether all is to be given up."""
        return self._stop is not None and bool(select.select([self._stop], [], [], 0)[0])

    def run(
        self,
        wrapper: bytes,
        data: Buffer | None = None,
        *,
        urb_bytes: int = 0,
        deadline_s: float = 0.0,
    ) -> Ended:
        """Run one command to its end.

        Args:
            wrapper: The command block wrapper.
            data: As long as the wrapper says; None for a command without.
            urb_bytes: Of each URB of data; 0 for the usual.
            deadline_s: Until it is given up; 0 for the usual.

        Raises:
            MachineError: The kernel did not give back an URB that was unlinked.
        """
        exchange = Exchange(
            wrapper,
            data,
            urb_bytes=urb_bytes or self._urb_bytes,
            first_urb_id=self._next_id,
            stall_is_error=self._stall_is_error,
        )
        self._do(exchange, exchange.begin())
        self._pump(exchange, time.monotonic() + (deadline_s or self._deadline_s))
        self.stage_s = time.monotonic() - self._stage_began
        self._next_id = exchange.next_urb_id
        assert exchange.ended is not None
        self.counters.count(exchange.ended)
        self.gone |= exchange.ended.ending is Ending.GONE
        return exchange.ended

    def recover(self) -> int:
        """Make the device ready for commands; return how often it was asked whether it is.

        Raises:
            MachineError: It does not become ready, or is gone.
        """
        self.counters.resets += 1
        try:
            self._reset()
        except OSError as error:
            self.gone |= error.errno == errno.ENODEV
            _log.warning("The device could not be reset: %s", error.strerror)
        until = time.monotonic() + READY_DEADLINE_S
        for attempt in range(1, READY_ATTEMPTS + 1):
            if self.gone:
                raise MachineError("The device is gone.")
            if self.stopped or (rest_s := until - time.monotonic()) <= 0:
                raise MachineError("The device did not become ready in time.")
            # What fails it may be a split driver, which still fails what comes.
            ended = self.run(bot.unit_ready(attempt), deadline_s=rest_s)
            if ended.ending is Ending.PASSED:
                return attempt
        raise MachineError(f"The device refused a command {READY_ATTEMPTS} times.")

    def _reset(self) -> None:
        if self.recovery is Recovery.PORT_RESET:
            # usbfs has no pre_reset: a claimed interface would be unbound by force.
            self._usbfs.release_interface(self._interface)
            self._usbfs.reset()
            self._usbfs.claim_interface(self._interface)
            return
        self._next_id += 1
        request = bytearray(bot.BULK_ONLY_RESET)
        request[4] = self._interface  # wIndex
        self._usbfs.submit(self._next_id, TransferType.CONTROL, 0, 0, request)
        if self._reap(time.monotonic() + self._deadline_s) is None:
            self._usbfs.discard(self._next_id)
            self._must_reap()
        for direction in (Direction.IN, Direction.OUT):
            self._usbfs.clear_halt(self._addresses[direction])

    def _pump(self, exchange: Exchange, until: float) -> None:
        given_up = False
        while exchange.ended is None:
            try:
                if given_up:
                    reaped: Reaped | None = self._must_reap()
                else:
                    reaped = self._reap(until)
            except OSError:  # it is gone, and nothing is left to be given back
                exchange.vanished()
                return
            if reaped is None:
                given_up = True
                self._do(exchange, exchange.expired())
            else:
                self._do(
                    exchange, exchange.completed(reaped.urb_id, reaped.status, reaped.actual_bytes)
                )

    def _do(self, exchange: Exchange, actions: Iterable[Action]) -> None:
        waiting = deque(actions)
        if waiting and isinstance(waiting[0], Submit):
            self._stage_began = time.monotonic()
        while waiting:
            action = waiting.popleft()
            match action:
                case Submit():
                    try:
                        self._submit(action)
                    except OSError as error:
                        # Not those behind it: they would arrive in its place.
                        waiting = deque(exchange.refused(action.urb_id, -(error.errno or 0)))
                case Unlink(urb_id):
                    self._usbfs.discard(urb_id)
                case _:
                    waiting.extend(exchange.cleared(self._clear_halt(action.direction)))

    def _submit(self, action: Submit) -> None:
        flags = BULK_CONTINUATION * action.behind | TransferFlags.SHORT_NOT_OK * action.exact
        address = self._addresses[action.direction]
        self._usbfs.submit(action.urb_id, TransferType.BULK, address, flags, action.buffer)
        self.counters.urbs += 1

    def _clear_halt(self, direction: Direction) -> int:
        try:
            self._usbfs.clear_halt(self._addresses[direction])
        except OSError as error:
            return -(error.errno or 0)
        return 0

    def _must_reap(self) -> Reaped:
        until = time.monotonic() + UNLINK_DEADLINE_S
        while (rest_s := until - time.monotonic()) > 0:
            reaped = self._usbfs.reap()
            if reaped is not None:
                return reaped
            select.select([], [self._usbfs], [], rest_s)
        raise MachineError(f"An URB was not given back in {UNLINK_DEADLINE_S:g} s.")

    def _reap(self, until: float) -> Reaped | None:
        """Wait for an URB; None if the time is over."""
        while True:
            reaped = self._usbfs.reap()
            now = time.monotonic()
            rest_s = min(until, self._all_until) - now
            if reaped is not None or rest_s <= 0:
                return reaped
            ready = self._poll.poll(rest_s * 1000)
            if self._stop is not None and any(fd == self._stop.fileno() for fd, _ in ready):
                self._poll.unregister(self._stop)
                self._all_until = now + STOP_GRACE_S
