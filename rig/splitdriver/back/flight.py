"""URBs of a device that the kernel has, and what is told of their ends."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rig.splitdriver.lane import LentUrb
from rig.splitdriver.messages import Payload, Submit
from rig.splitdriver.porthook import Altered
from rig.usb.setup import SETUP_BYTES
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN, TransferType
from rig.usb.usbfs import UsbfsDevice

_NO_SETUP = bytes(SETUP_BYTES)


class Completion(msgspec.Struct, frozen=True):
    """An URB has ended; `data` is its IN data."""

    urb_id: int
    status: int
    actual_bytes: int
    data: Payload = b""


class Configured(msgspec.Struct, frozen=True):
    """The device's endpoints are others now: their transfer types by address, but endpoint 0's."""

    kinds: Mapping[int, TransferType]


class ResetEnded(msgspec.Struct, frozen=True):
    """A port reset has ended, with 0 or a negative errno."""

    status: int


Ended = Completion | Configured | ResetEnded


class Flight(msgspec.Struct):
    """An URB with its buffer.

    Attributes:
        urb: The URB.
        buffer: The one that usbfs uses in place.
        altered: What the fault plan does to it, if anything.
    """

    urb: Submit
    buffer: memoryview
    altered: Altered | None = None


def prepared(urb: Submit, kind: TransferType) -> Flight:
    """Return an URB with its buffer: OUT data as received, or room for IN data."""
    is_in = bool(urb.endpoint_address & DIRECTION_IN)
    if kind is TransferType.CONTROL:
        # usbfs wants the SETUP packet before the data.
        data = bytes(urb.buffer_bytes) if is_in else urb.data
        return Flight(urb, memoryview(bytearray(urb.setup + data)))
    if is_in:
        return Flight(urb, memoryview(bytearray(urb.buffer_bytes)))
    return Flight(urb, memoryview(urb.data))


def completion(flight: Flight, status: int, actual_bytes: int) -> Completion:
    """Return the end of an URB of which the kernel says this."""
    urb = flight.urb
    if flight.altered is not None and status == 0:
        status = flight.altered.status
    data: Payload = b""
    if urb.endpoint_address & DIRECTION_IN:
        start = SETUP_BYTES if urb.endpoint_address & ~DIRECTION_IN == CONTROL_ENDPOINT else 0
        data = flight.buffer[start : start + actual_bytes]
        if 2 * actual_bytes < len(flight.buffer):
            # A view would keep the whole buffer for as long as the link does not take the data.
            data = bytes(data)
    return Completion(urb.urb_id, status, actual_bytes, data)


# The lane.


def lend(usbfs: UsbfsDevice, urb: Submit, flight: Flight | None) -> LentUrb:
    """Return an URB as a lane has it.

    Args:
        usbfs: The device's node.
        urb: The URB.
        flight: The same, if the controller has it.
    """
    is_in = bool(urb.endpoint_address & DIRECTION_IN)
    memory: bytearray | None = None
    buffer: bytearray | bytes | None = None
    if flight is not None:
        memory = usbfs.lend(urb.urb_id)
        if is_in:
            assert isinstance(flight.buffer.obj, bytearray)
            buffer = flight.buffer.obj
    elif not is_in:
        buffer = bytes(urb.data)
    return LentUrb(urb.urb_id, urb.endpoint_address, urb.flags, urb.buffer_bytes, memory, buffer)


def take_back(usbfs: UsbfsDevice, lent: LentUrb, device: int) -> tuple[Submit, Flight | None]:
    """Return an URB that a lane has handed back, in the form of `lend`.

    Args:
        usbfs: The device's node.
        lent: The URB.
        device: Its device.
    """
    is_in = bool(lent.endpoint_address & DIRECTION_IN)
    # What waits is given to usbfs from a buffer that can be written to, as all else is.
    data = bytearray(lent.buffer) if lent.buffer is not None and not is_in else b""
    urb = Submit(
        device,
        lent.urb_id,
        lent.endpoint_address,
        lent.flags,
        lent.buffer_bytes,
        _NO_SETUP,
        data,
    )
    if lent.memory is None:
        return urb, None
    room = lent.buffer if isinstance(lent.buffer, bytearray) else None
    usbfs.take_back(lent.urb_id, lent.memory, room)
    return urb, Flight(urb, memoryview(b"" if room is None else room))
