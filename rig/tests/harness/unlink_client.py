"""Runs *on a machine of the lab*, copied there: unlinks URBs at about the moment they complete.

    unlink_client.py NODE UNLINKS SEED WINDOW

It claims every interface of a device (usbfs, ``NODE``) of the kernel's SourceSink functions with
``pattern=1``, keeps a queue of URBs on each bulk endpoint, and takes random ones back.  The moment
is aimed: an URB that had not run when it was taken back makes the next wait longer, one that had
completed makes it shorter, so that most unlinks race the completion.  Every URB must come back
once, with what can be true of it; at the end all come back, and each endpoint must still work.
With a window above 1, one that nobody wanted back may be severed, too: it began when the one before
it ended, before the back end could take both back.

It tells ``progress`` now and then, and at the end ``done`` with figures (`Figures`), or ``failed``
with a sentence.
"""

from __future__ import annotations

import errno
import random
import select
import sys
import time
from dataclasses import asdict, dataclass, field

from rig.daemon import Events
from rig.usb import descriptors
from rig.usb.urb import DIRECTION_IN, TransferType, status_name
from rig.usb.usbfs import Reaped, UsbfsDevice

DEPTH = 6
PACKET_BYTES = 512
PACKETS, MANY_PACKETS = 16, 2048
"""Most URBs are over in a frame of the bus; a few take several, and can be cut off within."""
PATTERN = bytes(i % 63 for i in range(PACKET_BYTES)) * MANY_PACKETS
"""What SourceSink sends, and demands, with ``pattern=1`` (``f_sourcesink.c``)."""

DRAIN_DEADLINE_S = 30.0
PROGRESS_EVERY = 500
FIRST_AIM_S, LEAST_AIM_S, MOST_AIM_S = 0.005, 0.0002, 0.2
LARGE_S = 0.015
"""So long most large URBs take at least on the bus of dummy_hcd (some 50 octets a microsecond)."""

AIM_FACTORS = {"untouched": 1.1, "cut": 1.0, "raced": 0.95, "late": 0.8, "severed": 1.0}
"""How the next wait changes by what the last one brought."""


class WrongError(Exception):
    """An URB came back as it must not."""


@dataclass
class Figures:
    """What happened.

    Attributes:
        submitted: URBs.
        reaped: URBs that came back.
        whole: Came back with all their data, and nobody had wanted them back.
        late: Wanted back, but had been given back to usbfs already.
        raced: Wanted back in time for the client's kernel, but they ran to their end.
        cut: Wanted back, and taken back from the controller with a part of their data moved.
        untouched: Wanted back, and taken back before anything moved.
        severed: Not wanted back, but cut off behind one that was, and failed for it with -EPROTO.
        endpoints: Bulk endpoints.
        seconds: How long all took.
    """

    submitted: int = 0
    reaped: int = 0
    whole: int = 0
    late: int = 0
    raced: int = 0
    cut: int = 0
    untouched: int = 0
    severed: int = 0
    endpoints: int = 0
    seconds: float = 0.0


@dataclass
class Flight:
    """An URB on its way; ``taken`` is what DISCARDURB said: whether it was still pending."""

    queue: Queue
    buffer: bytearray
    taken: bool | None = None
    aimed: bool = False


@dataclass
class Queue:
    """The URBs of one endpoint, oldest first, and how long to wait for the oldest."""

    address: int
    open: list[int] = field(default_factory=list)
    aim_s: float = FIRST_AIM_S


class Client:
    """Submits, takes back, reaps and judges."""

    def __init__(self, node: str, seed: int, window: int, events: Events) -> None:
        self._severs = window > 1
        self._device = UsbfsDevice(node)
        self._random = random.Random(seed)
        self._events = events
        self._flights: dict[int, Flight] = {}
        self._poll = select.poll()
        self._poll.register(self._device, select.POLLOUT)
        self.figures = Figures()
        self._queues = self._claim()
        self.figures.endpoints = len(self._queues)

    def _claim(self) -> list[Queue]:
        layout = descriptors.parse(self._device.descriptors())
        configuration = layout.configurations[0]
        for number in configuration.interface_numbers:
            self._device.claim_interface(number)
        return [
            Queue(endpoint.address)
            for interface in configuration.interfaces
            if interface.alternate == 0
            for endpoint in interface.endpoints
            if endpoint.transfer_type is TransferType.BULK
        ]

    def run(self, unlinks: int) -> None:
        """Take so many URBs back, then let everything come back, then use each endpoint once."""
        done = 0
        while done < unlinks:
            self._reap()
            for queue in self._queues:
                while len(queue.open) < DEPTH:
                    many = self._random.random() < 0.003
                    self._submit(queue, self._random.randint(1, MANY_PACKETS if many else PACKETS))
            for victim in self._choose():
                self._flights[victim].taken = self._device.discard(victim)
                done += 1
                if done % PROGRESS_EVERY == 0:
                    self._events.emit("progress", **asdict(self.figures))
        self._drain()
        for queue in self._queues:
            self._submit(queue, PACKETS)
        self._drain()

    def _choose(self) -> list[int]:
        """Return whom to take back, at about the right moment."""
        chance = self._random
        queue = chance.choice(self._queues)
        if chance.random() < 0.2:  # from anywhere, at once
            return chance.sample(queue.open, chance.randint(1, 4))
        heads = [each.open[0] for each in self._queues]
        # The controller is ahead of what has come back.
        near = [number for each in self._queues for number in each.open[:4]]
        large = [n for n in near if len(self._flights[n].buffer) > PACKETS * PACKET_BYTES]
        first = large[-1] if large else queue.open[0]
        others = [n for n in heads if n != first and chance.random() < 0.5]
        flight = self._flights[first]
        flight.aimed = not large
        wait_s = chance.uniform(0, LARGE_S) if large else flight.queue.aim_s
        time.sleep(wait_s * chance.uniform(0.6, 1.4))
        return [first, *others]

    def _submit(self, queue: Queue, packets: int) -> None:
        data = PATTERN[: packets * PACKET_BYTES]
        is_in = queue.address & DIRECTION_IN
        buffer = bytearray(len(data)) if is_in else bytearray(data)
        number = self.figures.submitted = self.figures.submitted + 1
        self._device.submit(number, TransferType.BULK, queue.address, 0, buffer)
        self._flights[number] = Flight(queue, buffer)
        queue.open.append(number)

    def _drain(self) -> None:
        until_s = time.monotonic() + DRAIN_DEADLINE_S
        self._reap()
        while self._flights:
            rest_s = until_s - time.monotonic()
            if rest_s <= 0 or not self._poll.poll(rest_s * 1000):
                lost = {n: f"{f.queue.address:#x}" for n, f in self._flights.items()}
                raise WrongError(f"never given back: {lost}")
            self._reap()

    def _reap(self) -> None:
        while (reaped := self._device.reap()) is not None:
            flight = self._flights.pop(reaped.urb_id, None)
            if flight is None:
                raise WrongError(f"URB {reaped.urb_id} was given back twice")
            self.figures.reaped += 1
            flight.queue.open.remove(reaped.urb_id)
            self._judge(flight, reaped)

    def _judge(self, flight: Flight, reaped: Reaped) -> None:
        moved, size = reaped.actual_bytes, len(flight.buffer)
        is_whole = moved == size
        what = self._verdict(flight, reaped, is_whole)
        is_in = flight.queue.address & DIRECTION_IN
        if what and is_in and flight.buffer[:moved] != PATTERN[:moved]:
            what = ""
        if not what:
            raise WrongError(
                f"URB {reaped.urb_id} of {size} octets on {flight.queue.address:#x} came back with"
                f" {status_name(reaped.status)} and {moved}; taken back: {flight.taken}"
            )
        if size > PACKETS * PACKET_BYTES and flight.taken is not None:
            self._events.emit("large", what=what, moved=moved, size=size, is_in=bool(is_in))
        setattr(self.figures, what, getattr(self.figures, what) + 1)
        if flight.aimed:
            queue = flight.queue
            queue.aim_s = min(max(queue.aim_s * AIM_FACTORS[what], LEAST_AIM_S), MOST_AIM_S)

    def _verdict(self, flight: Flight, reaped: Reaped, is_whole: bool) -> str:
        if reaped.status == 0 and is_whole:
            return {None: "whole", False: "late", True: "raced"}[flight.taken]
        if flight.taken and reaped.status == -errno.ENOENT:
            if is_whole:
                return "raced"
            if not reaped.actual_bytes:
                return "untouched"
            if reaped.actual_bytes % PACKET_BYTES == 0:
                return "cut"
        if self._severs and not flight.taken and reaped.status == -errno.EPROTO:
            return "severed"
        return ""


def main(node: str, unlinks: str, seed: str, window: str) -> int:
    events = Events(sys.stdout.buffer)
    started_s = time.monotonic()
    try:
        client = Client(node, int(seed), int(window), events)
        client.run(int(unlinks))
    except (WrongError, OSError) as error:
        events.emit("failed", reason=str(error))
        return 1
    client.figures.seconds = round(time.monotonic() - started_s, 1)
    events.emit("done", **asdict(client.figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
