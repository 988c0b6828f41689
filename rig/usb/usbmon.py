"""usbmon's events as events of a log of URBs (Documentation/usb/usbmon.rst).  Pure.

usbmon sees what a host controller's driver is given and gives back, whoever submits it: a log where
there is no split driver of ours that could keep one.  It tells bulk URBs alone, those of disks.
"""

from __future__ import annotations

import struct

import msgspec
from msgspec.structs import replace

from rig.usb.urb import DIRECTION_IN, TransferType
from rig.usb.urblog import Kind, Place, UrbEvent, Wrapped, command_of

PACKET = struct.Struct("=QcBBBHbbqiiII")
"""The beginning of ``struct usbmon_packet``: id, type, xfer_type, epnum, devnum, busnum,
flag_setup, flag_data, ts_sec, ts_usec, status, length, len_cap."""
PACKET_BYTES = 64
NS_PER_S = 1_000_000_000


class _Running(msgspec.Struct, frozen=True):
    urb: int
    device: int
    endpoint: int


class Translator:
    """Gives URBs numbers, in the order of their submission: usbmon's tags are used again.

    One that is submitted runs at once, as far as usbmon knows, and what has ended is given back: so
    each event of usbmon is two of a log's.  A device is its bus's number times 65536 plus its
    address.  Data are not digested: usbmon has not all of them.
    """

    def __init__(self) -> None:
        self._count = 0
        self._running: dict[int, _Running] = {}

    def take(self, packet: bytes, data: bytes) -> list[UrbEvent]:
        """Take what usbmon tells.

        Args:
            packet: The `PACKET_BYTES` of ``struct usbmon_packet``.
            data: What there is of the URB's data; a command block wrapper is whole.
        """
        tag, kind, transfer, endpoint, address, bus, *_, s, us, status, length, _ = PACKET.unpack(
            packet[: PACKET.size]
        )
        if transfer != TransferType.BULK:
            return []
        t_ns = s * NS_PER_S + us * 1000
        if kind == b"S":
            self._count += 1
            urb = self._running[tag] = _Running(self._count, bus << 16 | address, endpoint)
            out = not endpoint & DIRECTION_IN
            # Only what is as long as a wrapper was captured whole, and can be one.
            told = command_of(data) if out and length == len(data) else Wrapped()
            begun = _event(Kind.SUBMIT, urb, t_ns, length)
            begun = replace(begun, opcode=told.opcode, lba=told.lba)
            return [begun, replace(begun, kind=Kind.START)]
        known = self._running.pop(tag, None)
        if known is None:  # submitted before the log began
            return []
        ended = _event(Kind.END, known, t_ns, length if kind == b"C" else 0)
        ended = replace(ended, status=status)
        return [ended, replace(ended, kind=Kind.GIVEBACK)]


def _event(kind: Kind, urb: _Running, t_ns: int, length_bytes: int) -> UrbEvent:
    return UrbEvent(
        kind,
        Place.BACK,
        urb.device,
        urb.urb,
        urb.endpoint,
        length_bytes=length_bytes,
        t_ns=t_ns,
    )
