"""The back end's lane against the same daemon without it: the same octets, the same URBs.

Below both is a model of the kernel's side of usbfs; the front end is the test.
"""

from __future__ import annotations

import errno
import io
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.daemon import Events
from rig.splitdriver.back import lane
from rig.splitdriver.back import port as port_module
from rig.splitdriver.back.service import BackService, Rules
from rig.splitdriver.lane import BackLent, Ioctl
from rig.splitdriver.lane._lane import back as forward
from rig.splitdriver.messages import (
    Complete,
    Connect,
    Hello,
    Message,
    Ping,
    Pong,
    Refused,
    Resume,
    Role,
    Submit,
    Unlink,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.transport.meeting import Admitted, Rejected
from rig.splitdriver.wire import FrameReader
from rig.tests.harness.frames import feed, octets_of
from rig.tests.harness.stepped import SteppedReactor
from rig.tests.harness.usbfs_kernel import ModelDevice, Submitted, UsbfsKernel
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

    def __init__(self, patch: pytest.MonkeyPatch, *, use_lane: bool, room: int = 1 << 20) -> None:
        self.kernel = UsbfsKernel()
        self.reactor = SteppedReactor()
        self.waits = 0
        self.reader = FrameReader()
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
        self.front, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        self.front.setblocking(False)
        self.door.admitted(theirs, "test")
        self.say(GREETING, urb(0, 0, setup=CONFIGURE))
        self.settle()
        self.listen()
        kinds = [type(message) for message in self.take()]
        assert kinds == [Hello, Connect, Complete]

    @property
    def door(self) -> Door:
        door = self.service._door
        assert isinstance(door, Door)
        return door

    def _forward(
        self,
        epoll_fd: int,
        timeout_s: float,
        link_fd: int,
        max_bytes: int,
        max_urbs: int,
        ports: list[BackLent],
        ioctl: Ioctl | None,
    ) -> object:
        self.waits += 1
        return forward(epoll_fd, timeout_s, link_fd, max_bytes, max_urbs, ports, self.kernel.ioctl)

    def settle(self) -> None:
        """Let the daemon work until it has nothing to do."""
        self.reactor.turn(WAIT_S)
        device = self.service._ports[0]._device
        while device is not None and (device._helper.busy or device._later):
            self.reactor.turn(0.05)

    def say(self, *messages: Message) -> None:
        self.send(octets_of(messages))

    def send(self, octets: bytes) -> None:
        """Send octets, and let the daemon read in between if they do not fit."""
        while octets:
            try:
                octets = octets[self.front.send(octets) :]
            except BlockingIOError:
                self.settle()
            except (BrokenPipeError, ConnectionResetError):
                return

    def listen(self, count: int = 1 << 20) -> None:
        """Read so much of what the daemon has said, and let it go on."""
        try:
            octets = self.front.recv(count)
        except (BlockingIOError, ConnectionResetError):
            return
        self.octets += octets
        self.heard += feed(self.reader, octets)
        self.settle()

    def listen_to_all(self) -> None:
        before = -1
        while before != len(self.octets):
            before = len(self.octets)
            self.listen()

    def take(self) -> list[Message]:
        heard, self.heard = self.heard, []
        return heard

    def close(self) -> None:
        self.service.close()
        self.reactor.close()
        self.front.close()
        self.kernel.close()


def urb(number: int, address: int, length: int = 0, setup: bytes = bytes(8)) -> Submit:
    is_in = bool(address & DIRECTION_IN)
    data = b"" if is_in else Random(number).randbytes(length)
    return Submit(DEVICE, number, address, number % 2, length, setup, data)


def answer(running: Submitted, length: int) -> bytes:
    return Random(running.length).randbytes(length) if running.is_in else b""


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    made = []

    def one(**kwargs: object) -> World:
        made.append(World(monkeypatch, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for world in made:
        world.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make(use_lane=True)


# What the lane forwards by itself, and what it leaves.


def served_by_lane(world: World) -> None:
    """Run one URB, and see that Python had nothing to do with it."""
    core = world.service._ports[0].core
    done: list[int] = []
    ended = core.completed
    core.completed = lambda urb_id, *rest: (done.append(urb_id), ended(urb_id, *rest))  # type: ignore[method-assign, assignment, func-returns-value]
    number = 1 << 20
    world.say(urb(number, IN, 4))
    world.settle()
    world.kernel.end(world.kernel.running[-1], answer=b"data")
    world.settle()
    world.listen()
    assert world.take() == [Complete(DEVICE, number, 0, 4, world_epoch(world), data=b"data")]
    assert done == []


def world_epoch(world: World) -> int:
    endpoint = world.service._ports[0].core._endpoints.get(IN)
    return endpoint.epoch if endpoint is not None else 0


def test_an_urb_that_succeeds_never_reaches_python(world: World) -> None:
    served_by_lane(world)


def test_an_urb_without_data_can_be_lent_again_and_again(world: World) -> None:
    world.say(urb(1, IN, 0))
    for _ in range(3):
        world.settle()
    world.kernel.end(world.kernel.running[0])
    world.settle()
    world.listen()
    assert world.take() == [Complete(DEVICE, 1, 0, 0)]


def test_out_data_that_wait_reach_the_kernel_whole_and_in_order(world: World) -> None:
    urbs = [urb(number, OUT, 3000 * number) for number in range(1, 6)]
    world.say(*urbs)
    for one in urbs:
        world.settle()
        assert [running.data for running in world.kernel.running] == [one.data]
        world.kernel.end(world.kernel.running[0], moved=one.buffer_bytes)
    world.settle()
    world.listen_to_all()
    assert [m.urb_id for m in world.take() if isinstance(m, Complete)] == [1, 2, 3, 4, 5]


def test_an_urb_that_the_kernel_refuses_is_told_by_python_once(world: World) -> None:
    world.kernel.errors[0x8038550A] = [errno.ENOMEM, errno.ENOMEM]
    world.say(urb(1, OUT, 4))
    world.settle()
    world.listen()
    assert world.take() == [Complete(DEVICE, 1, -errno.ENOMEM, 0, 1, quiet=True)]


def test_one_behind_another_that_the_kernel_refuses_is_told_once(world: World) -> None:
    world.say(urb(1, OUT, 4), urb(2, OUT, 4))
    world.settle()
    world.kernel.errors[0x8038550A] = [errno.ENOMEM, errno.ENOMEM]
    world.kernel.end(world.kernel.running[0], moved=4)
    world.settle()
    world.listen()
    assert world.take() == [
        Complete(DEVICE, 1, 0, 4),
        Complete(DEVICE, 2, -errno.ENOMEM, 0, 1, quiet=True),
    ]


def test_after_an_error_and_its_resume_the_lane_has_the_endpoint_again(world: World) -> None:
    world.say(urb(1, IN, 4))
    world.settle()
    world.kernel.end(world.kernel.running[0], -errno.EPIPE)
    world.settle()
    world.listen()
    assert world.take() == [Complete(DEVICE, 1, -errno.EPIPE, 0, 1, quiet=True)]
    world.say(Resume(DEVICE, IN, 1))
    world.settle()
    served_by_lane(world)


def test_many_errors_leave_no_memory_behind(world: World) -> None:
    """The lane makes an URB's memory, Python keeps what it has reaped: not more than it can use."""
    for number in range(1, 300):
        world.say(urb(number, IN, 4))
        world.settle()
        world.kernel.end(world.kernel.running[0], -errno.EPIPE)
        world.settle()
        world.say(Resume(DEVICE, IN, number))
        world.settle()
    device = world.service._ports[0]._device
    assert device is not None
    assert len(device._usbfs._free) < 100


def test_last_words_that_the_lane_has_read_are_heard_though_the_link_is_closed(
    world: World,
) -> None:
    world.say(Refused("enough"))
    world.front.close()
    world.settle()
    assert world.door.lost_for == ["The other end closed the link: enough"]


# Golden: with and without.

ADDRESSES = st.sampled_from([OUT, OUT, IN, IN, INTERRUPT, 0x80])
LENGTHS = st.one_of(st.integers(0, 600), st.sampled_from([0, 512, 16384, 70_000, 300_000]))
INDEX = st.integers(0, 7)
STATUSES = st.sampled_from([0] * 8 + [-errno.EPROTO, -errno.EPIPE, -errno.EREMOTEIO])
STEP = st.one_of(
    st.tuples(st.just("submit"), ADDRESSES, LENGTHS),
    st.tuples(st.just("submit"), ADDRESSES, LENGTHS),
    st.tuples(st.just("end"), INDEX, STATUSES, st.floats(0, 1)),
    st.tuples(st.just("end"), INDEX, st.just(0), st.just(1.0)),
    st.tuples(st.just("unlink"), INDEX),
    st.tuples(st.just("resume")),
    st.tuples(st.just("ping")),
    st.tuples(st.just("listen"), st.integers(1, 20_000)),
    st.tuples(st.just("settle")),
    st.tuples(st.just("cut"), st.integers(1, 9000)),
)


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
        self.log: list[object] = []

    def run(self, steps: list[tuple[object, ...]]) -> None:
        held = b""
        for name, *arguments in steps:
            if name == "cut":
                # The next frames come in pieces of that size.
                (size,) = arguments
                assert isinstance(size, int)
                one = self._submit(OUT, 2 * size)
                held = octets_of([one])
                for place in range(0, len(held), size):
                    self.world.send(held[place : place + size])
                    self.world.settle()
            else:
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

    def _do_unlink(self, index: int) -> None:
        if self.open:
            self.world.say(Unlink(DEVICE, self.open[index % len(self.open)]))
            self.world.settle()

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


def conversation(steps: list[tuple[object, ...]], room: int, *, use_lane: bool) -> World:
    with pytest.MonkeyPatch.context() as patch:
        world = World(patch, use_lane=use_lane, room=room)
        try:
            Conversation(world).run(steps)
        finally:
            world.close()
    return world


@given(st.lists(STEP, max_size=25), st.sampled_from([2000, 1 << 20]))
@settings(max_examples=60, deadline=None)
def test_the_octets_and_the_urbs_are_the_same_with_a_lane_and_without(
    steps: list[tuple[object, ...]], room: int
) -> None:
    quick = conversation(steps, room, use_lane=True)
    slow = conversation(steps, room, use_lane=False)
    assert slow.waits == 0
    assert quick.octets == slow.octets
    assert quick.kernel.log == slow.kernel.log
