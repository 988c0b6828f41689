"""The hidden device: what the front end's kernel sees on the port beside the mapped one.  Pure.

It exists to be asked for nothing: a vendor request to it, queued through usbfs, takes a number
among all that ``vhci_hcd`` queues on that root hub, and so shows when everything before it has
come (`rig.splitdriver.order`).  On the mapped device itself such a request could wait for a lock
that is held until we let that device go on.

It has a vendor class and no endpoints, so no driver binds it.
"""

from __future__ import annotations

import errno
import struct

from rig.usb.setup import Request, SetupPacket

BARRIER = SetupPacket(0x40, 0x01, 0, 0, 0)
"""The request that stands for nothing: vendor, device, host to device, no data (USB 2.0 §9.3)."""

VENDOR_ID, PRODUCT_ID = 0x1209, 0x0001
"""pid.codes' number for what is never sold."""

_DEVICE, _CONFIGURATION, _STRING, _BOS = 1, 2, 3, 15  # USB 2.0 table 9-5, USB 3.2 table 9-6
_STRINGS = ("", "rig", "fence of the split driver")
_ENGLISH = 0x0409
_VENDOR_CLASS = 0xFF
_SELF_POWERED = 0xC0

_BOS_DESCRIPTOR = struct.pack("<BBHB", 5, _BOS, 5, 0)
_CONFIGURATION_DESCRIPTOR = struct.pack(
    "<BBHBBBBB", 9, _CONFIGURATION, 18, 1, 1, 0, _SELF_POWERED, 0
) + struct.pack("<BBBBBBBBB", 9, 4, 0, 0, 0, _VENDOR_CLASS, 0, 0, 0)


def is_set_configuration(setup: SetupPacket) -> bool:
    """Whether the kernel configures the device, the last it does before the device is there."""
    return setup.request_type == 0 and setup.request == Request.SET_CONFIGURATION


def answer(setup: SetupPacket, *, super_speed: bool) -> tuple[int, bytes]:
    """Answer a control request.

    Returns:
        0 and the data of an IN request; -EPIPE, which is a STALL, for what the device does not
        know.
    """
    if setup.request_type == 0x80 and setup.request == Request.GET_DESCRIPTOR:
        data = _descriptor(setup.value >> 8, setup.value & 0xFF, super_speed=super_speed)
        return (-errno.EPIPE, b"") if data is None else (0, data[: setup.length])
    if setup.request_type == 0x80 and setup.request == Request.GET_STATUS:
        return 0, b"\x01\x00"[: setup.length]  # self-powered
    if setup == BARRIER or (setup.request_type == 0 and setup.length == 0):
        return 0, b""
    return -errno.EPIPE, b""


def _descriptor(kind: int, index: int, *, super_speed: bool) -> bytes | None:
    match kind:
        case 1:
            # bMaxPacketSize0 is an exponent on SuperSpeed (USB 3.2 §9.6.1).
            version, packet = (0x0300, 9) if super_speed else (0x0200, 64)
            head = (18, _DEVICE, version, _VENDOR_CLASS, 0, 0, packet)
            return struct.pack("<BBHBBBBHHHBBBB", *head, VENDOR_ID, PRODUCT_ID, 0x0100, 1, 2, 0, 1)
        case 2:
            return _CONFIGURATION_DESCRIPTOR
        case 3 if index == 0:
            return struct.pack("<BBH", 4, _STRING, _ENGLISH)
        case 3 if index < len(_STRINGS):
            text = _STRINGS[index].encode("utf-16-le")
            return struct.pack("<BB", 2 + len(text), _STRING) + text
        case 15 if super_speed:
            return _BOS_DESCRIPTOR
        case _:
            return None
