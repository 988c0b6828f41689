"""QEMU's side of usbredir: a device's endpoint queues as ``hw/usb/core.c`` keeps them.

It hands over every transfer at once, demands answers in the order of the requests, and on an error
takes back all that stands behind it: each with a cancel, and none of them may ever have started.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.packets import Packet
from rig.cable.usbredir.vocabulary import Status
from rig.cable.wire import FENCE


@dataclass
class Endpoint:
    """Transfers that QEMU waits for, the oldest first, by serial numbers of the test's."""

    queue: deque[int] = field(default_factory=deque)


class FakeUsbRedir:
    """A model of QEMU's device and of its host controller's bookkeeping.

    Attributes:
        sent: Packets on their way to the cable.
        halted_behind: Serial numbers of transfers that an error has taken back.
        answers: Of each id handed over, how many answers are due.
    """

    def __init__(self) -> None:
        self.sent: deque[Packet] = deque()
        self.endpoints: dict[int, Endpoint] = {}
        self.halted_behind: set[int] = set()
        self.answers: Counter[int] = Counter()
        self.ids: dict[int, int] = {}
        self.succeeded: list[int] = []
        self._cancelled: list[int] = []
        self._serial = 0

    @property
    def ids_in_use(self) -> set[int]:
        """Ids of the transfers that are waited for: a controller's addresses are in use once."""
        return {self.ids[serial] for e in self.endpoints.values() for serial in e.queue}

    def submit(self, endpoint: int, packet_id: int, length: int) -> int:
        """Hand a bulk transfer over; return its serial number."""
        self._serial += 1
        self.ids[self._serial] = packet_id
        self.endpoints.setdefault(endpoint, Endpoint()).queue.append(self._serial)
        self.answers[packet_id] += 1
        # The data say which transfer it is, for the device at the other end.
        data = b"" if endpoint & 0x80 else self._serial.to_bytes(4, "little").ljust(length, b".")
        self.sent.append(redir.BulkPacket.of(packet_id, endpoint, 0, length, data))
        return self._serial

    def cancel(self, endpoint: int) -> None:
        """The guest's driver stops an endpoint, to unlink one of its transfers.

        All are taken back then (``xhci_ep_nuke_xfers``, ``ehci_cancel_queue``).
        """
        queue = self.endpoints[endpoint].queue
        while queue:
            self._take_back(queue.popleft())

    def receive(self, packet: Packet) -> None:
        """Read an answer, and do at once all that it brings about.

        Raises:
            AssertionError: It is not what QEMU's own assertions demand, or one too many.
        """
        if packet == FENCE:
            return
        assert isinstance(packet, redir.BulkPacket), packet
        assert self.answers[packet.id] > 0, f"an answer too many for {packet.id}"
        self.answers[packet.id] -= 1
        if packet.id in self._cancelled:
            self._cancelled.remove(packet.id)
            return
        queue = self.endpoints[packet.endpoint].queue
        assert queue, "an answer without a request"
        assert self.ids[queue[0]] == packet.id, "usb_packet_complete_one: not the first"
        serial = queue.popleft()
        if packet.status == Status.SUCCESS:
            self.succeeded.append(serial)
            return
        while queue:
            behind = queue.popleft()
            self.halted_behind.add(behind)
            self._take_back(behind)

    def _take_back(self, serial: int) -> None:
        packet_id = self.ids[serial]
        self._cancelled.append(packet_id)
        self.sent.append(redir.Cancel(packet_id))
