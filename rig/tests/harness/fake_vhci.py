"""The kernel's side of ``vhci_hcd``: its ports, what it sends over their sockets, and usbfs.

Each half numbers what is queued for all its ports from one counter, as the kernel does.  What is
queued is sent when the test says so: that is how things come out of order.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import msgspec
import pytest

from rig.helper_thread import HelperThread, Job
from rig.splitdriver import hidden
from rig.splitdriver.front import fence_node, half_lock
from rig.usb import sysfs, vhci
from rig.usb.setup import SetupPacket
from rig.usb.urb import DIRECTION_IN, Speed, TransferType
from rig.usb.usbfs import Reaped
from rig.usb.usbip import HEADER_BYTES, CmdSubmit, CmdUnlink, CommandCode

_RET = struct.Struct(">5Iii20x")
HIDDEN = 0
"""The devid with which the front end attaches the hidden device."""
_DEADLINE_S = 10.0

ENUMERATION = (
    SetupPacket(0x80, 0x06, 0x0100, 0, 64),
    SetupPacket(0x80, 0x06, 0x0200, 0, 9),
    SetupPacket(0x00, 0x09, 1, 0, 0),
)
"""The last of what the kernel asks of a new device: its descriptors, and to be configured."""


class GivenBack(msgspec.Struct, frozen=True):
    """A RET_SUBMIT that the kernel has read, with its IN data."""

    seqnum: int
    status: int
    actual_bytes: int
    data: bytes = b""


class Unlinked(msgspec.Struct, frozen=True):
    """A RET_UNLINK that the kernel has read."""

    seqnum: int


Answer = GivenBack | Unlinked


@dataclass
class KernelPort:
    """A port with a device: the kernel's end of its socket."""

    number: int
    device: int
    speed: Speed
    socket: socket.socket
    seqnums: count[int]
    held: bytes = b""
    """What the reader has of a header that has not come whole."""
    is_in: set[int] = field(default_factory=set)

    def submit(
        self, address: int = 0x01, setup: SetupPacket | None = None, length: int = 0
    ) -> CmdSubmit:
        """Queue an URB; it must be sent."""
        packed = setup.pack() if setup is not None else bytes(8)
        seqnum = next(self.seqnums)
        if address & DIRECTION_IN:
            self.is_in.add(seqnum)
        return CmdSubmit(seqnum, self.device, address, 0, length, 0, 0, packed)

    def control(self, setup: SetupPacket) -> CmdSubmit:
        """Queue a control transfer; it must be sent."""
        return self.submit(DIRECTION_IN if setup.is_in else 0, setup, setup.length)

    def unlink(self, target: int) -> CmdUnlink:
        """Queue an unlink; it must be sent."""
        return CmdUnlink(next(self.seqnums), self.device, target)

    def send(self, *commands: CmdSubmit | CmdUnlink) -> None:
        """Send commands, with data of zeroes."""
        for command in commands:
            data = command.payload_bytes if isinstance(command, CmdSubmit) else 0
            self.socket.sendall(command.pack() + bytes(data))

    def receive(self) -> list[Answer]:
        """Read all that is there, up to the middle of a header: every handler has returned."""
        answers: list[Answer] = []
        while self._fill():
            answers.append(self._answer())
        return answers

    def _fill(self) -> bool:
        try:
            self.held += self.socket.recv(HEADER_BYTES - len(self.held), socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionResetError):
            return False
        return len(self.held) == HEADER_BYTES

    def _answer(self) -> Answer:
        command, seqnum, _, _, _, status, actual = _RET.unpack(self.held)
        self.held = b""
        if command == CommandCode.RET_UNLINK:
            return Unlinked(seqnum)
        assert command == CommandCode.RET_SUBMIT
        wanted = actual if seqnum in self.is_in else 0
        data = self.socket.recv(wanted, socket.MSG_WAITALL) if wanted else b""
        return GivenBack(seqnum, status, actual, data)


class Inline(HelperThread):
    """A helper whose jobs are done before it is told of them."""

    def do(self, job: Job) -> None:
        job()
        super().do(lambda: None)
        select.select([self], [], [], _DEADLINE_S)


class HiddenNode:
    """The hidden device's node of usbfs: what is submitted there the kernel sends to its port."""

    def __init__(self, kernel: FakeVhci, port: KernelPort) -> None:
        self._kernel = kernel
        self._port = port
        self.barriers: list[CmdSubmit] = []
        """That were queued and are not sent yet."""
        self.closed = threading.Event()

    def submit(
        self, _: int, kind: TransferType, address: int, flags: int, buffer: memoryview
    ) -> None:
        """Queue the barrier; sent at once unless the test holds barriers back."""
        assert (kind, address, flags) == (TransferType.CONTROL, 0, 0)
        self._kernel.wait_for_lock()
        if self._kernel.node_errors:
            raise OSError(self._kernel.node_errors.pop(0), "told to fail")
        self.barriers.append(self._port.control(SetupPacket.unpack(bytes(buffer))))
        if not self._kernel.holds_barriers:
            self.let_go()

    def let_go(self) -> None:
        """Send the barriers that are held back."""
        self._port.send(*self.barriers)
        self.barriers.clear()

    def reap(self) -> Reaped | None:
        """Take the answers; one is told."""
        answers = self._port.receive()
        return Reaped(1, 0, 0) if answers else None

    def close(self) -> None:
        """Nothing is to be undone."""
        self.closed.set()


class FakeVhci:
    """Stands for ``vhci_hcd``'s sysfs files, for the kernel behind them, and for usbfs.

    Args:
        monkeypatch: Puts it in the place of the kernel's.
        locks: Where front ends lock halves.
        controllers: How many there are; each has a half of either kind.
        ports: Of each half.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        locks: os.PathLike[str],
        controllers: int = 2,
        ports: int = 3,
    ) -> None:
        self.attached: dict[int, KernelPort] = {}
        self.leaving: set[int] = set()
        """Ports whose device has gone, and which the kernel has not freed yet."""
        self.attach_errors: list[int] = []
        """What the next attaches fail with."""
        self.node_errors: list[int] = []
        """What the next barriers fail with."""
        self.has_nodes = True
        self.holds_barriers = False
        self.nodes: list[HiddenNode] = []
        self._ports_each = ports
        self._seqnums: dict[int, count[int]] = {}
        self._controllers = [
            [
                vhci.Port(fast, (2 * c + fast) * ports + n, vhci.PortState.NULL, "0-0")
                for fast in (False, True)
                for n in range(ports)
            ]
            for c in range(controllers)
        ]
        monkeypatch.setattr(vhci, "attach", self.attach)
        monkeypatch.setattr(vhci, "read_status", self.read_status)
        monkeypatch.setattr(vhci, "read_port", self.read_port)
        monkeypatch.setattr(sysfs, "node", lambda name: name if self.has_nodes else None)
        monkeypatch.setattr(fence_node, "UsbfsDevice", self.open_node)
        monkeypatch.setattr(fence_node, "HelperThread", Inline)
        monkeypatch.setattr(half_lock, "LOCKS", locks)
        self._unlocked = threading.Event()
        self._unlocked.set()
        self.waits = threading.Event()
        """Somebody waits for the hidden device's lock."""

    # What the front end finds.

    def attach(self, port: vhci.Port, fd: int, device: int, speed: Speed) -> None:
        """Take a reference to the socket, as ``attach`` does."""
        if self.attach_errors:
            raise OSError(self.attach_errors.pop(0), "told to fail")
        assert port.super_speed == (speed >= Speed.SUPER)
        if self._state(port.number) is not vhci.PortState.NULL:
            raise OSError(errno.EBUSY, "busy")
        end = socket.socket(fileno=os.dup(fd))
        seqnums = self._seqnums.setdefault(port.number // self._ports_each, count(1))
        self.attached[port.number] = KernelPort(port.number, device, speed, end, seqnums)

    def read_status(self) -> list[list[vhci.Port]]:
        """Every port of every controller."""
        return [[self._port(port) for port in ports] for ports in self._controllers]

    def read_port(self, number: int) -> vhci.Port | None:
        """One of them."""
        return next((p for ports in self.read_status() for p in ports if p.number == number), None)

    def open_node(self, path: str) -> HiddenNode:
        """Open what `sysfs.node` has named: by the number of its port."""
        self.wait_for_lock()
        node = HiddenNode(self, self.attached[int(path.rpartition("-")[2])])
        self.nodes.append(node)
        return node

    def wait_for_lock(self) -> None:
        """Wait while somebody has the hidden device's lock."""
        if not self._unlocked.is_set():
            self.waits.set()
            assert self._unlocked.wait(_DEADLINE_S)

    # What the test does.

    def lock_hidden(self) -> None:
        """Somebody resets or configures the hidden device by hand, until `unlock_hidden`."""
        self._unlocked.clear()

    def unlock_hidden(self) -> None:
        """He is done."""
        self._unlocked.set()

    def port_of(self, device: int) -> KernelPort:
        """Where a device is; the last that was attached of that number."""
        return next(p for p in reversed(self.attached.values()) if p.device == device)

    def enumerate_hidden(self) -> KernelPort:
        """Ask the hidden device that was attached last what the kernel asks of a new one."""
        port = self.port_of(HIDDEN)
        port.send(*(port.control(setup) for setup in ENUMERATION))
        return port

    def notice_unplug(self) -> list[int]:
        """Free the ports whose socket the front end has closed; return their numbers."""
        gone = []
        for number, port in list(self.attached.items()):
            port.receive()
            if self._is_closed(port):
                port.socket.close()
                del self.attached[number]
                gone.append(number)
        return gone

    def detach(self, number: int) -> None:
        """Somebody writes to ``detach``: the kernel closes its end."""
        self.attached.pop(number).socket.close()

    def close(self) -> None:
        """Close every socket."""
        for port in self.attached.values():
            port.socket.close()

    @staticmethod
    def _is_closed(port: KernelPort) -> bool:
        try:
            return port.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def _port(self, port: vhci.Port) -> vhci.Port:
        state = self._state(port.number)
        return vhci.Port(port.super_speed, port.number, state, f"9-{port.number}")

    def _state(self, number: int) -> vhci.PortState:
        busy = number in self.attached or number in self.leaving
        return vhci.PortState.USED if busy else vhci.PortState.NULL


def numbers(answers: Sequence[Answer]) -> list[int]:
    """The numbers of what was answered."""
    return [answer.seqnum for answer in answers]


def is_barrier(command: CmdSubmit) -> bool:
    """Whether this is the fence's."""
    return command.setup == hidden.BARRIER.pack()
