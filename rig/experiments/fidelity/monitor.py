"""What usbmon saw of a disk: transfers, and the stages of commands that they are.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rig.usb.bot_stages import Stage, StageTracker
from rig.usb.urb import Direction, TransferType, status_name

SUBMITTED, COMPLETED, REFUSED = "S", "C", "E"
"""usbmon's kinds of events (Documentation/usb/usbmon.rst)."""

_CONTROL, _BULK = 2, 3  # usbmon's numbers of transfer types; the same as usbfs's
assert (_CONTROL, _BULK) == (TransferType.CONTROL, TransferType.BULK)

_CLEAR_HALT = "02010000"
"""The beginning of CLEAR_FEATURE(ENDPOINT_HALT) (USB 2.0 §9.4.1)."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """An event of usbmon.

    Attributes:
        id: Of the URB, while it is under way.
        kind: `SUBMITTED`, `COMPLETED` or `REFUSED`.
        transfer_type: Of the URB, a `TransferType`.
        endpoint_address: With bit 7 set for IN.
        bus: The bus's number.
        device: The device's address.
        status: Of the URB.
        length_bytes: That were asked for, or have moved.
        at_us: When, since 1970.
        head: The first octets of the data, or the SETUP packet of a control transfer, in hex.
    """

    id: int
    kind: str
    transfer_type: int
    endpoint_address: int
    bus: int
    device: int
    status: int
    length_bytes: int
    at_us: int
    head: str = ""


class Told(msgspec.Struct, frozen=True):
    """What a driver was told of an URB.

    Attributes:
        status: A negative errno, or 0.
        actual_bytes: That have moved.
    """

    status: int
    actual_bytes: int

    def __str__(self) -> str:
        return f"{status_name(self.status)}, {self.actual_bytes}"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel's usbmon saw of one SCSI command and all that followed from it.

    Attributes:
        first: What was told of the first URB of data of the command that was sent first; None: no
            such URB came back.
        sent: How often the command was sent.
        halts_cleared: How often a halt was cleared.
    """

    first: Told | None = None
    sent: int = 0
    halts_cleared: int = 0


def look(records: Iterable[Record], opcode: int) -> Seen:
    """Find a command's stages among all that was on the buses.

    Devices that get no command block wrapper are no disks, and are left out.

    Args:
        records: In their order.
        opcode: Of the SCSI command.
    """
    trackers: dict[tuple[int, int], StageTracker] = {}
    watched: int | None = None
    first: Told | None = None
    sent = halts = 0
    for record in records:
        if record.transfer_type == _CONTROL and record.kind == SUBMITTED:
            halts += record.head.startswith(_CLEAR_HALT)
        if record.transfer_type != _BULK:
            continue
        if record.kind == SUBMITTED:
            direction = Direction.of(record.endpoint_address)
            tracker = trackers.setdefault((record.bus, record.device), StageTracker())
            stage = tracker.see(direction, record.length_bytes, bytes.fromhex(record.head))
            if stage.opcode == opcode:
                sent += stage.stage is Stage.COMMAND
                if stage.stage is Stage.DATA and sent == 1 and watched is None:
                    watched = record.id
        elif record.id == watched and first is None:
            moved = record.length_bytes if record.kind == COMPLETED else 0
            first = Told(record.status, moved)
    return Seen(first=first, sent=sent, halts_cleared=halts)
