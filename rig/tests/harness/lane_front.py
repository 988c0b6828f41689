"""The front end's daemon between a kernel and a back end, with its lane or without.

The kernel is the model of ``vhci_hcd``; the back end is the real core, its controller the test.
"""

from __future__ import annotations

import errno
import io
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from rig.daemon import Events
from rig.errors import RemoteProtocolError
from rig.splitdriver.backend import Action, BackEnd, Discard, Perform, ResetPort, Send, Start
from rig.splitdriver.front import lane
from rig.splitdriver.front.service import FrontService
from rig.splitdriver.lane import FrontLent, LinkLent
from rig.splitdriver.lane._lane import front as forward
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    Capability,
    Complete,
    Connect,
    Disconnect,
    Hello,
    Message,
    Ping,
    Pong,
    Refused,
    Role,
    Submit,
    ToPort,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.transport.meeting import Reached
from rig.splitdriver.wire import FrameReader
from rig.tests.harness import lane_compared
from rig.tests.harness.fake_vhci import ENUMERATION, FakeVhci, KernelPort
from rig.tests.harness.frames import feed, octets_of, without_heartbeat
from rig.tests.harness.mutations import mutate
from rig.tests.harness.stepped import SteppedReactor
from rig.tests.harness.wires import WIRES
from rig.usb.setup import SetupPacket
from rig.usb.urb import DIRECTION_IN, Speed, TransferType
from rig.usb.usbip import HEADER_BYTES, CmdSubmit, CmdUnlink, CommandCode

OUT, IN, INTERRUPT = 0x01, 0x81, 0x82
KINDS = {OUT: TransferType.BULK, IN: TransferType.BULK, INTERRUPT: TransferType.INTERRUPT}
DESCRIPTOR = SetupPacket(0x80, 0x06, 0x0100, 0, 18)
DEVICE = 1
WAIT_S = 0.0005
LARGE = 1 << 20
_RET = struct.Struct(">5Iii20x")


class Line:
    """Brings the service the one back end that there is."""

    def __init__(self, reached: Reached) -> None:
        self.reached = reached
        self.lost_for: list[str] = []

    def call(self) -> None:
        """The test does."""

    def lost(self, reason: str, *, served: bool) -> None:
        self.lost_for.append(reason)

    def close(self) -> None:
        """Nothing is open."""


class World:
    """A daemon between a kernel and a back end; its lane counts its waits.

    Args:
        patch: Puts the kernel's model in its place.
        locks: Where front ends lock halves.
        use_lane: Of the daemon.
        room: Octets that the daemon's sockets take at a time, about.
        piece: The back end sends so many octets at a time.
        wire: Of `WIRES`.
        capabilities: The back end's.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        locks: Path,
        *,
        use_lane: bool,
        room: int = LARGE,
        piece: int = LARGE,
        wire: str = "socket",
        capabilities: Capability = ALL_CAPABILITIES,
    ) -> None:
        self.vhci = FakeVhci(patch, locks)
        self.reactor = SteppedReactor()
        self.waits = 0
        self.forwarded = 0
        patch.setattr(lane, "front", self._forward)
        self.service = FrontService(
            Line,
            Policy.HOLD,
            ALL_CAPABILITIES,
            use_lane=use_lane,
            events=Events(io.BytesIO()),
            reactor=self.reactor,
        )
        self.hidden = self.vhci.enumerate_hidden()
        self.piece = piece
        self.capabilities = capabilities
        self.connect(room, wire)

    def connect(self, room: int = LARGE, wire: str = "socket") -> None:
        """Be reached as a back end, and plug the device in.

        Args:
            room: Octets that the daemon's sockets take at a time, about.
            wire: Of `WIRES`.
        """
        self.core = BackEnd()
        self.lies = False
        self.running: list[Submit] = []
        self.said = b""  # by the daemon, to the back end
        self.answered = b""  # by the daemon, to the kernel
        self.back, theirs = WIRES[wire](room)
        self.reader = FrameReader(self.back.peers_seal)
        self.line.reached(theirs)
        self.tell(Hello(Role.BACK, Policy.HOLD, "back", capabilities=self.capabilities))
        self.core.linked()
        self.core.configured(KINDS)
        self.core.plugged(Speed.HIGH)
        self.act()
        self.reactor.until(lambda: any(p.device == DEVICE for p in self.vhci.attached.values()))
        self.port = self.vhci.port_of(DEVICE)
        hcd = self.service._ports[0]._hcd
        assert hcd is not None
        hcd._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)

    @property
    def line(self) -> Line:
        line = self.service._caller
        assert isinstance(line, Line)
        return line

    def _forward(
        self, epoll_fd: int, timeout_s: float, link: LinkLent, ports: list[FrontLent]
    ) -> object:
        self.waits += 1
        returned = forward(epoll_fd, timeout_s, link, ports)
        self.forwarded += sum(
            back[0] - lent.expected for lent, back in zip(ports, returned[4], strict=True)
        )
        return returned

    # The back end.

    def settle(self) -> None:
        """Let the daemon work until it has nothing to do, and the back end hear it."""
        self.reactor.turn(WAIT_S)
        while octets := self.back.read(LARGE):
            self.said += octets
            for message in feed(self.reader, octets):
                if isinstance(message, Ping | Pong | Hello | Refused):
                    continue
                assert isinstance(message, ToPort)
                self._hear(message)
            self.act()
            self.reactor.turn(WAIT_S)

    def _hear(self, message: Message) -> None:
        try:
            self.core.receive(message)
        except RemoteProtocolError:
            if not self.lies:  # else it was told what the core has not said
                raise

    def act(self) -> None:
        """Do what the back end's core wants."""
        while actions := self.core.take_actions():
            for action in actions:
                self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Send(message):
                self.tell(message)
            case Start(urb):
                self.running.append(urb)
            case Perform(urb):
                self.core.completed(urb.urb_id, 0, 0)
            case Discard(number):
                self.running = [urb for urb in self.running if urb.urb_id != number]
                self.core.completed(number, -errno.ENOENT, 0)
            case ResetPort():
                self.core.reset_done(0)

    def tell(self, message: Message) -> None:
        octets = octets_of([message], self.back.seal)
        for place in range(0, len(octets), self.piece):
            self.send(octets[place : place + self.piece])

    def send(self, octets: bytes) -> None:
        while octets:
            try:
                octets = octets[self.back.send(octets) :]
            except BlockingIOError:
                self.hear_kernel()
            except OSError:
                return
            self.reactor.turn(WAIT_S)

    def end(self, urb: Submit, status: int, share: float) -> None:
        """Let an URB end in the controller."""
        self.running.remove(urb)
        moved = int(share * urb.buffer_bytes)
        is_in = bool(urb.endpoint_address & DIRECTION_IN)
        data = Random(urb.urb_id).randbytes(moved) if is_in else b""
        self.core.completed(urb.urb_id, status, moved, data)
        self.act()

    # The kernel.

    def queue(self, port: KernelPort, command: CmdSubmit | CmdUnlink, data: bytes = b"") -> None:
        """Send a command that was queued."""
        octets = command.pack() + data
        while octets:
            try:
                octets = octets[port.socket.send(octets, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self.settle()
            except (BrokenPipeError, ConnectionResetError):
                return

    def submit(self, address: int, length: int) -> int:
        if address == 0x80:
            command = self.port.control(DESCRIPTOR)
        else:
            command = self.port.submit(address, length=length)
        is_in = address & DIRECTION_IN
        data = b"" if is_in else Random(command.seqnum).randbytes(command.buffer_bytes)
        self.queue(self.port, command, data)
        return command.seqnum

    def hear_kernel(self, count: int = LARGE) -> None:
        """Let the kernel read so much of what it is answered, and the daemon go on."""
        octets = read(self.port.socket, count)
        self.answered += octets or b""
        self.reactor.turn(WAIT_S)

    def hear_all(self) -> None:
        before = (-1, -1)
        while before != (len(self.said), len(self.answered)):
            before = len(self.said), len(self.answered)
            self.hear_kernel()
            self.settle()

    def told(self) -> tuple[object, ...]:
        """Return what the daemon has said to both its sides."""
        return without_heartbeat(self.said), self.answered

    def close(self) -> None:
        self.service.close()
        self.reactor.close()
        self.back.close()
        self.vhci.close()


def read(connection: socket.socket, count: int = LARGE) -> bytes | None:
    """What is there; None if nothing is."""
    try:
        return connection.recv(count, socket.MSG_DONTWAIT) or None
    except (BlockingIOError, ConnectionResetError):
        return None


def answers(octets: bytes, is_in: set[int]) -> list[tuple[int, int]]:
    """The commands and the numbers of what the kernel was answered."""
    told = []
    while len(octets) >= HEADER_BYTES:
        command, seqnum, _, _, _, _, actual = _RET.unpack(octets[:HEADER_BYTES])
        told.append((command, seqnum))
        data = actual if command == CommandCode.RET_SUBMIT and seqnum in is_in else 0
        octets = octets[HEADER_BYTES + data :]
    return told


Step = tuple[str, tuple[Any, ...]]
_ADDRESSES = (OUT, OUT, IN, IN, INTERRUPT, 0x02)
_LENGTHS = (0, 1, 31, 512, 512, 4000, 16384, 70_000, 300_000)
_ERRORS = (-errno.EPROTO, -errno.EPIPE, -errno.EREMOTEIO)
_TROUBLED = (0.0, 0.05, 0.3)


def steps(rng: Random, count: int) -> list[Step]:
    """What happens in a conversation, by chance; some have more of what a lane leaves to Python."""
    troubled = rng.choice(_TROUBLED)
    return [_trouble(rng) if rng.random() < troubled else _step(rng) for _ in range(count)]


def _step(rng: Random) -> Step:
    match rng.randrange(9):
        case 0 | 1 | 2:
            return "submit", (rng.choice(_ADDRESSES), rng.choice(_LENGTHS))
        case 3 | 4 | 5:
            return "end", (rng.randrange(8), 0, rng.choice((0.5, 1.0, 1.0)))
        case 6:
            return "hear", (rng.randrange(1, 20_000),)
        case 7:
            return "hear", (LARGE,)
    return "settle", ()


def _trouble(rng: Random) -> Step:
    match rng.randrange(5):
        case 0:
            return "end", (rng.randrange(8), rng.choice(_ERRORS), rng.random())
        case 1:
            return "unlink", (rng.randrange(8), rng.random() < 0.5)
        case 2:
            return "hidden", (rng.random() < 0.5,)
        case 3:
            return "submit", (0x80, 18)
    return "ping", ()


class Conversation:
    """Steps of a kernel and of a back end, the same with a lane and without."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.urbs: list[int] = []
        self.unlinks: dict[int, int] = {}  # their numbers, and of what
        self.late: list[tuple[KernelPort, CmdSubmit | CmdUnlink]] = []

    def run(self, steps: list[Step]) -> None:
        """Go through all, and let everything end.

        Raises:
            AssertionError: Something was not answered exactly once.
        """
        for name, arguments in steps:
            getattr(self, f"_do_{name}")(*arguments)
        self._finish()

    def _do_submit(self, address: int, length: int) -> None:
        self.urbs.append(self.world.submit(address, length))

    def _do_end(self, index: int, status: int, share: float) -> None:
        self.world.settle()
        running = sorted(self.world.running, key=lambda urb: urb.urb_id)
        if running:
            self.world.end(running[index % len(running)], status, share)

    def _do_unlink(self, index: int, late: bool) -> None:
        wanted = [urb for urb in self.urbs if urb not in self.unlinks.values()]
        if wanted:
            target = wanted[index % len(wanted)]
            command = self.world.port.unlink(target)
            self.unlinks[command.seqnum] = target
            self._queue(self.world.port, command, late)

    def _do_hidden(self, late: bool) -> None:
        """A number of the half is the hidden device's."""
        self._queue(self.world.hidden, self.world.hidden.control(ENUMERATION[0]), late)

    def _queue(self, port: KernelPort, command: CmdSubmit | CmdUnlink, late: bool) -> None:
        if late:
            self.late.append((port, command))
        else:
            self.world.queue(port, command)

    def _do_ping(self) -> None:
        self.world.tell(Ping(7))

    def _do_hear(self, count: int) -> None:
        self.world.hear_kernel(count)

    def _do_settle(self) -> None:
        while self.late:
            self.world.queue(*self.late.pop())
        self.world.settle()

    def _finish(self) -> None:
        for _ in range(2 * len(self.urbs) + 4):
            self._do_settle()
            self.world.hidden.receive()
            self.world.hear_all()
            self._do_end(0, 0, 1.0)
        self.world.hear_all()
        assert not self.world.line.lost_for, self.world.line.lost_for
        told = answers(self.world.answered, self.world.port.is_in)
        counts = Counter(told)
        assert set(counts.values()) <= {1}
        given_back = [n for command, n in told if command == CommandCode.RET_SUBMIT]
        assert sorted(given_back) == self.urbs
        unlinked = {n for command, n in told if command == CommandCode.RET_UNLINK}
        assert unlinked == set(self.unlinks)


@contextmanager
def opened(rng: Random, use_lane: bool) -> Iterator[World]:
    """A world by chance."""
    room, piece = rng.choice((2000, LARGE)), rng.choice((900, LARGE, LARGE))
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as locks:
        world = World(patch, Path(locks), use_lane=use_lane, room=room, piece=piece)
        try:
            yield world
        finally:
            world.close()


def talk(rng: Random, world: World) -> None:
    """Have a conversation by chance."""
    Conversation(world).run(steps(rng, rng.randrange(10, 40)))


def compare(seed: str) -> World:
    """See `rig.tests.harness.lane_compared.compare`."""
    return lane_compared.compare(opened, talk, seed)


def annoy(rng: Random) -> int:
    """Be a bad back end for a while, then leave, and be a good one; return the links that it cost.

    Raises:
        AssertionError: The good one was not served, or an URB was given back twice.
        Exception: The daemon raised it.
    """
    with opened(rng, True) as world:
        world.lies = True
        for _ in range(rng.randrange(2, 20)):
            _annoy(rng, world)
        told = Counter(answers(world.answered, world.port.is_in))
        assert set(told.values()) <= {1}
        world.back.close()
        world.reactor.until(lambda: len(world.line.lost_for) == 1)
        while read(world.port.socket):
            """What it was told before it was unplugged."""
        world.vhci.notice_unplug()
        world.reactor.turn()
        for kind in world.reactor.timers() & {"leaving"}:
            world.reactor.fire(kind)
        world.connect()
        number = world.submit(IN, 4)
        world.settle()
        world.end(world.running[0], 0, 1.0)
        world.hear_all()
        assert answers(world.answered, {number}) == [(CommandCode.RET_SUBMIT, number)]
        return len(world.line.lost_for)


def _annoy(rng: Random, world: World) -> None:
    if not world.line.lost_for and rng.random() < 0.7:
        world.submit(rng.choice((*_ADDRESSES, 0x80)), rng.choice(_LENGTHS))
    world.settle()
    _say_something(rng, world)
    world.settle()
    if world.running and rng.random() < 0.7:
        world.end(rng.choice(world.running), rng.choice((0, 0, 0, *_ERRORS)), rng.random())
    world.settle()
    if rng.random() < 0.7 and not world.line.lost_for:
        world.hear_kernel()


def _say_something(rng: Random, world: World) -> None:
    known = [urb.urb_id for urb in world.running] or [1]
    status, epoch = rng.choice((0, 0, *_ERRORS)), rng.randrange(3)
    data = rng.randbytes(rng.choice((0, 0, 1, 31, 512)))
    message: Message = Complete(
        DEVICE, rng.choice(known), status, len(data), epoch, rng.random() < 0.5, data
    )
    match rng.randrange(12):
        case 0:
            world.tell(rng.choice((Ping(1), Pong(1), Disconnect(DEVICE), Connect(2, Speed.HIGH))))
        case 1 | 2:
            world.send(mutate(rng, octets_of([message])))
        case 3:
            world.tell(message)
