"""Transfers from their arrival to their end: queued, asked about, carried out by vudc, answered.

Whose they are does not matter here: beside those that QEMU hands over there are the cable's own.

What is taken back may be gone already.  A bus moves an OUT transfer's data when its turn comes, a
real one 16 KiB in 0.3 ms; vudc moves them at its next tick, and lets go of them until then.  So a
transfer that has been out for as long as a bus needs for it is left with vudc when it is taken
back, for `GONE_S`; if the device has not taken it by then - a NAK - it is unlinked.

Pure: octets for vudc come out, its replies go in, and time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import count

import msgspec

from rig.cable.asking import Asker, FaultHappened
from rig.cable.controllers import Cut
from rig.cable.discipline import Queue, Transfer
from rig.cable.present import Dropped, Present
from rig.cable.requests import NOT_WANTED, Outcome, outcome_of
from rig.cable.usbredir.vocabulary import Data, Status
from rig.cable.vudc import Reply, Returned
from rig.errors import RemoteProtocolError
from rig.usb.setup import SETUP_BYTES
from rig.usb.urb import DIRECTION_IN
from rig.usb.usbip import CmdSubmit, CmdUnlink

_WIRE_DIR_IN = 0x200  # URB_DIR_IN, as it stands in a USB/IP header

GONE_S = 0.02
"""vudc moves data every 4 ms (HZ=250); under emulation it may come late to that."""

Ended = Callable[[Transfer, Outcome], None]


class _Running(msgspec.Struct, frozen=True):
    """A transfer that is in vudc, with so many octets of its buffer.

    A bus would have moved them by `gone_s`; never, if it is not known.
    """

    transfer: Transfer
    queue: Queue
    length_bytes: int
    cut: Cut | None
    gone_s: float


class Transfers:
    """All transfers on the cable.

    Args:
        present: The endpoints that there are, with their queues.
        asker: Is asked about each transfer that starts.
        bytes_per_s: What the bus carries.
        starts: Told of each transfer before it starts.
        ended: Told once of each transfer: it is to be answered so.
        ended_late: Told what has become of one that was taken back, and answered, before.

    Attributes:
        to_vudc: Octets to be sent there; whoever sends them takes them out.
        faults: What fired; whoever tells of it takes it out.
        submitted_in: Seqnums of IN transfers in vudc, to read its replies by.
        control: The default control pipe's queue.
    """

    def __init__(
        self,
        present: Present,
        asker: Asker,
        *,
        bytes_per_s: float,
        starts: Callable[[Transfer], None],
        ended: Ended,
        ended_late: Ended,
    ) -> None:
        self._present = present
        self._asker = asker
        self._bytes_per_s = bytes_per_s
        self._starts = starts
        self._ended = ended
        self._ended_late = ended_late
        self.to_vudc: list[Data] = []
        self.faults: list[FaultHappened] = []
        self.submitted_in: set[int] = set()
        self.control = Queue(pipelined=False)
        self._attached = False
        self._running: dict[int, _Running] = {}
        self._unlink_at: dict[int, float] = {}  # by seqnum
        self._seqnums = count(1)

    @property
    def deadline_s(self) -> float | None:
        """When `pump` is to be called at the latest; None: not for now."""
        return min(self._unlink_at.values(), default=None)

    def attach(self) -> None:
        """There is a device from now on."""
        self._attached = True

    def detach(self) -> None:
        """There is none: what its control pipe had is given back, and nothing more will start."""
        self._attached = False
        self._running.clear()
        self._unlink_at.clear()
        self.submitted_in.clear()
        self._answer_all(self.control.clear())
        self.control = Queue(pipelined=False)
        self.to_vudc.clear()

    def arrive(self, transfer: Transfer) -> None:
        """Take a transfer; one for an endpoint that is not there ends at once."""
        queue = self._queue_of(transfer.endpoint_address)
        if queue is None or not self._attached:
            self._ended(transfer, Outcome(Status.INVALID))
        else:
            queue.arrive(transfer)

    def pump(self, now_s: float) -> None:
        """Start whatever may start, and have back what a device has not taken."""
        for seqnum, at_s in [*self._unlink_at.items()]:
            if at_s <= now_s:
                self.unlink(self._running[seqnum].transfer)
        again = self._attached
        while again:  # a transfer that fails before it runs makes room for the next one
            again = False
            for queue in self._queues():
                transfer = queue.start()
                if transfer is not None:
                    again = True
                    self._start(transfer, queue, now_s)

    def cancel(self, packet_id: int, now_s: float) -> None:
        """QEMU takes a transfer back."""
        for queue in self._queues():
            transfer = queue.find(packet_id)
            if transfer is None:
                continue
            if queue.cancel(transfer):
                self._take_back(transfer, now_s)
            self._ended(transfer, NOT_WANTED)
            return
        for queue in self._queues():
            queue.crossed(packet_id)

    def give_back(self, dropped: Dropped) -> None:
        """End what was on endpoints that are no more."""
        self._answer_all(dropped.taken_back)
        for transfer in dropped.running:
            self.unlink(transfer)

    def reset(self) -> None:
        """The port is reset: end what QEMU has on the control pipe."""
        self._answer_all(self.control.clear(keep_own=True))
        running = self.control.running
        if running is not None and running.cancelled:
            self.unlink(running)

    def unlink(self, transfer: Transfer) -> None:
        """Ask vudc for a transfer back, if it has it."""
        for seqnum, running in self._running.items():
            if running.transfer is transfer:
                self._unlink_at.pop(seqnum, None)
                # vudc remembers an unlink by its number alone: it may have the transfer's.
                self.to_vudc.append(CmdUnlink(seqnum, 0, seqnum).pack())

    def take(self, reply: Reply) -> None:
        """Take a reply of vudc's.

        Raises:
            RemoteProtocolError: More has moved than there was room for.
        """
        running = self._running.get(reply.seqnum)
        if running is None:
            self.submitted_in.discard(reply.seqnum)
        elif not isinstance(reply, Returned):
            if reply.status:  # else it had ended, and its `Returned` came before
                self._over(reply.seqnum, NOT_WANTED)
        elif reply.actual_bytes > running.length_bytes:
            raise RemoteProtocolError(
                f"The gadget says that {reply.actual_bytes} octets moved of a transfer of"
                f" {running.length_bytes}, at endpoint {running.transfer.endpoint_address:#04x}."
            )
        else:
            injected = running.cut.status if running.cut else None
            self._over(reply.seqnum, outcome_of(reply, injected))

    def _queue_of(self, endpoint_address: int) -> Queue | None:
        if endpoint_address & 0x0F == 0:
            return self.control
        return self._present.queues.get(endpoint_address)

    def _queues(self) -> list[Queue]:
        return [self.control, *self._present.queues.values()]

    def _take_back(self, transfer: Transfer, now_s: float) -> None:
        """Have a transfer back that is with the device, unless a bus had moved it by now."""
        for seqnum, running in self._running.items():
            if running.transfer is transfer and running.gone_s <= now_s:
                self._unlink_at[seqnum] = now_s + GONE_S
                return
        self.unlink(transfer)

    def _start(self, transfer: Transfer, queue: Queue, now_s: float) -> None:
        self._starts(transfer)
        address, length_bytes = transfer.endpoint_address, transfer.length_bytes
        happened = self._asker.ask(transfer, self._present.endpoints.get(address))
        if happened is not None:
            self.faults.append(happened)
            if happened.cut.run_bytes is None:
                self._end(queue, Outcome(happened.cut.status))
                return
            length_bytes = happened.cut.run_bytes
        seqnum = next(self._seqnums)
        cut = happened.cut if happened else None
        is_in = bool(address & DIRECTION_IN)
        # Of data that come IN, and of a control transfer's stages, the device alone knows.
        known = not is_in and not transfer.setup
        gone_s = now_s + length_bytes / self._bytes_per_s if known else math.inf
        self._running[seqnum] = _Running(transfer, queue, length_bytes, cut, gone_s)
        setup = transfer.setup or bytes(SETUP_BYTES)
        flags = _WIRE_DIR_IN if is_in else 0
        self.to_vudc.append(CmdSubmit(seqnum, 0, address, flags, length_bytes, 0, 0, setup).pack())
        if is_in:
            self.submitted_in.add(seqnum)
        elif length_bytes:
            self.to_vudc.append(transfer.data[:length_bytes])

    def _over(self, seqnum: int, outcome: Outcome) -> None:
        running = self._running.pop(seqnum)
        self._unlink_at.pop(seqnum, None)
        self.submitted_in.discard(seqnum)
        self._end(running.queue, outcome)

    def _end(self, queue: Queue, outcome: Outcome) -> None:
        """Answer the transfer that runs in a queue, unless that was done when it was taken back."""
        assert queue.running is not None
        short = outcome.actual_bytes < queue.running.length_bytes
        transfer = queue.ended(failed=outcome.status is not Status.SUCCESS, short=short)
        tell = self._ended_late if transfer.cancelled else self._ended
        tell(transfer, outcome)

    def _answer_all(self, transfers: Iterable[Transfer]) -> None:
        """End what QEMU has handed over and nobody wants any more."""
        for transfer in transfers:
            if transfer.id is not None:
                self._ended(transfer, NOT_WANTED)
