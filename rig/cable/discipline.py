"""The order of transfers on one endpoint: what may run, what must not run any more.

QEMU's ``usb-redir`` hands over all transfers of an endpoint as they are queued, before the first
has ended, and expects answers in the order of the requests.  When an answer is an error, QEMU takes
back what stands behind it, as a host controller does whose endpoint has halted - but it learns of
the error only when it reads the answer, and meanwhile more may be on its way.  So:

1. One transfer at a time is with the device, the oldest.
2. When it ends in an error, all that stands behind it is *stale*: it never starts, and its place is
   held until QEMU has taken it back.  While one is there nothing starts.
3. What arrives after that may be stale too: QEMU may not have read the answer yet.  It is held
   until QEMU has read it - the edge sees that - and `SETTLE_S` more, for what QEMU does about it
   comes at once.  Whatever was not taken back by then was queued afterwards, and runs.
4. On EHCI a short IN transfer may halt QEMU's endpoint like an error (``short_not_ok``), or not:
   rule 3 holds for what is behind it, too.
5. Each transfer is answered exactly once, whether it was taken back or not.
6. Ids are addresses and come again: a cancel means the newest transfer of that id.

The default control pipe is not handed over ahead (``pipelined`` is false): rules 2 to 4 are idle
there.

Pure: time is an argument.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum

import msgspec

SETTLE_S = 0.003
"""Between QEMU's read of an answer and its last cancel there is nothing but QEMU's own work."""


class Transfer(msgspec.Struct, eq=False):
    """A transfer that was handed over; the same object until it is answered.

    Attributes:
        id: QEMU's; None for one of the cable's own.
        endpoint_address: With bit 7 for IN.
        length_bytes: Of the buffer.
        setup: The SETUP packet of a control transfer, else empty.
        data: OUT data.
        request: What the answer is made from; the queue does not look at it.
        stale: It must not start.
        cancelled: QEMU has taken it back.
    """

    id: int | None
    endpoint_address: int
    length_bytes: int
    setup: bytes = b""
    data: bytes | memoryview = b""
    request: object = None
    stale: bool = False
    cancelled: bool = False


class Cancelled(Enum):
    """What a cancel meant."""

    NOTHING = 0
    """Its transfer was answered already: the two have crossed."""
    WAITING = 1
    """The transfer has not started, and never will: it is to be answered now."""
    RUNNING = 2
    """The transfer is with the device, which has to be told; it is answered when it has ended."""


class Queue:
    """One endpoint's transfers.

    Args:
        pipelined: Whether QEMU hands over transfers before the first has ended.
        short_stops: Whether a short transfer may halt QEMU's endpoint.
    """

    def __init__(self, *, pipelined: bool, short_stops: bool = False) -> None:
        self._pipelined = pipelined
        self._short_stops = short_stops
        self._waiting: deque[Transfer] = deque()
        self.running: Transfer | None = None
        self._unread = False  # QEMU has not read an answer that may have stopped the endpoint
        self._settled_s = -math.inf

    def __len__(self) -> int:
        return len(self._waiting) + (self.running is not None)

    @property
    def unread(self) -> bool:
        """Whether the queue waits for QEMU to read what was sent to it."""
        return self._unread

    @property
    def deadline_s(self) -> float:
        """When `start` may return something that it does not return now; infinite for never."""
        held = not self._unread and self.running is None and self._waiting
        return self._settled_s if held and not self._waiting[0].stale else math.inf

    def arrive(self, transfer: Transfer) -> None:
        """Take a transfer that QEMU has handed over."""
        self._waiting.append(transfer)

    def start(self, now_s: float) -> Transfer | None:
        """Return the transfer that starts now, if one does."""
        if self.running or self._unread or now_s < self._settled_s or not self._waiting:
            return None
        if self._waiting[0].stale:
            return None
        self.running = self._waiting.popleft()
        return self.running

    def ended(self, *, failed: bool, short: bool = False) -> Transfer:
        """Take note that the running transfer is being answered; return it.

        Args:
            failed: The answer is an error.
            short: Less data came IN than were asked for.
        """
        transfer, self.running = self.running, None
        assert transfer is not None
        # QEMU forgot a transfer that it has taken back: its answer stops nothing.
        if self._pipelined and not transfer.cancelled:
            if failed:
                for behind in self._waiting:
                    behind.stale = True
            if failed or (short and self._short_stops):
                self._unread = True
        return transfer

    def read(self, now_s: float) -> None:
        """Take note that QEMU has read all that was sent to it."""
        if self._unread:
            self._unread = False
            self._settled_s = now_s + SETTLE_S

    def find(self, transfer_id: int) -> Transfer | None:
        """Return the newest transfer of that id that is not cancelled."""
        for transfer in reversed(self._waiting):
            if transfer.id == transfer_id and not transfer.cancelled:
                return transfer
        running = self.running
        if running and running.id == transfer_id and not running.cancelled:
            return running
        return None

    def cancel(self, transfer: Transfer) -> Cancelled:
        """Take back a transfer that `find` has returned."""
        transfer.cancelled = True
        if transfer is self.running:
            return Cancelled.RUNNING
        self._waiting.remove(transfer)
        return Cancelled.WAITING

    def clear(self, *, keep_own: bool = False) -> list[Transfer]:
        """Take back all that waits, for the port is reset; return it, to be answered.

        What arrives from now on comes from behind the reset.  What runs is taken back as well, but
        answered only when it has ended.

        Args:
            keep_own: Leave the cable's own transfers alone.
        """

        def taken(transfer: Transfer) -> bool:
            return not keep_own or transfer.id is not None

        if self.running is not None and taken(self.running):
            self.running.cancelled = True
        gone = [transfer for transfer in self._waiting if taken(transfer)]
        self._waiting = deque(transfer for transfer in self._waiting if not taken(transfer))
        self._unread = False
        self._settled_s = -math.inf
        return gone
