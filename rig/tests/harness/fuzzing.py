"""Both ends of a link against a peer that says anything: what may happen, and what must not.

An input is one conversation.  It begins as a good peer's, who answers what the end under test says;
some of its frames are damaged on the way, some are out of turn.  Meanwhile the machine of the end
under test goes on: URBs end, devices leave, clients unlink.  Whatever comes over the link, the end

* raises nothing but a `RemoteProtocolError`, which ends the link;
* answers every URB and every unlink exactly once;
* keeps no more than its limits allow;
* serves the next, honest peer as if nothing had been.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable
from random import Random

from rig.errors import RemoteProtocolError
from rig.splitdriver import backend, frontend
from rig.splitdriver.back_queues import MAX_QUEUED_BYTES, MAX_QUEUED_URBS
from rig.splitdriver.backend import BackEnd
from rig.splitdriver.endpoint import RESET_NUMBER
from rig.splitdriver.frontend import FrontEnd
from rig.splitdriver.messages import (
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Hello,
    Message,
    Ping,
    Pong,
    Refused,
    Reset,
    ResetDone,
    Resume,
    Role,
    Submit,
    ToPort,
    Unlink,
    port_of,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.session import Session
from rig.splitdriver.wire import HEADER, MAX_FRAME_BYTES, FrameReader
from rig.tests.harness.frames import octets_of
from rig.tests.harness.mutations import mutate, pieces
from rig.usb.setup import SetupPacket
from rig.usb.urb import DIRECTION_IN, Speed, TransferType
from rig.usb.usbip import CmdSubmit, CmdUnlink

STEPS = 16
"""Frames of a conversation, at most."""
DAMAGED = 0.1
"""The share of frames that do not arrive as they were sent."""

_ADDRESSES = (0x00, 0x80, 0x01, 0x81, 0x82)
_KINDS = {0x01: TransferType.BULK, 0x81: TransferType.BULK, 0x82: TransferType.INTERRUPT}
_STATUSES = (0, 0, 0, -errno.EPROTO, -errno.EPIPE, -errno.ENOENT, -errno.ECONNRESET)
_SETUPS = tuple(
    SetupPacket(*fields).pack()
    for fields in (
        (0x80, 0x06, 0x0100, 0, 64),
        (0x00, 0x09, 1, 0, 0),
        (0x01, 0x0B, 0, 0, 0),
        (0x02, 0x01, 0, 0x81, 0),
        (0, 0, 0, 0, 0),
    )
)
_MAX_SPACE_BYTES = HEADER.size + MAX_FRAME_BYTES
_DATA = bytes(64)
_STRIDES = (1,) * 12 + (2, 0, -1)  # from one number of an URB to the next; they must grow


class End:
    """What both ends have in common: a link, from its first octet to its end.

    Args:
        rng: Chance.
        role: Of the end under test.
        seen: Counts what was met, by name.
    """

    def __init__(self, rng: Random, role: Role, seen: Counter[str]) -> None:
        self.rng = rng
        self.seen = seen
        self.policy = rng.choice(list(Policy))
        self._role = role
        self._greet()

    def _greet(self) -> None:
        self._reader = FrameReader()
        self._session = Session(self._role, self.policy, "fuzz", 0.0)
        self._greeted = False

    def converse(self) -> None:
        """Let one or two bad peers talk until their link ends, and then a good one."""
        for _ in range(self.rng.choice((1, 1, 2))):
            try:
                for _ in range(self.rng.randrange(1, STEPS)):
                    self.hear(self._frame())
                    self.act()
                    self.go_on()
                    self.act()
            except RemoteProtocolError as error:
                self.seen["refused"] += 1
                self.seen[_sentence(error)] += 1
            self.lose_link()
            self._greet()
        self.serve_honestly()

    def hear(self, octets: bytes) -> None:
        """Take octets as the service does."""
        for piece in pieces(self.rng, octets):
            rest = memoryview(piece)
            while rest:
                space = self._reader.space()
                assert 0 < len(space) <= _MAX_SPACE_BYTES, f"{len(space)} octets of buffer"
                count = min(len(space), len(rest))
                space[:count] = rest[:count]
                rest = rest[count:]
                for message in self._reader.received(count):
                    self._take(message)

    def hear_messages(self, *messages: Message) -> None:
        """Take what a good peer says."""
        self.hear(octets_of(messages))
        self.act()

    def _take(self, message: Message) -> None:
        answer, meaning = self._session.receive(message, 0.0)
        assert answer is None or isinstance(answer, Pong)
        if self._session.established and not self._greeted:
            self._greeted = True
            self.greeted()
        if meaning is not None:
            if not isinstance(meaning, ToPort):
                raise RemoteProtocolError("It speaks of no port.")
            if port_of(meaning.device) > 0:
                raise RemoteProtocolError("There is no such port.")
            self.seen[type(meaning).__name__] += 1
            self.receive(meaning)

    def _frame(self) -> bytes:
        message = self.peer_says() if self._greeted or self.rng.random() < 0.03 else self.greeting()
        frame = octets_of([message])
        return mutate(self.rng, frame) if self.rng.random() < DAMAGED else frame

    def greeting(self) -> Message:
        """What a good peer says first."""
        role = Role.BACK if self._role is Role.FRONT else Role.FRONT
        return Hello(role, self.policy, "peer")

    # What differs.

    def greeted(self) -> None:
        """The peer has greeted."""

    def peer_says(self) -> Message:
        """Something that the peer may say now, or nearly."""
        raise NotImplementedError

    def receive(self, message: Message) -> None:
        """Pass a message to the core."""
        raise NotImplementedError

    def act(self) -> None:
        """Carry out what the core wants, and check it."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Let something happen on this machine."""
        raise NotImplementedError

    def lose_link(self) -> None:
        """The link has ended."""
        raise NotImplementedError

    def serve_honestly(self) -> None:
        """A good peer comes, and must be served."""
        raise NotImplementedError


class BackUnderTest(End):
    """A back end, its controller, and a front end that says anything."""

    def __init__(self, rng: Random, seen: Counter[str]) -> None:
        super().__init__(rng, Role.BACK, seen)
        self.core = BackEnd(self.policy, window=rng.choice((1, 1, 3)))
        self.core.configured(_KINDS)
        self.open: dict[int, int] = {}  # submitted, by number: octets
        self.running: list[int] = []  # in the controller, or `RESET_NUMBER`
        self.epochs: dict[int, int] = {}  # told, by endpoint
        self.addresses: dict[int, int] = {}
        self.number = 0
        self.device = 0  # that the peer speaks of
        self.told: int | None = None  # and that it may
        self.farewell_due = False
        self.said: list[Message] = []
        self.core.plugged(Speed.HIGH)

    def greeted(self) -> None:
        self.core.linked()

    def peer_says(self) -> Message:
        rng = self.rng
        choice = rng.random()
        if self.farewell_due and choice < 0.8:
            self.farewell_due = False
            return Disconnected(self.device)
        if choice < 0.45:
            return self._submit()
        if choice < 0.6:
            return Unlink(self.device, self._some_urb(), local=rng.random() < 0.2)
        if choice < 0.8 and (self.policy is Policy.HOLD or choice < 0.61):
            address = rng.choice(_ADDRESSES)
            epoch = self.epochs.get(address & 0x7F and address, 0)
            return Resume(self.device, address, epoch + (rng.random() < 0.05))
        others: tuple[Message, ...] = (
            Reset(self.device),
            Disconnected(self.device),
            Ping(rng.randrange(9)),
            Refused("enough"),
            Complete(self.device, self._some_urb(), 0, 0),
            self.greeting(),
        )
        return rng.choices(others, (16, 1, 16, 1, 1, 1))[0]

    def _submit(self) -> Submit:
        rng = self.rng
        self.number += rng.choice(_STRIDES) if self.number else 1
        address = rng.choice(_ADDRESSES)
        length = rng.choice((0, 4, 64))
        if address & DIRECTION_IN and rng.random() < 0.1:
            length = 4 << 20
        data = b"" if address & DIRECTION_IN else _DATA[:length]
        clear = self.policy is Policy.ACA and rng.random() < 0.3
        setup = rng.choice(_SETUPS)
        self.addresses[self.number] = address & 0x7F and address
        return Submit(self.device, self.number, address, 0, length, setup, data, clear)

    def _some_urb(self) -> int:
        return self.rng.choice([*self.open, self.number]) if self.open else self.number

    def receive(self, message: Message) -> None:
        if isinstance(message, Submit) and message.device == self.told:
            self.open.setdefault(message.urb_id, message.buffer_bytes)
        if isinstance(message, Disconnected) and message.device == self.told:
            self.told = None  # it lets go of the device, and is told of it anew
            self.open.clear()
        self.core.receive(message)
        if isinstance(message, Unlink) and message.local and message.device == self.told:
            self.open.pop(message.urb_id, None)
        self.act()

    def act(self) -> None:
        for action in self.core.take_actions():
            match action:
                case backend.Send(message):
                    self._sent(message)
                case backend.Start(urb) | backend.Perform(urb):
                    assert urb.urb_id not in self.running, f"URB {urb.urb_id} was started twice"
                    self.running.append(urb.urb_id)
                case backend.Discard(urb_id):
                    assert urb_id in self.running, f"URB {urb_id} was discarded, but does not run"
                case backend.ResetPort():
                    self.running.append(RESET_NUMBER)
        assert len(self.open) <= MAX_QUEUED_URBS
        assert sum(self.open.values()) <= MAX_QUEUED_BYTES

    def _sent(self, message: Message) -> None:
        self.said.append(message)
        octets_of([message])
        match message:
            case Connect(device):
                self.device = self.told = device
                self.epochs.clear()
            case Disconnect():
                self.told = None
                self.farewell_due = True
                self.open.clear()
            case Complete(_, urb_id, _, _, epoch):
                assert urb_id in self.open, f"URB {urb_id} was completed twice, or never submitted"
                del self.open[urb_id]
                self.epochs[self.addresses.get(urb_id, 0)] = epoch

    def go_on(self) -> None:
        rng = self.rng
        if self.running and rng.random() < 0.5:
            self._end(self.running[rng.randrange(len(self.running))], rng.choice(_STATUSES))
        if rng.random() < 0.03:
            self._replug()

    def _end(self, number: int, status: int) -> None:
        self.running.remove(number)
        if number == RESET_NUMBER:
            self.core.reset_done(status)
        else:
            self.core.completed(number, status, 0)

    def _replug(self) -> None:
        self.core.unplugged()
        self.running.clear()
        self.core.plugged(Speed.HIGH)

    def lose_link(self) -> None:
        self.core.link_lost()
        self.told = None
        self.farewell_due = False
        self.open.clear()
        self.act()

    def serve_honestly(self) -> None:
        self.said.clear()
        self.hear_messages(self.greeting())
        assert bool(self.said) == (not self.running), "CONNECT before the last orphan has ended"
        while self.running:
            assert self.said == []
            self._end(self.running[0], 0)
            self.act()
        (connect,) = self.said
        assert isinstance(connect, Connect)
        urb = Submit(connect.device, 1, 0x81, 0, 4, bytes(8))
        self.hear_messages(urb)
        assert self.running == [1]
        self._end(1, 0)
        self.act()
        assert self.said[1:] == [Complete(connect.device, 1, 0, 0)]
        assert self.open == {}


class FrontUnderTest(End):
    """A front end, its kernel, and a back end that says anything."""

    def __init__(self, rng: Random, seen: Counter[str]) -> None:
        super().__init__(rng, Role.FRONT, seen)
        self.core = FrontEnd(self.policy)
        self.open: dict[int, CmdSubmit] = {}
        self.unlinks: dict[int, int] = {}  # the kernel's requests that are not answered
        self.told: list[Submit] = []  # to the back end, and not completed by a good one
        self.number = 0
        self.plugged = self.fencing = False
        self.device = 0
        self.epoch = 0

    def peer_says(self) -> Message:
        rng = self.rng
        if not self.device:
            self.device = 1
            return Connect(1, rng.choice((Speed.HIGH, Speed.SUPER)))
        choice = rng.random()
        if choice < 0.65 and self.told:
            return self._complete()
        others: tuple[Message, ...] = (
            Ping(rng.randrange(9)),
            ResetDone(self.device, rng.choice(_STATUSES)),
            Disconnect(self.device),
            Connect(self.device + 1, Speed.HIGH),
            Complete(self.device, self.number, 0, 0),
            Refused("enough"),
            Submit(self.device, 1, 0x81, 0, 4, bytes(8)),
            self.greeting(),
        )
        message = rng.choices(others, (16, 8, 8, 2, 2, 1, 1, 1))[0]
        if isinstance(message, Disconnect):
            self.device = 0
        return message

    def _complete(self) -> Complete:
        rng = self.rng
        urb = self.told.pop(rng.randrange(len(self.told)))
        status = rng.choice(_STATUSES)
        if status and self.policy is not Policy.NAIVE:
            self.epoch += 1
        actual = rng.choice((0, urb.buffer_bytes))
        data = bytes(actual) if urb.endpoint_address & DIRECTION_IN else b""
        quiet = self.policy is Policy.HOLD and rng.random() < 0.5
        return Complete(urb.device, urb.urb_id, status, actual, self.epoch, quiet, data)

    def receive(self, message: Message) -> None:
        self.core.receive(message)

    def act(self) -> None:
        for action in self.core.take_actions():
            match action:
                case frontend.Send(message):
                    octets_of([message])
                    if isinstance(message, Submit):
                        self.told.append(message)
                case frontend.GiveBack(seqnum, _, actual_bytes, data):
                    self._given_back(seqnum, actual_bytes, len(data))
                case frontend.AnswerUnlink(seqnum):
                    target = self.unlinks.pop(seqnum)
                    assert target not in self.open, f"the unlink of URB {target} overtook it"
                case frontend.Fence():
                    assert not self.fencing, "two rounds at a time"
                    self.fencing = True
                case frontend.Plug():
                    assert not self.plugged
                    self.plugged = True
                case frontend.Unplug():
                    assert self.plugged
                    self._unplugged()

    def _given_back(self, seqnum: int, actual_bytes: int, data_bytes: int) -> None:
        assert seqnum in self.open, f"URB {seqnum} was given back twice"
        command = self.open.pop(seqnum)
        is_in = command.endpoint_address & DIRECTION_IN
        assert actual_bytes <= command.buffer_bytes, "the kernel's buffer is smaller"
        assert data_bytes == (actual_bytes if is_in else 0)

    def _unplugged(self) -> None:
        self.plugged = self.fencing = False
        self.open.clear()
        self.unlinks.clear()
        self.told.clear()
        self.epoch = 0

    def go_on(self) -> None:
        rng = self.rng
        if self.fencing and rng.random() < 0.5:
            self.fencing = False
            self.core.fence_passed()
        if self.plugged:
            for _ in range(rng.randrange(3)):
                self._submit()
            # The kernel unlinks no URB twice.
            targets = [urb for urb in self.open if urb not in self.unlinks.values()]
            if targets and rng.random() < 0.3:
                self._unlink(rng.choice(targets))
            if rng.random() < 0.03:
                assert self.core.let_go()
                self.device = rng.choice((self.device, 0))  # the peer has heard of it, or has not

    def _submit(self) -> None:
        rng = self.rng
        self.number += 1
        address = rng.choice(_ADDRESSES)
        packets = int(rng.random() < 0.03)
        length = rng.choice((0, 4, 64))
        command = CmdSubmit(self.number, 1, address, 0, length, packets, 0, rng.choice(_SETUPS))
        self.open[self.number] = command
        self.core.submit(command, b"" if address & DIRECTION_IN else _DATA[:length])

    def _unlink(self, target: int) -> None:
        self.number += 1
        self.unlinks[self.number] = target
        self.core.unlink(CmdUnlink(self.number, 1, target))

    def lose_link(self) -> None:
        self.core.link_lost()
        self.act()
        assert not self.plugged
        assert (self.open, self.unlinks) == ({}, {})

    def serve_honestly(self) -> None:
        self.hear_messages(self.greeting(), Connect(9, Speed.HIGH))
        assert self.plugged
        self.number += 1
        command = CmdSubmit(self.number, 1, 0x81, 0, 4, 0, 0, bytes(8))
        self.open[self.number] = command
        self.core.submit(command)
        self.act()
        assert [urb.urb_id for urb in self.told] == [self.number]
        self.hear_messages(Complete(9, self.number, 0, 4, data=bytes(4)))
        assert self.open == {}


ENDS = (BackUnderTest, FrontUnderTest)


def run_one(rng: Random, seen: Counter[str]) -> None:
    """Try one input on each end.

    Raises:
        AssertionError: An end did what it must not.
        Exception: An end raised it; only a `RemoteProtocolError` may end a link.
    """
    for end in ENDS:
        end(rng, seen).converse()


def sentences(seen: Counter[str]) -> Iterable[str]:
    """The complaints among what was met, without numbers."""
    return (name for name in seen if " " in name)


def _sentence(error: RemoteProtocolError) -> str:
    return "".join("N" if letter.isdigit() else letter for letter in error.message)[:60]
