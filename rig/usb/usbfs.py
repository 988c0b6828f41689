"""usbfs: URBs and ioctls on ``/dev/bus/usb/BBB/DDD`` (``include/uapi/linux/usbdevice_fs.h``).

pyusb has no asynchronous transfers and hides flags and exact errors, which are what this project
is about; so this thin layer talks to the kernel itself.  It decides nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

import msgspec

from rig.usb.urb import Speed, TransferType

_LIBC = ctypes.CDLL(None, use_errno=True)
_IOCTL = _LIBC.ioctl
_IOCTL.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]


class UrbStruct(ctypes.Structure):
    """``struct usbdevfs_urb``.  Its address is the URB's identity: it must stay where it is."""

    _fields_ = (
        ("type", ctypes.c_ubyte),
        ("endpoint", ctypes.c_ubyte),
        ("status", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("buffer", ctypes.c_void_p),
        ("buffer_length", ctypes.c_int),
        ("actual_length", ctypes.c_int),
        ("start_frame", ctypes.c_int),
        ("number_of_packets", ctypes.c_int),
        ("error_count", ctypes.c_int),
        ("signr", ctypes.c_uint),
        ("usercontext", ctypes.c_void_p),
    )


class _TwoUints(ctypes.Structure):
    _fields_ = (("first", ctypes.c_uint), ("second", ctypes.c_uint))


class _DisconnectClaim(ctypes.Structure):
    _fields_ = (
        ("interface", ctypes.c_uint),
        ("flags", ctypes.c_uint),
        ("driver", ctypes.c_char * 256),
    )


_NONE, _WRITE, _READ = 0, 1, 2


def _ioc(direction: int, number: int, size: int) -> int:
    """``_IOC`` of ``asm-generic/ioctl.h`` with the usbfs type letter."""
    return direction << 30 | size << 16 | ord("U") << 8 | number


SETINTERFACE: Final = _ioc(_READ, 4, 8)
SETCONFIGURATION: Final = _ioc(_READ, 5, 4)
SUBMITURB: Final = _ioc(_READ, 10, ctypes.sizeof(UrbStruct))
DISCARDURB: Final = _ioc(_NONE, 11, 0)
REAPURBNDELAY: Final = _ioc(_WRITE, 13, ctypes.sizeof(ctypes.c_void_p))
RELEASEINTERFACE: Final = _ioc(_READ, 16, 4)
RESET: Final = _ioc(_NONE, 20, 0)
CLEAR_HALT: Final = _ioc(_READ, 21, 4)
CLAIM_PORT: Final = _ioc(_READ, 24, 4)
DISCONNECT_CLAIM: Final = _ioc(_READ, 27, ctypes.sizeof(_DisconnectClaim))
GET_SPEED: Final = _ioc(_NONE, 31, 0)


class Reaped(msgspec.Struct, frozen=True):
    """A completed URB, with its number, its negative errno or 0, and its true length."""

    urb_id: int
    status: int
    actual_bytes: int


class UsbfsDevice:
    """An open usbfs node.

    All ioctls raise `OSError` with the kernel's errno.  Completions make the descriptor *writable*
    (``POLLOUT``) to ``poll``, and the device's end is a hang-up (``POLLHUP``).

    Args:
        path: ``/dev/bus/usb/BBB/DDD``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._pending: dict[int, tuple[int, UrbStruct, object]] = {}
        self._by_id: dict[int, UrbStruct] = {}
        self._reaped = ctypes.c_void_p()

    def fileno(self) -> int:
        """The descriptor, for poll."""
        return self._fd

    def close(self) -> None:
        """Close; the kernel kills all URBs and releases interfaces and ports."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._pending.clear()
            self._by_id.clear()

    def descriptors(self) -> bytes:
        """Return the device descriptor and all configurations, as usbfs keeps them."""
        return os.pread(self._fd, 1 << 16, 0)

    def speed(self) -> Speed:
        """Return the speed at which the device runs."""
        return Speed(self._ioctl(GET_SPEED, 0))

    def submit(
        self,
        urb_id: int,
        transfer_type: TransferType,
        endpoint_address: int,
        flags: int,
        buffer: memoryview | bytearray,
    ) -> None:
        """Queue one URB.

        Args:
            urb_id: Returned by `reap`; unique among the pending ones.
            transfer_type: Not isochronous.
            endpoint_address: With bit 7 for IN; for control only the endpoint's number counts.
            flags: ``USBDEVFS_URB_*``.
            buffer: Writable.  For control transfers the SETUP packet and then the data.  IN data
                appear here when the URB is *reaped*; until then the buffer must not be resized.
        """
        length = len(buffer)
        pinned = (ctypes.c_char * length).from_buffer(buffer) if length else None
        urb = UrbStruct(
            type=transfer_type,
            endpoint=endpoint_address,
            flags=flags,
            buffer=ctypes.addressof(pinned) if pinned is not None else None,
            buffer_length=length,
        )
        address = ctypes.addressof(urb)
        self._ioctl(SUBMITURB, address)
        self._pending[address] = (urb_id, urb, pinned)
        self._by_id[urb_id] = urb

    def discard(self, urb_id: int) -> bool:
        """Kill one URB and wait until the controller has let go of it; it still must be reaped.

        Returns:
            False if it had completed already.
        """
        urb = self._by_id.get(urb_id)
        if urb is None:
            return False
        try:
            self._ioctl(DISCARDURB, ctypes.addressof(urb))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENODEV):
                return False
            raise
        return True

    def reap(self) -> Reaped | None:
        """Return one completed URB, in the order of completion, or None if there is none.

        Raises:
            OSError: ENODEV when the device is gone and nothing is left to reap.
        """
        try:
            self._ioctl(REAPURBNDELAY, ctypes.addressof(self._reaped))
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None
            raise
        address = self._reaped.value
        assert address is not None
        urb_id, urb, _ = self._pending.pop(address)
        del self._by_id[urb_id]
        return Reaped(urb_id, urb.status, urb.actual_length)

    def claim_interface(self, number: int) -> None:
        """Claim an interface, unbinding a kernel driver that has it."""
        claim = _DisconnectClaim(interface=number)
        self._ioctl(DISCONNECT_CLAIM, ctypes.addressof(claim))

    def release_interface(self, number: int) -> None:
        """Release an interface; unknown to us or to the kernel is no error."""
        value = ctypes.c_uint(number)
        try:
            self._ioctl(RELEASEINTERFACE, ctypes.addressof(value))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
                raise

    def set_configuration(self, value: int) -> None:
        """Choose a configuration.  EBUSY if any interface is claimed, even by ourselves."""
        # -1 unconfigures: 0 is a configuration's value to the kernel (usb_set_configuration).
        word = ctypes.c_int(value or -1)
        self._ioctl(SETCONFIGURATION, ctypes.addressof(word))

    def set_interface(self, interface: int, alternate: int) -> None:
        """Choose an alternate setting of a claimed interface; kills its URBs."""
        words = _TwoUints(interface, alternate)
        self._ioctl(SETINTERFACE, ctypes.addressof(words))

    def clear_halt(self, endpoint_address: int) -> None:
        """Clear a halted endpoint and its data toggle on both sides."""
        word = ctypes.c_uint(endpoint_address)
        self._ioctl(CLEAR_HALT, ctypes.addressof(word))

    def reset(self) -> None:
        """Reset the device's port.  ENODEV if another device answered afterwards."""
        self._ioctl(RESET, 0)

    def claim_port(self, port: int) -> None:
        """On a hub's node: own a port, so that no kernel driver binds what is plugged in there.

        EBUSY if it is owned already.  Held until the node is closed.
        """
        word = ctypes.c_uint(port)
        self._ioctl(CLAIM_PORT, ctypes.addressof(word))

    def _ioctl(self, request: int, argument: int) -> int:
        result = int(_IOCTL(self._fd, request, argument))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), self.path)
        return result
