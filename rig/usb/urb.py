"""The words of an URB: direction, transfer type, speed, flags, status.

Values are the kernel's own, so that nothing is translated on the way: transfer types as in
``include/uapi/linux/usbdevice_fs.h``, speeds as in ``include/uapi/linux/usb/ch9.h``, flags as they
stand in a USB/IP header (``drivers/usb/usbip/usbip_common.h``).
"""

from __future__ import annotations

import errno
from enum import IntEnum, IntFlag, StrEnum

DIRECTION_IN = 0x80
"""Bit 7 of an endpoint address (USB 2.0 §9.6.6): data goes from the device to the host."""

CONTROL_ENDPOINT = 0x00
"""The default control pipe.  It is one queue, whichever way a transfer's data stage goes."""

MAX_TRANSFER_BYTES = 4 << 20
"""The largest transfer carried: the most that usbfs takes for one bulk URB without a
scatter-gather list (one ``kmalloc``)."""


class Direction(StrEnum):
    """Which way the data stage goes, seen from the host."""

    OUT = "out"
    IN = "in"

    @classmethod
    def of(cls, endpoint_address: int) -> Direction:
        """Return the direction that an endpoint address names."""
        return cls.IN if endpoint_address & DIRECTION_IN else cls.OUT


class TransferType(IntEnum):
    """``USBDEVFS_URB_TYPE_*``."""

    ISOCHRONOUS = 0
    INTERRUPT = 1
    CONTROL = 2
    BULK = 3


class Speed(IntEnum):
    """``enum usb_device_speed``; also what ``USBDEVFS_GET_SPEED`` returns."""

    UNKNOWN = 0
    LOW = 1
    FULL = 2
    HIGH = 3
    WIRELESS = 4
    SUPER = 5
    SUPER_PLUS = 6


class TransferFlags(IntFlag):
    """The URB flags that mean something on the other machine."""

    NONE = 0
    SHORT_NOT_OK = 0x01
    ZERO_PACKET = 0x40


def status_name(status: int) -> str:
    """Return ``-EPROTO`` for -71, ``0`` for 0, and the number for what has no name."""
    if status == 0:
        return "0"
    return "-" + errno.errorcode.get(-status, str(-status))


def stops_endpoint(transfer_type: TransferType, status: int) -> bool:
    """Tell whether Linux promises that the endpoint's queue stops after this completion.

    From the kerneldoc of ``usb_unlink_urb`` (``drivers/usb/core/urb.c``): bulk and interrupt queues
    stop on any error, a short read with SHORT_NOT_OK included; control queues stop too, except for
    that short read; isochronous queues never stop.
    """
    if status == 0 or transfer_type is TransferType.ISOCHRONOUS:
        return False
    return not (transfer_type is TransferType.CONTROL and status == -errno.EREMOTEIO)
