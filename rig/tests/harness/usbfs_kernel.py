"""The kernel's side of one node of usbfs, below the ioctls: for what goes there itself, in C.

It reads and writes the memory that it is given the addresses of, as the kernel does: OUT data when
an URB is submitted, IN data when it is reaped.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from dataclasses import dataclass

from rig.tests.harness.fake_usbfs import DESCRIPTORS, DEVICE
from rig.usb import usbfs
from rig.usb.urb import DIRECTION_IN, Speed, TransferType
from rig.usb.usbfs import UsbfsDevice

_URB = struct.Struct("@BBiIPiiiiiIP")
_POINTER = struct.Struct("@P")
_STATUS, _ACTUAL = 4, 28
"""Offsets in ``struct usbdevfs_urb`` of what the kernel fills in."""
_SETUP_BYTES = 8
_PIPE_BYTES = 4096


@dataclass
class Submitted:
    """An URB that the controller has, or had."""

    address: int
    kind: int
    endpoint: int
    flags: int
    buffer: int
    length: int
    data: bytes
    """OUT data."""
    answer: bytes = b""
    """IN data, once it has ended."""
    status: int = 0
    actual_bytes: int = 0

    @property
    def is_in(self) -> bool:
        return bool(self.endpoint & DIRECTION_IN)

    @property
    def room(self) -> int:
        """Octets that can move."""
        return self.length - (_SETUP_BYTES if self.kind == TransferType.CONTROL else 0)


class UsbfsKernel:
    """Stands for ``ioctl`` on one node; its descriptor is writable when something can be reaped."""

    def __init__(self) -> None:
        self.running: list[Submitted] = []
        self.log: list[tuple[int, int, int, bytes]] = []
        """Of all that was submitted the endpoint, the flags, the length, and OUT data."""
        self.refused: set[int] = set()
        """Endpoints for whose URBs there is no memory."""
        self.gone = False
        self._ended: list[Submitted] = []
        self._reader, self.descriptor = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.write(self.descriptor, bytes(_PIPE_BYTES))

    # What a test does.

    def end(self, urb: Submitted, status: int = 0, answer: bytes = b"", moved: int = 0) -> None:
        """Let an URB end.

        Args:
            urb: One that runs.
            status: 0 or a negative errno.
            answer: What an IN endpoint sent.
            moved: Of an OUT endpoint's data.
        """
        assert max(len(answer), moved) <= urb.room
        self.running.remove(urb)
        urb.status, urb.answer = status, answer
        urb.actual_bytes = len(answer) if urb.is_in else moved
        if not self._ended:
            os.read(self._reader, _PIPE_BYTES)
        self._ended.append(urb)

    def close(self) -> None:
        """Close both ends."""
        os.close(self._reader)
        os.close(self.descriptor)

    # What the kernel does.

    def ioctl(self, descriptor: int, request: int, argument: int) -> int:
        """Return the result, or a negative errno."""
        if request == usbfs.SUBMITURB:
            return self._submit(argument)
        if request == usbfs.REAPURBNDELAY:
            return self._reap(argument)
        if request == usbfs.DISCARDURB:
            return self._discard(argument)
        return 0

    def _submit(self, address: int) -> int:
        kind, endpoint, status, flags, buffer, length, actual, *_ = _URB.unpack(
            ctypes.string_at(address, _URB.size)
        )
        assert (status, actual) == (0, 0)
        if endpoint in self.refused:
            return -errno.ENOMEM
        known = [urb.address for urb in self.running + self._ended]
        assert address not in known, "the memory of an URB was used for another"
        is_in = endpoint & DIRECTION_IN
        if kind == TransferType.CONTROL:
            is_in = ctypes.string_at(buffer, 1)[0] & DIRECTION_IN
        data = b"" if is_in else ctypes.string_at(buffer, length)
        self.running.append(Submitted(address, kind, endpoint, flags, buffer, length, data))
        self.log.append((endpoint, flags, length, data))
        return 0

    def _reap(self, where: int) -> int:
        if not self._ended:
            return -errno.ENODEV if self.gone else -errno.EAGAIN
        urb = self._ended.pop(0)
        if not self._ended:
            os.write(self.descriptor, bytes(_PIPE_BYTES))
        endpoint, buffer = _URB.unpack(ctypes.string_at(urb.address, _URB.size))[1:5:3]
        assert (endpoint, buffer) == (urb.endpoint, urb.buffer), "an URB moved while it ran"
        if urb.is_in and urb.answer:
            skip = _SETUP_BYTES if urb.kind == TransferType.CONTROL else 0
            ctypes.memmove(urb.buffer + skip, urb.answer, len(urb.answer))
        ctypes.memmove(urb.address + _STATUS, struct.pack("@i", urb.status), 4)
        ctypes.memmove(urb.address + _ACTUAL, struct.pack("@i", urb.actual_bytes), 4)
        ctypes.memmove(where, _POINTER.pack(urb.address), _POINTER.size)
        return 0

    def _discard(self, address: int) -> int:
        urb = next((urb for urb in self.running if urb.address == address), None)
        if urb is None:
            return -errno.EINVAL
        self.end(urb, -errno.ENOENT)
        return 0


class ModelDevice(UsbfsDevice):
    """A node of usbfs with that kernel behind it.

    Args:
        kernel: The kernel.
        path: Its name.
    """

    def __init__(self, kernel: UsbfsKernel, path: str = DEVICE) -> None:
        super().__init__("/dev/null")
        self.path = path
        self._kernel = kernel
        os.dup2(kernel.descriptor, self._fd)

    def descriptors(self) -> bytes:
        return DESCRIPTORS

    def speed(self) -> Speed:
        return Speed.HIGH

    def _ioctl(self, request: int, argument: int) -> int:
        result = self._kernel.ioctl(self._fd, request, argument)
        if result < 0:
            raise OSError(-result, os.strerror(-result), self.path)
        return result
