"""Nodes of usbfs without a kernel: they note what is asked, and answer as they were told."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterable

from rig.usb.urb import Speed, TransferType
from rig.usb.usbfs import Reaped

HUB, TWIN_HUB = "/dev/bus/usb/003/001", "/dev/bus/usb/004/001"
DEVICE = "/dev/bus/usb/003/002"
DESCRIPTORS = bytes.fromhex(
    "12 01 0002 00 00 00 40 2505 a5a4 0001 01 02 03 01"  # device
    "09 02 2700 01 01 04 80 fa"  # configuration 1, whose name is string 4
    "09 04 00 00 03 08 06 50 00"  # interface 0
    "07 05 81 02 0002 00 07 05 01 02 0002 00 07 05 82 03 4000 01"  # bulk in, out, interrupt in
)
_URB_BYTES = 56
_PIPE_BYTES = 4096
_DEADLINE_S = 20.0


class Node:
    """Stands for `rig.usb.usbfs.UsbfsDevice`.

    Args:
        path: Its name.
    """

    def __init__(self, path: str = DEVICE) -> None:
        self.path = path
        self.octets = DESCRIPTORS
        self.calls: list[tuple[object, ...]] = []
        self.errors: dict[str, int] = {}
        """What calls of that name fail with."""
        self.buffers: dict[int, memoryview] = {}
        self.gone = False
        self.closed = threading.Event()
        self._closing = threading.Lock()
        self.overlaps: list[str] = []
        """What was asked while another call blocked: the kernel would have made it wait."""
        self._done: list[Reaped] = []
        self._held: dict[str, threading.Event] = {}
        self._blocking: str | None = None
        # Like usbfs, writable when there is something to reap: a pipe is, when it is empty.
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK)
        fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.write(self._writer, bytes(_PIPE_BYTES))

    # What a test does.

    def take(self) -> list[tuple[object, ...]]:
        """Return what was asked since."""
        calls, self.calls = self.calls, []
        return calls

    def complete(self, *done: Reaped) -> None:
        """Let URBs end."""
        if not self._done:
            os.read(self._reader, _PIPE_BYTES)
        self._done += done

    def hang_up(self) -> None:
        """Unplug: to ``poll`` the node hangs up."""
        self.gone = True
        os.close(self._reader)
        self._reader = -1

    def hold(self, name: str) -> Callable[[], None]:
        """Let calls of that name block until what is returned is called."""
        event = self._held[name] = threading.Event()

        def let_go() -> None:
            del self._held[name]
            event.set()

        return let_go

    def blocks_in(self, name: str) -> bool:
        """Whether a call of that name blocks now."""
        return self._blocking == name

    # What usbfs does.

    def fileno(self) -> int:
        return self._writer

    def close(self) -> None:
        with self._closing:
            if self.closed.is_set():  # a hub's node is opened once for each of its ports
                return
            self._note("close")
            for end in (self._reader, self._writer):
                if end >= 0:
                    os.close(end)
            self.closed.set()

    def descriptors(self) -> bytes:
        self._note("descriptors")
        return self.octets

    def speed(self) -> Speed:
        self._note("speed")
        return Speed.HIGH

    def submit(
        self, urb_id: int, kind: TransferType, address: int, flags: int, buffer: memoryview
    ) -> None:
        self._note("submit", urb_id, kind, address, flags, bytes(buffer))
        self.buffers[urb_id] = buffer

    def discard(self, urb_id: int) -> bool:
        self._note("discard", urb_id)
        self.complete(Reaped(urb_id, -errno.ENOENT, 0))
        return True

    def reap(self) -> Reaped | None:
        if self._blocking is not None:
            self.overlaps.append("reap")
        if self.gone and not self._done:
            raise OSError(errno.ENODEV, "gone")
        if not self._done:
            return None
        done = self._done.pop(0)
        if not self._done and not self.gone:
            os.write(self._writer, bytes(_PIPE_BYTES))
        return done

    def lend(self, urb_id: int) -> bytearray:
        return bytearray(_URB_BYTES)

    def take_back(self, urb_id: int, memory: bytearray, buffer: bytearray | None) -> None:
        assert len(memory) == _URB_BYTES

    def reaped_before(self, addresses: Iterable[int]) -> None:
        assert not list(addresses), "nothing but a kernel has such addresses"

    def claim_interface(self, number: int) -> None:
        self._note("claim_interface", number)

    def release_interface(self, number: int) -> None:
        self._note("release_interface", number)

    def set_configuration(self, value: int) -> None:
        self._note("set_configuration", value)

    def set_interface(self, interface: int, alternate: int) -> None:
        self._note("set_interface", interface, alternate)

    def clear_halt(self, address: int) -> None:
        self._note("clear_halt", address)

    def set_halt(self, address: int) -> None:
        self._note("set_halt", address)

    def reset(self) -> None:
        self._note("reset")

    def claim_port(self, port: int) -> None:
        self._note("claim_port", port)

    def _note(self, call: str, *arguments: object) -> None:
        if self._blocking is not None:
            self.overlaps.append(call)
        self.calls.append((call, *arguments))
        if (held := self._held.get(call)) is not None:
            self._blocking = call
            assert held.wait(_DEADLINE_S)
            self._blocking = None
        if call in self.errors:
            raise OSError(self.errors[call], "told to fail")


class Nodes:
    """All nodes of a machine, and what sysfs says of them."""

    def __init__(self) -> None:
        self.present: dict[str, str] = {"usb3": HUB}
        """The nodes' paths, by the devices' names in sysfs."""
        self.nodes: dict[str, Node] = {}
        self.errors: dict[str, int] = {}
        """What opening a path fails with."""

    def add(self, name: str, path: str) -> Node:
        """Plug something in."""
        node = self.node(path)  # before anybody can look for it
        self.present[name] = path
        return node

    def node(self, path: str) -> Node:
        """The node of that path, now or when it is opened."""
        if path not in self.nodes or self.nodes[path].closed.is_set():
            self.nodes[path] = Node(path)
        return self.nodes[path]

    def open(self, path: str) -> Node:
        """Stands for the constructor of `UsbfsDevice`."""
        if path in self.errors:
            raise OSError(self.errors[path], "told to fail")
        return self.node(path)

    def close(self) -> None:
        """Close what is open, when nobody looks any more into what will be another machine."""
        for thread in threading.enumerate():
            if thread.name.startswith("port "):
                thread.join(_DEADLINE_S)
        for node in self.nodes.values():
            node.close()
