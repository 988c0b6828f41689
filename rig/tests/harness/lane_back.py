"""The back end's daemon between a front end and a kernel, with its lane or without.

The kernel is a model of usbfs; the front end is the test.
"""

from __future__ import annotations

import errno
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from rig.daemon import Events
from rig.splitdriver.back import lane
from rig.splitdriver.back import port as port_module
from rig.splitdriver.back.options import Rules
from rig.splitdriver.back.service import BackService
from rig.splitdriver.lane import BackLent, Ioctl, LinkLent
from rig.splitdriver.lane._lane import back as forward
from rig.splitdriver.messages import (
    Complete,
    Connect,
    Disconnected,
    Hello,
    Message,
    Ping,
    Pong,
    Reset,
    Resume,
    Role,
    Submit,
    Unlink,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.transport.meeting import Admitted, Rejected
from rig.splitdriver.wire import FrameReader
from rig.tests.harness import lane_compared
from rig.tests.harness.frames import feed, octets_of, without_heartbeat
from rig.tests.harness.mutations import mutate
from rig.tests.harness.stepped import SteppedReactor
from rig.tests.harness.usbfs_kernel import ModelDevice, Submitted, UsbfsKernel
from rig.tests.harness.wires import WIRES
from rig.usb import sysfs
from rig.usb.setup import SetupPacket
from rig.usb.sysfs import PortLocation
from rig.usb.urb import DIRECTION_IN

OUT, IN, INTERRUPT = 0x01, 0x81, 0x82
GREETING = Hello(Role.FRONT, Policy.HOLD, "front")
CONFIGURE = SetupPacket(0x00, 0x09, 1, 0, 0).pack()
DESCRIPTOR = SetupPacket(0x80, 0x06, 0x0100, 0, 18).pack()
DEVICE = 1
WAIT_S = 0.0005
LARGE = 1 << 20


class Door:
    """Where nobody comes but the test's front end."""

    def __init__(self, admitted: Admitted, rejected: Rejected) -> None:
        self.admitted = admitted
        self.place: dict[str, object] = {}
        self.lost_for: list[str] = []

    def lost(self, reason: str) -> None:
        self.lost_for.append(reason)

    def close(self) -> None:
        """Nothing is open."""


class World:
    """A daemon with a device, and its front end; its lane counts what it forwards."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        *,
        use_lane: bool,
        room: int = LARGE,
        wire: str = "socket",
    ) -> None:
        self.kernel = UsbfsKernel()
        self.reactor = SteppedReactor()
        self.waits = 0
        self.heard: list[Message] = []
        self.octets = b""
        patch.setattr(port_module, "UsbfsDevice", lambda path: ModelDevice(self.kernel, path))
        patch.setattr(sysfs, "locate", lambda name: PortLocation("usb3", 1, name))
        patch.setattr(sysfs, "twin", lambda _: None)
        patch.setattr(sysfs, "node", {"usb3": "/hub", "3-1": "/device"}.get)
        patch.setattr(lane, "back", self._forward)
        rules = Rules(lane=use_lane)
        self.service = BackService(
            ["3-1"], rules, Door, injector=None, events=Events(io.BytesIO()), reactor=self.reactor
        )
        self.connect(room, wire)

    def connect(self, room: int = LARGE, wire: str = "socket") -> None:
        """Come as a front end, and configure the device.

        Args:
            room: Octets that the daemon's end takes at a time, about.
            wire: Of `WIRES`.
        """
        self.heard = []
        self.front, theirs = WIRES[wire](room)
        self.reader = FrameReader(self.front.peers_seal)
        self.door.admitted(theirs, "test")
        self.say(GREETING)
        self.until_heard(2)
        hello, connect = self.take()
        assert isinstance(hello, Hello)
        assert isinstance(connect, Connect)
        self.device = connect.device
        self.say(urb(0, 0, setup=CONFIGURE, device=self.device))
        self.until_heard(1)
        assert self.take() == [Complete(self.device, 0, 0, 0)]

    @property
    def door(self) -> Door:
        door = self.service._door
        assert isinstance(door, Door)
        return door

    def _forward(
        self,
        epoll_fd: int,
        timeout_s: float,
        link: LinkLent,
        max_bytes: int,
        max_urbs: int,
        ports: list[BackLent],
        ioctl: Ioctl | None,
    ) -> object:
        self.waits += 1
        return forward(epoll_fd, timeout_s, link, max_bytes, max_urbs, ports, self.kernel.ioctl)

    def settle(self) -> None:
        """Let the daemon work until it has nothing to do."""
        self.reactor.turn(WAIT_S)
        device = self.service._ports[0]._device
        while device is not None and not device._turns.idle:
            self.reactor.turn(0.05)

    def say(self, *messages: Message) -> None:
        self.send(octets_of(messages, self.front.seal))

    def send(self, octets: bytes) -> None:
        """Send octets, and let the daemon read in between if they do not fit."""
        while octets:
            try:
                octets = octets[self.front.send(octets) :]
            except BlockingIOError:
                self.settle()
            except OSError:
                return

    def listen(self, count: int = LARGE) -> None:
        """Read so much of what the daemon has said, and let it go on."""
        octets = self.front.read(count)
        self.octets += octets
        self.heard += feed(self.reader, octets)
        self.settle()

    def listen_to_all(self) -> None:
        before = -1
        while before != len(self.octets):
            before = len(self.octets)
            self.listen()

    def until_heard(self, count: int) -> None:
        """Let the daemon work until it has said so much: a port takes its time."""

        def heard() -> bool:
            self.listen()
            return len(self.heard) >= count

        self.reactor.until(heard)

    def take(self) -> list[Message]:
        heard, self.heard = self.heard, []
        return heard

    def told(self) -> tuple[object, ...]:
        """Return what the daemon has said to both its sides."""
        return without_heartbeat(self.octets), self.kernel.log

    def close(self) -> None:
        self.service.close()
        self.reactor.close()
        self.front.close()
        self.kernel.close()


def urb(
    number: int, address: int, length: int = 0, setup: bytes = bytes(8), device: int = DEVICE
) -> Submit:
    is_in = bool(address & DIRECTION_IN)
    data = b"" if is_in else Random(number).randbytes(length)
    return Submit(device, number, address, number % 2, length, setup, data)


def answer(running: Submitted, length: int) -> bytes:
    return Random(running.length).randbytes(length) if running.is_in else b""


Step = tuple[str, tuple[Any, ...]]
_ADDRESSES = (OUT, OUT, IN, IN, INTERRUPT)
_LENGTHS = (0, 0, 1, 31, 512, 512, 4000, 16384, 70_000, 300_000)
_ERRORS = (-errno.EPROTO, -errno.EPIPE, -errno.EREMOTEIO)
_TROUBLED = (0.0, 0.05, 0.3)
_DAMAGED = 0.2


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
            return "listen", (rng.randrange(1, 20_000),)
        case 7:
            return "resume", ()
    return "settle", ()


def _trouble(rng: Random) -> Step:
    match rng.randrange(6):
        case 0:
            return "end", (rng.randrange(8), rng.choice(_ERRORS), rng.random())
        case 1:
            return "unlink", (rng.randrange(8),)
        case 2:
            return "cut", (rng.randrange(1, 9000),)
        case 3:
            return "submit", (0x80, 18)
        case 4:
            return "refuse", ()
    return "ping", ()


class Conversation:
    """Steps of a front end and of a device, the same with a lane and without."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.number = 0
        self.open: list[int] = []
        self.completed: Counter[int] = Counter()
        self.epochs: dict[int, int] = {}
        self.address: dict[int, int] = {}
        self.to_resume: set[int] = set()

    def run(self, steps: list[Step]) -> None:
        """Go through all, and let everything end.

        Raises:
            AssertionError: Something was not answered exactly once.
        """
        for name, arguments in steps:
            getattr(self, f"_do_{name}")(*arguments)
            self._learn()
        self._finish()

    def _submit(self, address: int, length: int) -> Submit:
        self.number += 1
        self.open.append(self.number)
        self.address[self.number] = address
        if address == 0x80:
            return urb(self.number, address, 18, DESCRIPTOR)
        return urb(self.number, address, length)

    def _do_submit(self, address: int, length: int) -> None:
        self.world.say(self._submit(address, length))

    def _do_end(self, index: int, status: int, share: float) -> None:
        self.world.settle()
        running = sorted(self.world.kernel.running, key=lambda one: one.endpoint)
        if running:
            one = running[index % len(running)]
            moved = int(share * one.room)
            self.world.kernel.end(one, status, answer(one, moved), moved)

    def _do_cut(self, size: int) -> None:
        """Submit in pieces of that size, and let the daemon read each."""
        octets = octets_of([self._submit(OUT, 2 * size)])
        for place in range(0, len(octets), size):
            self.world.send(octets[place : place + size])
            self.world.settle()

    def _do_unlink(self, index: int) -> None:
        if self.open:
            self.world.say(Unlink(DEVICE, self.open[index % len(self.open)]))
            self.world.settle()

    def _do_refuse(self) -> None:
        """The kernel has no memory for a moment."""
        self.world.kernel.refused.add(IN)
        self._do_submit(IN, 4)
        self.world.settle()
        self.world.kernel.refused.clear()

    def _do_resume(self) -> None:
        self.world.settle()
        self.world.listen_to_all()
        self._learn()
        for address in sorted(self.to_resume):
            self.world.say(Resume(DEVICE, address, self.epochs[address]))
        self.to_resume.clear()

    def _do_ping(self) -> None:
        self.world.say(Ping(self.number))

    def _do_listen(self, count: int) -> None:
        self.world.listen(count)

    def _do_settle(self) -> None:
        self.world.settle()

    def _learn(self) -> None:
        for message in self.world.take():
            if isinstance(message, Pong):
                continue
            assert isinstance(message, Complete)
            self.completed[message.urb_id] += 1
            self.open.remove(message.urb_id)
            key = self.address[message.urb_id]
            key = 0 if not key & 0x7F else key
            if message.epoch > self.epochs.get(key, 0):
                self.epochs[key] = message.epoch
                self.to_resume.add(key)

    def _finish(self) -> None:
        for _ in range(2 * len(self.open) + 2):
            self._do_resume()
            self._do_end(0, 0, 1.0)
        self._do_resume()
        assert not self.open
        assert set(self.completed.values()) <= {1}


@contextmanager
def opened(rng: Random, use_lane: bool) -> Iterator[World]:
    """A world by chance."""
    with pytest.MonkeyPatch.context() as patch:
        world = World(patch, use_lane=use_lane, room=rng.choice((2000, LARGE)))
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
    """Be a bad front end for a while, then leave, and be a good one; return the links that it cost.

    Raises:
        AssertionError: The good one was not served.
        Exception: The daemon raised it.
    """
    with opened(rng, True) as world:
        for number in range(1, rng.randrange(2, 20)):
            _annoy(rng, world, number)
        world.front.close()
        world.reactor.until(lambda: len(world.door.lost_for) == 1)
        while world.kernel.running:
            world.kernel.end(world.kernel.running[0], -errno.ENOENT)
            world.settle()
        world.connect()
        world.say(urb(1, IN, 4, device=world.device))
        world.settle()
        world.kernel.end(world.kernel.running[0], answer=b"data")
        world.until_heard(1)
        assert world.take() == [Complete(world.device, 1, 0, 4, data=b"data")]
        return len(world.door.lost_for)


def _annoy(rng: Random, world: World, number: int) -> None:
    address, length = rng.choice((0, 0x80, *_ADDRESSES)), rng.choice(_LENGTHS)
    message: Message = urb(number, address, length, rng.choice((CONFIGURE, DESCRIPTOR)))
    match rng.randrange(8):
        case 0:
            message = Unlink(DEVICE, rng.randrange(number + 1), rng.random() < 0.5)
        case 1:
            message = Resume(DEVICE, rng.choice(_ADDRESSES), rng.randrange(3))
        case 2:
            message = rng.choice((Ping(7), Reset(DEVICE), Disconnected(DEVICE), GREETING))
    octets = octets_of([message])
    world.send(mutate(rng, octets) if rng.random() < _DAMAGED else octets)
    if rng.random() < 0.5:
        world.settle()
    if world.kernel.running and rng.random() < 0.5:
        ended = rng.choice(world.kernel.running)
        moved = rng.randrange(ended.room + 1)
        world.kernel.end(ended, rng.choice((0, 0, 0, *_ERRORS)), answer(ended, moved), moved)
    world.settle()
    if rng.random() < 0.5:
        world.listen()
