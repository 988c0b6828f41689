"""The order of transfers on one endpoint: what may run, what must not run any more.

QEMU's ``usb-redir`` hands over all transfers of an endpoint as they are queued, before the first
has ended, and expects answers in the order of the requests.  When an answer is an error, QEMU takes
back what stands behind it, as a host controller does whose endpoint has halted - but it learns of
the error only when it reads the answer, and meanwhile more may be on its way.  So:

1. One transfer at a time is with the device, the oldest.
2. When it ends in an error, all that stands behind it is *stale*: it never starts, and its place is
   held until QEMU has taken it back.  While one is there nothing starts.
3. What arrives after that may be stale too: QEMU may not have acted on the answer yet.  Nothing
   starts until it is proven that it has.  Either it takes back what stands behind the error: an
   endpoint's transfers are only ever taken back all together, the oldest first
   (``usb_packet_complete``, ``xhci_ep_nuke_xfers``, ``ehci_cancel_queue``), so the cancel of one
   behind the error, without that of the one that failed, says that QEMU has acted on the error and
   had no others then; when the last of them is gone, what arrives is new, and starts at once.  Or
   QEMU has read the answer, and then what was sent to it after that (the *fence*): it acts on what
   it has received before it receives more, so its cancels were written before that second read.
   How long it takes does not matter: a station with much else to do makes it later, never wrong.
4. On EHCI a short IN transfer may halt QEMU's endpoint like an error (``short_not_ok``), or not:
   rule 3 holds for what is behind it, too.
5. The cancel of a transfer may cross its answer.  Then QEMU takes the answer for the cancel's, and
   an error in it has halted nothing: the stop is taken back.
6. Each transfer is answered exactly once, whether it was taken back or not.
7. Ids are addresses and come again, also on another endpoint: a cancel means the newest transfer
   of that id, and is answered at once, for QEMU takes the next answer of that id for the cancel's.
   The transfer may be with the device still, and goes on to hold its endpoint.

The default control pipe is not handed over ahead (``pipelined`` is false): rules 2 to 5 are idle
there.

Pure, and without a clock.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

import msgspec


class Stop(IntEnum):
    """What is known of QEMU while an endpoint is stopped by an answer."""

    ANSWERED = 0
    """It was answered."""
    READ = 1
    """QEMU has read the answer; it may not have acted on it."""
    FENCED = 2
    """QEMU has read what was sent after that: its cancels are in the socket, or were taken."""


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
        cancelled: It was taken back, and answered.
    """

    id: int | None
    endpoint_address: int
    length_bytes: int
    setup: bytes = b""
    data: bytes | memoryview = b""
    request: object = None
    stale: bool = False
    cancelled: bool = False


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
        self._stop: Stop | None = None
        self._stopped_by: int | None = None

    def __len__(self) -> int:
        return len(self._waiting) + (self.running is not None)

    @property
    def stop(self) -> Stop | None:
        """What is known of QEMU while nothing may start; None: it may."""
        return self._stop

    def arrive(self, transfer: Transfer) -> None:
        """Take a transfer that QEMU has handed over."""
        self._waiting.append(transfer)

    def start(self) -> Transfer | None:
        """Return the transfer that starts now, if one does."""
        if self.running or self._stop is not None or not self._waiting:
            return None
        if self._waiting[0].stale:
            return None
        self.running = self._waiting.popleft()
        self._stopped_by = None
        return self.running

    def ended(self, *, failed: bool, short: bool = False) -> Transfer:
        """Take note that the running transfer has ended; return it, to be answered.

        One that was `cancelled` has been answered, and is not to be again.

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
                self._stop = Stop.ANSWERED
                self._stopped_by = transfer.id
        return transfer

    def read(self) -> None:
        """Take note that QEMU has read all that was sent to it."""
        if self._stop is not None:
            self._stop = Stop.READ if self._stop is Stop.ANSWERED else Stop.FENCED

    def drained(self) -> None:
        """Take note that all was taken that QEMU had written when the last `read` was seen."""
        if self._stop is Stop.FENCED:
            self._go_on()

    def crossed(self, transfer_id: int) -> None:
        """Take note of a cancel that means no transfer here: it may have crossed its answer."""
        if self._stopped_by == transfer_id:
            self._go_on()
            for transfer in self._waiting:
                transfer.stale = False

    def find(self, transfer_id: int) -> Transfer | None:
        """Return the newest transfer of that id that is not cancelled."""
        for transfer in reversed(self._waiting):
            if transfer.id == transfer_id and not transfer.cancelled:
                return transfer
        running = self.running
        if running and running.id == transfer_id and not running.cancelled:
            return running
        return None

    def cancel(self, transfer: Transfer) -> bool:
        """Take back a transfer that `find` has returned, and that is to be answered now.

        Returns:
            Whether it is with the device, which has to be told.
        """
        transfer.cancelled = True
        if transfer is self.running:
            return True
        self._waiting.remove(transfer)
        if self._stopped_by is not None:
            for behind in self._waiting:
                behind.stale = True  # its cancel is the next one
            if not self._waiting:
                self._go_on()
        return False

    def clear(self, *, keep_own: bool = False) -> list[Transfer]:
        """Take back all that runs and waits; return it, in order, to be answered now.

        What arrives from now on comes from behind a reset.  What runs holds the endpoint until it
        has ended.

        Args:
            keep_own: Leave the cable's own transfers alone.
        """

        def taken(transfer: Transfer) -> bool:
            return not keep_own or transfer.id is not None

        gone = [transfer for transfer in self._waiting if taken(transfer)]
        running = self.running
        if running is not None and taken(running) and not running.cancelled:
            running.cancelled = True
            gone.insert(0, running)
        self._waiting = deque(transfer for transfer in self._waiting if not taken(transfer))
        self._go_on()
        return gone

    def _go_on(self) -> None:
        self._stop = None
        self._stopped_by = None
