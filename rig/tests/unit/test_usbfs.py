"""What is given to the kernel, octet by octet: the numbers of usbfs's ioctls and their arguments.

The kernel's side is a function in the place of ``ioctl``; rig/tests/vm has the real one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.usb import usbfs
from rig.usb.urb import Speed, TransferType
from rig.usb.usbfs import Reaped, UsbfsDevice

URB = struct.Struct("@BBiIPiiiiiIP")  # struct usbdevfs_urb, include/uapi/linux/usbdevice_fs.h


class Kernel:
    """Stands for ``ioctl``: notes the calls, and answers as it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bytes]] = []
        self.errors: dict[int, int] = {}
        self.results: dict[int, int] = {}
        self.submitted: list[int] = []
        self.done: list[int] = []
        self.handlers: dict[int, Callable[[int], int]] = {
            usbfs.SUBMITURB: self._submit,
            usbfs.REAPURBNDELAY: self._reap,
        }

    def ioctl(self, _: int, request: int, argument: int) -> int:
        size = request >> 16 & 0x3FFF
        pointed = size and request not in (usbfs.SUBMITURB, usbfs.REAPURBNDELAY)
        self.calls.append((request, ctypes.string_at(argument, size) if pointed else b""))
        if request in self.errors:
            return self._fail(self.errors[request])
        handler = self.handlers.get(request)
        return handler(argument) if handler else self.results.get(request, 0)

    def urb(self, index: int) -> tuple[int, ...]:
        """The fields of an URB that was submitted."""
        return URB.unpack(ctypes.string_at(self.submitted[index], URB.size))

    def complete(self, index: int, status: int, actual_bytes: int) -> None:
        """Let an URB end."""
        address = self.submitted[index]
        fields = list(URB.unpack(ctypes.string_at(address, URB.size)))
        fields[2], fields[6] = status, actual_bytes
        ctypes.memmove(address, URB.pack(*fields), URB.size)
        self.done.append(address)

    def _submit(self, address: int) -> int:
        self.submitted.append(address)
        return 0

    def _reap(self, where: int) -> int:
        if not self.done:
            return self._fail(errno.EAGAIN)
        ctypes.memmove(where, struct.pack("@P", self.done.pop(0)), struct.calcsize("@P"))
        return 0

    @staticmethod
    def _fail(number: int) -> int:
        ctypes.set_errno(number)
        return -1


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    one = Kernel()
    monkeypatch.setattr(usbfs, "_IOCTL", one.ioctl)
    return one


@pytest.fixture
def device(kernel: Kernel, tmp_path: Path) -> Iterator[UsbfsDevice]:
    path = tmp_path / "002"
    path.write_bytes(b"descriptors")
    one = UsbfsDevice(str(path))
    yield one
    one.close()


@pytest.mark.parametrize(
    ("name", "number"),
    [  # on 64-bit machines, from the header's _IO macros
        ("CONTROL", 0xC0185500),
        ("SETINTERFACE", 0x80085504),
        ("SETCONFIGURATION", 0x80045505),
        ("SUBMITURB", 0x8038550A),
        ("DISCARDURB", 0x0000550B),
        ("REAPURBNDELAY", 0x4008550D),
        ("RELEASEINTERFACE", 0x80045510),
        ("RESET", 0x00005514),
        ("CLEAR_HALT", 0x80045515),
        ("CLAIM_PORT", 0x80045518),
        ("DISCONNECT_CLAIM", 0x8108551B),
        ("GET_SPEED", 0x0000551F),
        ("BULK_CONTINUATION", 0x04),
    ],
)
def test_the_numbers_are_the_kernels(name: str, number: int) -> None:
    assert getattr(usbfs, name) == number


def test_an_urb_is_given_to_the_kernel_with_its_buffer_in_place(
    device: UsbfsDevice, kernel: Kernel
) -> None:
    buffer = bytearray(b"data")
    device.submit(7, TransferType.BULK, 0x81, usbfs.BULK_CONTINUATION, buffer)
    place = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    assert kernel.urb(0) == (3, 0x81, 0, 4, place, 4, 0, 0, 0, 0, 0, 0)


def test_an_urb_without_data_has_no_buffer(device: UsbfsDevice, kernel: Kernel) -> None:
    device.submit(7, TransferType.BULK, 0x01, 0, bytearray())
    assert kernel.urb(0)[4:6] == (0, 0)


def test_urbs_come_back_by_their_numbers_in_the_order_in_which_they_ended(
    device: UsbfsDevice, kernel: Kernel
) -> None:
    for number in (7, 8):
        device.submit(number, TransferType.BULK, 0x81, 0, bytearray(4))
    assert device.reap() is None
    kernel.complete(1, 0, 4)
    kernel.complete(0, -errno.EPROTO, 2)
    assert [device.reap(), device.reap()] == [Reaped(8, 0, 4), Reaped(7, -errno.EPROTO, 2)]
    assert device.reap() is None


def test_the_memory_of_an_urb_that_came_back_serves_the_next(
    device: UsbfsDevice, kernel: Kernel
) -> None:
    for number in range(3):
        device.submit(number, TransferType.BULK, 0x81, 0, bytearray(4))
        kernel.complete(number, 0, 4)
        assert device.reap() == Reaped(number, 0, 4)
    assert len(set(kernel.submitted)) == 1
    assert kernel.urb(2)[2] == 0


def test_an_urb_that_is_in_the_kernel_keeps_its_buffer(device: UsbfsDevice, kernel: Kernel) -> None:
    buffer = bytearray(4)
    device.submit(1, TransferType.BULK, 0x81, 0, buffer)
    with pytest.raises(BufferError):
        buffer.clear()
    kernel.complete(0, 0, 4)
    device.reap()
    buffer.clear()


def test_a_refused_urb_is_not_kept(device: UsbfsDevice, kernel: Kernel) -> None:
    kernel.errors[usbfs.SUBMITURB] = errno.ENOMEM
    with pytest.raises(OSError, match="Cannot allocate memory"):
        device.submit(1, TransferType.BULK, 0x81, 0, bytearray(4))
    assert not device.discard(1)


@pytest.mark.parametrize(
    ("error", "discarded"), [(0, True), (errno.EINVAL, False), (errno.ENODEV, False)]
)
def test_discard_tells_whether_the_urb_was_still_there(
    device: UsbfsDevice, kernel: Kernel, error: int, discarded: bool
) -> None:
    device.submit(1, TransferType.BULK, 0x81, 0, bytearray(4))
    if error:
        kernel.errors[usbfs.DISCARDURB] = error
    assert device.discard(1) is discarded
    assert kernel.calls[-1][0] == usbfs.DISCARDURB


def test_other_errors_of_discard_and_reap_are_raised(device: UsbfsDevice, kernel: Kernel) -> None:
    device.submit(1, TransferType.BULK, 0x81, 0, bytearray(4))
    kernel.errors = {usbfs.DISCARDURB: errno.EIO, usbfs.REAPURBNDELAY: errno.ENODEV}
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        device.discard(1)
    with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
        device.reap()


@pytest.mark.parametrize(
    ("ask", "request_number", "argument"),
    [
        (lambda d: d.set_configuration(2), usbfs.SETCONFIGURATION, struct.pack("@i", 2)),
        (lambda d: d.set_configuration(0), usbfs.SETCONFIGURATION, struct.pack("@i", -1)),
        (lambda d: d.set_interface(3, 1), usbfs.SETINTERFACE, struct.pack("@II", 3, 1)),
        (lambda d: d.clear_halt(0x81), usbfs.CLEAR_HALT, struct.pack("@I", 0x81)),
        (
            lambda d: d.set_halt(0x81),
            usbfs.CONTROL,
            struct.pack("@BBHHHIP", 0x02, 0x03, 0, 0x81, 0, 5000, 0),
        ),
        (lambda d: d.release_interface(3), usbfs.RELEASEINTERFACE, struct.pack("@I", 3)),
        (lambda d: d.claim_interface(3), usbfs.DISCONNECT_CLAIM, struct.pack("@II256x", 3, 0)),
        (lambda d: d.claim_port(4), usbfs.CLAIM_PORT, struct.pack("@I", 4)),
        (lambda d: d.reset(), usbfs.RESET, b""),
    ],
)
def test_other_requests_have_the_arguments_that_the_kernel_reads(
    device: UsbfsDevice,
    kernel: Kernel,
    ask: Callable[[UsbfsDevice], None],
    request_number: int,
    argument: bytes,
) -> None:
    ask(device)
    assert kernel.calls == [(request_number, argument)]


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOENT, errno.ENODEV])
def test_to_release_an_interface_that_is_not_ours_is_no_error(
    device: UsbfsDevice, kernel: Kernel, error: int
) -> None:
    kernel.errors[usbfs.RELEASEINTERFACE] = error
    device.release_interface(0)


def test_to_release_an_interface_may_fail(device: UsbfsDevice, kernel: Kernel) -> None:
    kernel.errors[usbfs.RELEASEINTERFACE] = errno.EIO
    with pytest.raises(OSError, match="002"):
        device.release_interface(0)


def test_the_speed_is_the_kernels(device: UsbfsDevice, kernel: Kernel) -> None:
    kernel.results[usbfs.GET_SPEED] = 5
    assert device.speed() is Speed.SUPER


def test_the_descriptors_are_the_nodes_octets(device: UsbfsDevice) -> None:
    assert device.descriptors() == b"descriptors"


def test_closing_twice_is_no_error(device: UsbfsDevice) -> None:
    descriptor = device.fileno()
    device.close()
    device.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_node_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        UsbfsDevice(str(tmp_path / "099"))
