"""A front end's and a back end's core, joined by real frames, between two models.

`Client` is ``vhci_hcd`` with a USB driver on it, `Controller` is the host controller with a device
behind it.  Everything waits in queues until a *move* lets it go on, so a list of numbers
(`SplitPair.walk`) is a schedule of the whole: any interleaving that keeps the order of each link.

What is checked at every move is Linux's promise (kerneldoc of ``usb_unlink_urb``), said in the
client's terms: when an URB has failed or was unlinked, nothing of its endpoint begins to run until
its completion handler has returned and what was unlinked in it has been given back.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from rig.errors import ProtocolError
from rig.splitdriver import backend, frontend
from rig.splitdriver.backend import BackEnd
from rig.splitdriver.frontend import FrontEnd
from rig.splitdriver.messages import Message, Payload, Submit, Unlink
from rig.splitdriver.wire import FrameReader, encode
from rig.usb.setup import SetupPacket
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN, Speed
from rig.usb.usbip import CmdSubmit, CmdUnlink

BULK_OUT, BULK_IN = 0x01, 0x81
SET_CONFIGURATION = SetupPacket(0x00, 0x09, 1, 0, 0).pack()
GET_DESCRIPTOR_64 = SetupPacket(0x80, 0x06, 0x0100, 0, 64).pack()
CLEAR_HALT = SetupPacket(0x02, 0x01, 0, BULK_IN, 0).pack()
BUFFER_BYTES = 24
SETTLE_ROUNDS = 1000
BUSY_URBS = 6
"""With so many open the client of a walk submits no more."""


class InvariantBrokenError(AssertionError):
    """The split driver did what it must never do."""


def require(condition: bool, complaint: str) -> None:
    """Raise `InvariantBrokenError` unless the condition holds."""
    if not condition:
        raise InvariantBrokenError(complaint)


def queue_of(address: int) -> int:
    """Both directions of ep0 are one queue."""
    return address if address & ~DIRECTION_IN else CONTROL_ENDPOINT


def data_of(seqnum: int, count: int = BUFFER_BYTES) -> bytes:
    """What the URB of that number moves; no two have the same."""
    return (seqnum.to_bytes(4, "big") * (count // 4 + 1))[:count]


@dataclass(slots=True)
class Urb:
    """What the client knows of an URB that it has submitted."""

    command: CmdSubmit
    unlinked: bool = False

    @property
    def queue(self) -> int:
        """Which endpoint's queue it stands in."""
        return queue_of(self.command.endpoint_address)


@dataclass(slots=True)
class Client:
    """``vhci_hcd`` and the driver on it: one socket, two send queues, one sequential reader."""

    seqnum: int = 0
    plugged: bool = False
    open: dict[int, Urb] = field(default_factory=dict)
    submits: deque[tuple[CmdSubmit, bytes]] = field(default_factory=deque)
    unlinks: deque[CmdUnlink] = field(default_factory=deque)
    pdus: deque[frontend.GiveBack | frontend.AnswerUnlink | frontend.Fence] = field(
        default_factory=deque
    )
    fences: deque[frontend.Fence] = field(default_factory=deque)
    unanswered: dict[int, int] = field(default_factory=dict)  # unlink's seqnum -> target
    given_back: dict[int, int] = field(default_factory=dict)  # seqnum -> status
    unlinked_in: dict[int, set[int]] = field(default_factory=dict)  # by the handler of that URB

    def submit(self, address: int, setup: bytes = bytes(8), length: int = BUFFER_BYTES) -> int:
        """Queue an URB; it reaches the front end later."""
        self.seqnum += 1
        command = CmdSubmit(self.seqnum, 0, address, 0, length, 0, 0, setup)
        self.open[self.seqnum] = Urb(command)
        self.submits.append((command, data_of(self.seqnum, command.payload_bytes)))
        return self.seqnum

    def unlink(self, target: int) -> None:
        """Ask for an URB back; a second time the kernel refuses by itself."""
        urb = self.open[target]
        if urb.unlinked:
            return
        urb.unlinked = True
        self.seqnum += 1
        self.unanswered[self.seqnum] = target
        self.unlinks.append(CmdUnlink(self.seqnum, 0, target))

    def read(self, *, unlinks_rest: bool) -> None:
        """Read one PDU; a failed URB's handler unlinks the rest of its endpoint, or does not."""
        pdu = self.pdus.popleft()
        match pdu:
            case frontend.GiveBack():
                self._complete(pdu, unlinks_rest)
            case frontend.AnswerUnlink(seqnum):
                target = self.unanswered.pop(seqnum, None)
                require(target is not None, f"unlink {seqnum} was answered twice")
                require(target not in self.open, f"unlink {seqnum} was answered before its URB")
            case frontend.Fence():
                self.fences.append(pdu)

    def _complete(self, pdu: frontend.GiveBack, unlinks_rest: bool) -> None:
        urb = self.open.pop(pdu.seqnum, None)
        if urb is None:
            raise InvariantBrokenError(f"URB {pdu.seqnum} was given back, but is not open")
        if urb.command.endpoint_address & DIRECTION_IN:
            expected = data_of(pdu.seqnum, pdu.actual_bytes)
            require(bytes(pdu.data) == expected, f"URB {pdu.seqnum} came back with foreign data")
        # As usb_hcd_giveback_urb does, an unlink's status wins.
        status = -errno.ECONNRESET if urb.unlinked else pdu.status
        self.given_back[pdu.seqnum] = status
        rest = {n for n, other in self.open.items() if other.queue == urb.queue}
        self.unlinked_in[pdu.seqnum] = rest if unlinks_rest and status else set()
        for seqnum in sorted(self.unlinked_in[pdu.seqnum], reverse=True):
            self.unlink(seqnum)

    def is_done_with(self, seqnum: int) -> bool:
        """Whether the handler has returned and all that it unlinked has been given back."""
        return seqnum in self.given_back and not any(
            n in self.open for n in self.unlinked_in[seqnum]
        )

    def lose_device(self) -> None:
        """The port is detached: the kernel gives back what is open, and the socket is gone."""
        for seqnum in self.open:
            self.given_back[seqnum] = -errno.ESHUTDOWN
            self.unlinked_in[seqnum] = set()
        for queue in (self.open, self.submits, self.unlinks, self.pdus, self.fences):
            queue.clear()
        self.unanswered.clear()
        self.plugged = False


@dataclass(slots=True)
class Controller:
    """The host controller, and the device behind it."""

    window: int
    running: dict[int, Submit] = field(default_factory=dict)
    discarded: set[int] = field(default_factory=set)
    resets_open: int = 0
    resets: int = 0
    ran: list[int] = field(default_factory=list)
    latest: dict[int, int] = field(default_factory=dict)  # queue -> the last URB that began to run
    stoppers: dict[int, set[int]] = field(default_factory=dict)  # queue -> failed or unlinked

    def start(self, urb: Submit, client: Client) -> None:
        """Take an URB, and judge whether it may run now."""
        queue = queue_of(urb.endpoint_address)
        beside = [n for n, u in self.running.items() if queue_of(u.endpoint_address) == queue]
        require(len(beside) < self.window, f"URB {urb.urb_id} is beyond the window")
        latest = self.latest.get(queue, 0)
        require(latest < urb.urb_id, f"URB {urb.urb_id} runs behind {latest}")
        for stopper in self.stoppers.get(queue, ()):
            require(
                client.is_done_with(stopper),
                f"URB {urb.urb_id} runs while the client is not done with {stopper}",
            )
        if not urb.endpoint_address & DIRECTION_IN:
            expected = data_of(urb.urb_id, urb.buffer_bytes)
            require(bytes(urb.data) == expected, f"URB {urb.urb_id} carries foreign data")
        self.stoppers[queue] = set()
        self.latest[queue] = urb.urb_id
        self.ran.append(urb.urb_id)
        self.running[urb.urb_id] = urb

    def stop(self, address: int, seqnum: int) -> None:
        """Take note that an URB has failed or was unlinked: its queue must stand still."""
        self.stoppers.setdefault(queue_of(address), set()).add(seqnum)

    def lose_device(self) -> None:
        """Whatever was plugged in is gone."""
        self.running.clear()
        self.discarded.clear()
        self.stoppers.clear()
        self.resets_open = 0


class Stream:
    """One direction of the link: octets in order, delivered in pieces of any size."""

    def __init__(self, receive: Callable[[Message], None]) -> None:
        self._receive = receive
        self._reader = FrameReader()
        self._octets = bytearray()

    def __len__(self) -> int:
        return len(self._octets)

    def put(self, message: Message) -> None:
        """Send."""
        head, data = encode(message)
        self._octets += head
        self._octets += data

    def deliver(self, limit: int) -> None:
        """Let at most `limit` octets arrive."""
        piece = self._octets[:limit]
        del self._octets[:limit]
        while piece:
            space = self._reader.space()
            count = min(len(space), len(piece))
            space[:count] = piece[:count]
            del piece[:count]
            try:
                for message in self._reader.received(count):
                    self._receive(message)
            except ProtocolError as error:
                raise InvariantBrokenError(f"one end refuses the other: {error}") from error


Move = Callable[[], None]


class SplitPair:
    """Both cores, their link, their surroundings.

    Args:
        window: Of the back end.
        whole_fence: Whether what the kernel has queued is known when a fence passes; false is
            what the driver can see without the barrier on a hidden device.
    """

    def __init__(self, window: int = 1, *, whole_fence: bool = True) -> None:
        self.front = FrontEnd()
        self.back = BackEnd(window)
        self.client = Client()
        self.controller = Controller(window)
        self.speed = Speed.HIGH
        self._whole_fence = whole_fence
        self.to_front = Stream(self._front_receives)
        self.to_back = Stream(self._back_receives)
        self.linked = False
        self.relink()

    # Moves.  Each is one thing that can happen next.

    def submit(self, address: int, setup: bytes = bytes(8), length: int = BUFFER_BYTES) -> int:
        """The driver submits an URB."""
        return self.client.submit(address, setup, length)

    def unlink(self, seqnum: int) -> None:
        """The driver unlinks an URB."""
        self.client.unlink(seqnum)

    def send_submit(self) -> None:
        """``vhci_tx`` sends its next CMD_SUBMIT."""
        self.front.submit(*self.client.submits.popleft())
        self._front_acts()

    def send_unlink(self) -> None:
        """``vhci_tx`` sends its next CMD_UNLINK."""
        self.front.unlink(self.client.unlinks.popleft())
        self._front_acts()

    def send_all(self) -> None:
        """``vhci_tx`` sends all it has, in its own order."""
        while self.client.submits:
            self.send_submit()
        while self.client.unlinks:
            self.send_unlink()

    def read(self, *, unlinks_rest: bool = False) -> None:
        """``vhci_rx`` reads its next PDU."""
        self.client.read(unlinks_rest=unlinks_rest)

    def pass_fence(self) -> None:
        """The front end learns that the kernel has read on."""
        if self._whole_fence:
            self.send_all()
        # What was sent may have unplugged the device.
        if self.client.fences:
            fence = self.client.fences.popleft()
            self.front.fence_passed(fence.endpoint_key, fence.token)
            self._front_acts()

    def deliver_to_front(self, limit: int = 1 << 20) -> None:
        """Octets arrive at the front end."""
        self.to_front.deliver(limit)

    def deliver_to_back(self, limit: int = 1 << 20) -> None:
        """Octets arrive at the back end."""
        self.to_back.deliver(limit)

    def end(self, urb_id: int, status: int = 0, actual_bytes: int | None = None) -> None:
        """The controller is done with an URB; one that it was told to discard may still succeed."""
        urb = self.controller.running.pop(urb_id)
        self.controller.discarded.discard(urb_id)
        moved = urb.buffer_bytes if actual_bytes is None else actual_bytes
        if status:
            self.controller.stop(urb.endpoint_address, urb_id)
        data: Payload = b""
        if urb.endpoint_address & DIRECTION_IN:
            data = data_of(urb_id, moved)
        self.back.completed(urb_id, status, moved, data)
        self._back_acts()

    def end_reset(self, status: int = 0) -> None:
        """The port reset is done."""
        self.controller.resets_open -= 1
        self.back.reset_done(status)
        self._back_acts()

    def plug(self) -> None:
        """A device is plugged into the mapped port."""
        self.back.plugged(self.speed)
        self._back_acts()

    def unplug(self) -> None:
        """The device is pulled out."""
        self.controller.lose_device()
        self.back.unplugged()
        self._back_acts()

    def lose_link(self) -> None:
        """The link breaks: nothing more arrives, each end learns of it."""
        self.linked = False
        running = self.back.link_lost()
        require(
            set(running) == set(self.controller.running),
            f"{running} are to be discarded, {list(self.controller.running)} are running",
        )
        self.controller.lose_device()
        self.to_front = Stream(self._front_receives)
        self.to_back = Stream(self._back_receives)
        self.front.link_lost()
        self._front_acts()

    def relink(self) -> None:
        """The front end comes back."""
        self.linked = True
        self.back.linked()
        self._back_acts()

    # Schedules.

    def walk(self, schedule: Sequence[int]) -> None:
        """Make one move for each number, which chooses among what can happen then."""
        for number in schedule:
            moves = self.moves()
            moves[number % len(moves)]()

    def moves(self) -> list[Move]:
        """Return what can happen next; what happens often in life stands there more than once."""
        moves: list[Move] = [*self._link_moves()]
        client = self.client
        if client.plugged:
            if len(client.open) < BUSY_URBS:
                addresses = (BULK_OUT, BULK_OUT, BULK_OUT, BULK_IN, 0, DIRECTION_IN)
                moves += [partial(self._submit, address) for address in addresses]
            candidates = [n for n, urb in client.open.items() if not urb.unlinked]
            if candidates and client.seqnum % 2:  # or the client unlinks all that it submits
                moves.append(partial(self.unlink, candidates[client.seqnum % len(candidates)]))
            if client.submits:
                moves += [self.send_submit] * 6
            if client.unlinks:
                moves += [self.send_unlink] * 6
            if client.pdus:
                moves += [self.read] * 7 + [partial(self.read, unlinks_rest=True)]
            if client.fences:
                moves += [self.pass_fence] * 6
        for urb_id in self.controller.running:
            moves += [partial(self.end, urb_id)] * 2
            moves.append(partial(self.end, urb_id, -errno.EPROTO, 0))
            if urb_id in self.controller.discarded:
                moves += [partial(self.end, urb_id, -errno.ENOENT, 0)] * 2
        if self.controller.resets_open:
            moves.append(self.end_reset)
        return moves

    def _link_moves(self) -> list[Move]:
        if not self.linked:
            return [self.relink, self.unplug if self.back.device is not None else self.plug]
        moves: list[Move] = []
        for stream in (self.to_front, self.to_back):
            if stream:
                moves += [partial(stream.deliver, 1 << 20)] * 6
                moves += [partial(stream.deliver, n) for n in (1, 30)]
        if self.back.device is None:
            moves += [self.plug] * 3
        # Rare, or nothing else would ever get far.
        elif len(self.client.given_back) % 16 == 15:
            moves += [self.unplug, self.lose_link]
        return moves

    def _submit(self, address: int) -> None:
        setup = bytes(8)
        length = BUFFER_BYTES
        if queue_of(address) == CONTROL_ENDPOINT:
            choices = {
                0x00: (SET_CONFIGURATION, CLEAR_HALT),
                DIRECTION_IN: (GET_DESCRIPTOR_64,),
            }[address]
            setup = choices[self.client.seqnum % len(choices)]
            length = 18 if address else 0
        self.submit(address, setup, length)

    def settle(self) -> None:
        """Let everything go on without faults until nothing is left to happen.

        Raises:
            InvariantBrokenError: It never ends.
        """
        for _ in range(SETTLE_ROUNDS):
            if not self._settle_once():
                return
        raise InvariantBrokenError("there is no end to it")

    def _settle_once(self) -> bool:
        client, controller = self.client, self.controller
        if client.submits or client.unlinks:
            self.send_all()
        elif self.to_back:
            self.deliver_to_back()
        elif controller.running:
            self.end(next(iter(controller.running)))
        elif controller.resets_open:
            self.end_reset()
        elif self.to_front:
            self.deliver_to_front()
        elif client.pdus:
            self.read()
        elif client.fences:
            self.pass_fence()
        else:
            return False
        return True

    def check_quiescence(self) -> None:
        """Nothing is open anywhere, and every endpoint still works.

        Raises:
            InvariantBrokenError: Something is stuck.
        """
        self.settle()
        self._check_nothing_open()
        if self.client.plugged:
            probes = [self.submit(a) for a in (BULK_OUT, BULK_IN)]
            probes.append(self.submit(DIRECTION_IN, bytes(8), 18))
            self.settle()
            for probe in probes:
                require(self.client.given_back.get(probe) == 0, f"probe {probe} is stuck")
            self._check_nothing_open()

    def _check_nothing_open(self) -> None:
        client = self.client
        require(not client.open, f"the client still waits for URBs {list(client.open)}")
        require(not client.unanswered, f"unlinks {list(client.unanswered)} were not answered")
        require(not self.front._urbs, f"the front end still has {list(self.front._urbs)}")
        queued = (dict(self.back._where), self.back._queued_bytes, self.back._unlinked)
        require(queued == ({}, 0, set()), f"the back end still has {queued}")

    # What the cores want.

    def _front_receives(self, message: Message) -> None:
        self.front.receive(message)
        self._front_acts()

    def _back_receives(self, message: Message) -> None:
        if isinstance(message, Unlink) and message.device == self.back.device:
            self._note_unlink(message)
        self.back.receive(message)
        self._back_acts()

    def _note_unlink(self, message: Unlink) -> None:
        """An unlink that finds its URB open in the back end stops the queue."""
        urb = self.client.open.get(message.urb_id)
        if urb is not None and message.urb_id in self.back._where and not message.local:
            self.controller.stop(urb.command.endpoint_address, message.urb_id)

    def _front_acts(self) -> None:
        for action in self.front.take_actions():
            match action:
                case frontend.Send(message):
                    if self.linked:
                        self.to_back.put(message)
                case frontend.Plug():
                    require(not self.client.plugged, "a device was attached to a port in use")
                    self.client.plugged = True
                case frontend.Unplug():
                    self.client.lose_device()
                case _:
                    self.client.pdus.append(action)

    def _back_acts(self) -> None:
        for action in self.back.take_actions():
            match action:
                case backend.Send(message):
                    if self.linked:
                        self.to_front.put(message)
                case backend.Start(urb) | backend.Perform(urb, _):
                    self.controller.start(urb, self.client)
                case backend.Discard(urb_id):
                    require(urb_id in self.controller.running, f"URB {urb_id} is not running")
                    self.controller.discarded.add(urb_id)
                case backend.ResetPort():
                    self.controller.resets_open += 1
                    self.controller.resets += 1
