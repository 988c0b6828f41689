"""The link through memory that both machines share: a stream beside a connection that wakes.

The octets go through two rings (`rig.splitdriver.transport.ring`) in a *window*: memory that both
machines have mapped, as QEMU's ivshmem device gives it to two guests.  The connection remains.  It
carries one octet where one end sleeps and is to look, and its end is the link's end.

Both ends must be told to use it.  At the beginning the front end writes a number into the window
and says it on the connection; the back end finds it there, clears the rings and answers with it.
So two ends that do not see the same window find out.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from rig.errors import RemoteProtocolError, UserError
from rig.splitdriver.messages import Payload, Role
from rig.splitdriver.transport.link import Stream
from rig.splitdriver.transport.ring import Ring

PCI_DEVICES = Path("/sys/bus/pci/devices")
_IVSHMEM = ("0x1af4", "0x1110")  # docs/specs/ivshmem-spec.txt of QEMU
_MEMORY_BAR = "resource2"

GREETING = struct.Struct("<4sQ")
MAGIC = b"RIGM"
"""No frame begins so: it would be 1.4 GB long."""
_TOKEN_AT, _RINGS_AT = 0, 4096
_BELL = b"\0"
MIN_WINDOW_BYTES = 1 << 16


class Window:
    """Mapped memory that another machine has mapped, too.

    Args:
        where: A file, or ``pci`` for the memory of the machine's ivshmem device.

    Raises:
        UserError: It cannot be mapped.
    """

    def __init__(self, where: str) -> None:
        path = _ivshmem() if where == "pci" else Path(where)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"Shared memory {path} cannot be used: {error.strerror}.") from error
        with contextlib.closing(os.fdopen(descriptor, "r+b", buffering=0)) as file:
            size = os.fstat(descriptor).st_size
            if size < MIN_WINDOW_BYTES:
                raise UserError(f"Shared memory {path} has {size} octets, too few.")
            self.memory = memoryview(mmap.mmap(file.fileno(), size))


def _ivshmem() -> Path:
    for device in sorted(PCI_DEVICES.glob("*")):
        names = ((device / name).read_text().strip() for name in ("vendor", "device"))
        if tuple(names) == _IVSHMEM:
            # No driver binds it, so nobody has enabled its memory.
            (device / "enable").write_text("1")
            return device / _MEMORY_BAR
    raise UserError(
        "This machine has no ivshmem device.",
        hint="Give both guests one of QEMU, ivshmem-plain, or leave --shared-memory out.",
    )


class SharedStream:
    """Implements `rig.splitdriver.transport.link.Stream`.

    Args:
        bell: The connection.
        window: The memory.
        role: Ours.
    """

    rings = True
    """It says by its descriptor's being readable, and never writable, that it takes more."""

    def __init__(self, bell: Stream, window: Window, role: Role) -> None:
        self._bell = bell
        self._token = window.memory[_TOKEN_AT : _TOKEN_AT + 8].cast("Q")
        size = (len(window.memory) - _RINGS_AT) // 2 & ~63
        rings = [
            Ring(window.memory[_RINGS_AT + n * size : _RINGS_AT + (n + 1) * size]) for n in (0, 1)
        ]
        self._out, self._in = rings if role is Role.FRONT else reversed(rings)
        self._role = role
        self._scratch = memoryview(bytearray(256))
        self._greeting = b""
        self._paired = False
        if role is Role.FRONT:
            self._number = secrets.randbits(64)
            self._token[0] = self._number
            self._bell.sendmsg([GREETING.pack(MAGIC, self._number)])

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return self._bell.fileno()

    def recv_into(self, buffer: memoryview) -> int:
        """See `Stream.recv_into`."""
        if not (self._paired and self._in.readable):
            count = self._listen()
            if count == 0:
                return 0
            if not (self._paired and self._in.readable):
                raise BlockingIOError
        try:
            count = self._in.read_into(buffer)
        except ValueError as error:
            raise RemoteProtocolError(f"The shared memory holds nonsense: {error}.") from error
        if self._in.wake_writer():
            self._ring()
        return count

    def sendmsg(self, parts: Iterable[Payload]) -> int:
        """See `Stream.sendmsg`."""
        if not self._paired:
            raise BlockingIOError
        count = self._out.write(parts)
        if self._out.wake_reader():
            self._ring()
        if count == 0 and self._out.await_room():
            raise BlockingIOError
        return count

    def close(self) -> None:
        """Close the connection."""
        self._bell.close()

    # What the reactor asks that looks at it without waiting (`rig.reactor.Polled`).

    def pending(self) -> bool:
        """Whether there is something to read."""
        return self._paired and self._in.readable

    def rest(self) -> bool:
        """Ask to be woken; false if there is something to read already."""
        return not self._paired or self._in.sleep()

    def rise(self) -> None:
        """Nobody need wake us."""
        if self._paired:
            self._in.rise()

    def _ring(self) -> None:
        # A bell that cannot be sent now is one among many that the other end has not heard yet.
        with contextlib.suppress(BlockingIOError):
            self._bell.sendmsg([_BELL])

    def _listen(self) -> int:
        """Take bells, or the greeting; return 0 at the end of the connection."""
        try:
            count = self._bell.recv_into(self._scratch)
        except BlockingIOError:
            return -1
        if count and not self._paired:
            self._meet(bytes(self._scratch[:count]))
        return count

    def _meet(self, octets: bytes) -> None:
        self._greeting += octets
        if len(self._greeting) < GREETING.size:
            return
        magic, number = GREETING.unpack_from(self._greeting)
        if magic != MAGIC:
            raise RemoteProtocolError(
                "The other end does not speak through shared memory, as this one does.",
                hint="Start both with --shared-memory, or both without.",
            )
        if number != self._token[0]:
            raise RemoteProtocolError("The two ends do not share the memory that they were given.")
        if self._role is Role.BACK:
            self._in.clear()
            self._out.clear()
            self._bell.sendmsg([GREETING.pack(MAGIC, number)])
        self._paired = True


Through = Callable[[Stream], Stream]
"""Makes of a connection the stream that frames travel on."""


def directly(stream: Stream) -> Stream:
    """Have frames travel on the connection itself."""
    return stream


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of both daemons."""
    parser.add_argument(
        "--shared-memory",
        metavar="FILE",
        help="let frames travel through memory that both machines share, and the connection only"
        " wake: a file, or 'pci' for QEMU's ivshmem device; both ends need it",
    )


def from_options(options: argparse.Namespace, role: Role) -> Through:
    """Return what the option asks for.

    Raises:
        UserError: The memory cannot be used.
    """
    if options.shared_memory is None:
        return directly
    window = Window(options.shared_memory)
    return lambda stream: SharedStream(stream, window, role)
