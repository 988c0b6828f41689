"""What the front end's core wants to be done, and what it lends.  Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from rig.splitdriver.messages import Message, Payload
from rig.usb.urb import Speed


class Send(msgspec.Struct, frozen=True):
    """Send a message to the back end."""

    message: Message


class Plug(msgspec.Struct, frozen=True):
    """Attach a device of that speed to the port of ``vhci_hcd``."""

    device: int
    speed: Speed


class Unplug(msgspec.Struct, frozen=True):
    """Detach: ``vhci_hcd`` gives back whatever is still open."""


class GiveBack(msgspec.Struct, frozen=True):
    """Send RET_SUBMIT."""

    seqnum: int
    status: int
    actual_bytes: int
    data: Payload = b""


class AnswerUnlink(msgspec.Struct, frozen=True):
    """Send RET_UNLINK."""

    seqnum: int


class Fence(msgspec.Struct, frozen=True):
    """Tell `FrontEnd.fence_passed` when both are true, in this order.

    The completion handlers of all that was given back so far have returned; and all that the kernel
    had queued when the last of them did has been told to `FrontEnd.submit` and `FrontEnd.unlink`.
    """


Action = Send | Plug | Unplug | GiveBack | AnswerUnlink | Fence


class OpenUrb(NamedTuple):
    """An URB that is not given back, on an endpoint other than 0."""

    seqnum: int
    endpoint_address: int
    buffer_bytes: int


class Loan(msgspec.Struct, frozen=True):
    """What a lane (`rig.splitdriver.lane`) may carry on with: a device without a trouble.

    Attributes:
        device: Its number.
        epochs: Of each endpoint that has been used, by address, the epoch of the last stop.
        urbs: All that are open, in the order in which they were queued.
    """

    device: int
    epochs: list[tuple[int, int]]
    urbs: list[OpenUrb]
