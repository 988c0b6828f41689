"""usbfs: URBs and ioctls on ``/dev/bus/usb/BBB/DDD`` (``include/uapi/linux/usbdevice_fs.h``).

pyusb has no asynchronous transfers and hides flags and exact errors, which are what this project
is about; so this thin layer talks to the kernel itself.  It decides nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from rig.usb.setup import ENDPOINT_HALT, Request, RequestType
from rig.usb.urb import Speed, TransferType

_LIBC = ctypes.CDLL(None, use_errno=True)
_IOCTL = _LIBC.ioctl
_IOCTL.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]


_URB: Final = struct.Struct("@BBiIPiiiiiIP")
"""``struct usbdevfs_urb``: type, endpoint, status, flags, buffer, buffer_length, actual_length,
start_frame, number_of_packets, error_count, signr, usercontext."""

_RESULT: Final = struct.Struct("@BBiIPii")
"""Its beginning, as far as a completion fills it in."""


class _Slot:
    """Memory of one URB.  Its address is the URB's identity to the kernel, so it never moves."""

    __slots__ = ("address", "memory", "pinned", "urb_id")

    def __init__(self, memory: bytearray | None = None) -> None:
        self.memory = bytearray(_URB.size) if memory is None else memory
        # Not an array type of that length: ctypes would make one anew for every size.
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.urb_id = 0
        self.pinned: ctypes.c_char | None = None


_MAX_FREE: Final = 64
"""Slots that are kept for later URBs: as many as a window may have."""

_ZEROES: Final = (0,) * 6
"""What the kernel fills in, or does not look at."""


class _TwoUints(ctypes.Structure):
    _fields_ = (("first", ctypes.c_uint), ("second", ctypes.c_uint))


class _ControlTransfer(ctypes.Structure):
    _fields_ = (
        ("request_type", ctypes.c_uint8),
        ("request", ctypes.c_uint8),
        ("value", ctypes.c_uint16),
        ("index", ctypes.c_uint16),
        ("length", ctypes.c_uint16),
        ("timeout_ms", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
    )


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


CONTROL: Final = _ioc(_READ | _WRITE, 0, ctypes.sizeof(_ControlTransfer))
SETINTERFACE: Final = _ioc(_READ, 4, 8)
SETCONFIGURATION: Final = _ioc(_READ, 5, 4)
SUBMITURB: Final = _ioc(_READ, 10, _URB.size)
DISCARDURB: Final = _ioc(_NONE, 11, 0)
REAPURBNDELAY: Final = _ioc(_WRITE, 13, ctypes.sizeof(ctypes.c_void_p))
RELEASEINTERFACE: Final = _ioc(_READ, 16, 4)
RESET: Final = _ioc(_NONE, 20, 0)
CLEAR_HALT: Final = _ioc(_READ, 21, 4)
CLAIM_PORT: Final = _ioc(_READ, 24, 4)
DISCONNECT_CLAIM: Final = _ioc(_READ, 27, ctypes.sizeof(_DisconnectClaim))
BULK_CONTINUATION: Final = 0x04
"""``USBDEVFS_URB_BULK_CONTINUATION``: take this URB back if one before it fails."""

GET_SPEED: Final = _ioc(_NONE, 31, 0)
_CONTROL_TIMEOUT_MS: Final = 5000
"""USB_CTRL_SET_TIMEOUT of ``include/linux/usb.h``."""


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
        self._pending: dict[int, _Slot] = {}  # by address
        self._by_id: dict[int, _Slot] = {}
        self._free: list[_Slot] = []
        self._reaped = ctypes.c_void_p()
        self._reaped_before: deque[int] = deque()

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
            self._free.clear()

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
        slot = self._free.pop() if self._free else _Slot()
        slot.urb_id = urb_id
        # Keeps the buffer where it is, and alive, until the URB is reaped.
        slot.pinned = ctypes.c_char.from_buffer(buffer) if length else None
        place = ctypes.addressof(slot.pinned) if slot.pinned is not None else 0
        _URB.pack_into(
            slot.memory, 0, transfer_type, endpoint_address, 0, flags, place, length, *_ZEROES
        )
        self._ioctl(SUBMITURB, slot.address)
        self._pending[slot.address] = slot
        self._by_id[urb_id] = slot

    def discard(self, urb_id: int) -> bool:
        """Kill one URB and wait until the controller has let go of it; it still must be reaped.

        Returns:
            False if it had completed already.
        """
        slot = self._by_id.get(urb_id)
        if slot is None:
            return False
        try:
            self._ioctl(DISCARDURB, slot.address)
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
        address = self._reap_address()
        if address is None:
            return None
        slot = self._pending.pop(address)
        del self._by_id[slot.urb_id]
        slot.pinned = None
        if len(self._free) < _MAX_FREE:  # others submit, too: what they leave us is not all used
            self._free.append(slot)
        _, _, status, _, _, _, actual_bytes = _RESULT.unpack_from(slot.memory)
        return Reaped(slot.urb_id, status, actual_bytes)

    def lend(self, urb_id: int) -> bytearray:
        """Let somebody else reap a pending URB; until `take_back`.

        Returns:
            The memory that the kernel knows it by (``struct usbdevfs_urb``); its buffer, too, must
            stay where it is.
        """
        slot = self._by_id.pop(urb_id)
        del self._pending[slot.address]
        slot.pinned = None
        return slot.memory

    def take_back(self, urb_id: int, memory: bytearray, buffer: bytearray | None) -> None:
        """Take a pending URB that somebody else has submitted to this device, or was lent.

        Args:
            urb_id: As for `submit`.
            memory: Its ``struct usbdevfs_urb``.
            buffer: Where IN data go.
        """
        slot = _Slot(memory)
        slot.urb_id = urb_id
        slot.pinned = ctypes.c_char.from_buffer(buffer) if buffer else None
        self._pending[slot.address] = slot
        self._by_id[urb_id] = slot

    def reaped_before(self, addresses: Iterable[int]) -> None:
        """Let `reap` return these first: somebody else has reaped them, by their addresses."""
        self._reaped_before.extend(addresses)

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

    def set_halt(self, endpoint_address: int) -> None:
        """Have the device halt an endpoint of a claimed interface: SET_FEATURE(ENDPOINT_HALT).

        The host's side knows nothing of it until a transfer is answered with a STALL.
        """
        transfer = _ControlTransfer(
            request_type=RequestType.TO_ENDPOINT,
            request=Request.SET_FEATURE,
            value=ENDPOINT_HALT,
            index=endpoint_address,
            timeout_ms=_CONTROL_TIMEOUT_MS,
        )
        self._ioctl(CONTROL, ctypes.addressof(transfer))

    def reset(self) -> None:
        """Reset the device's port.  ENODEV if another device answered afterwards."""
        self._ioctl(RESET, 0)

    def claim_port(self, port: int) -> None:
        """On a hub's node: own a port, so that no kernel driver binds what is plugged in there.

        EBUSY if it is owned already.  Held until the node is closed.
        """
        word = ctypes.c_uint(port)
        self._ioctl(CLAIM_PORT, ctypes.addressof(word))

    def _reap_address(self) -> int | None:
        if self._reaped_before:
            return self._reaped_before.popleft()
        try:
            self._ioctl(REAPURBNDELAY, ctypes.addressof(self._reaped))
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None
            raise
        return self._reaped.value

    def _ioctl(self, request: int, argument: int) -> int:
        result = int(_IOCTL(self._fd, request, argument))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), self.path)
        return result
