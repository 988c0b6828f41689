"""What the back end's core wants to be done, and what it lends.  Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from rig.splitdriver.endpoint import RESET_NUMBER, Work
from rig.splitdriver.messages import Message, Reset, Submit
from rig.usb.setup import Operation, SetupPacket, operation
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN, TransferType


class Send(msgspec.Struct, frozen=True):
    """Send a message to the front end."""

    message: Message


class Start(msgspec.Struct, frozen=True):
    """Give an URB to the controller; tell its end to `BackEnd.completed`.

    Attributes:
        urb: The URB.
        continues: Others of its endpoint are in the controller: if one of them fails, the kernel
            must take this one back before it runs (``USBDEVFS_URB_BULK_CONTINUATION``).
    """

    urb: Submit
    continues: bool = False


class Perform(msgspec.Struct, frozen=True):
    """Have the kernel carry out a control request; tell its end to `BackEnd.completed`.

    And first the ends of what the kernel kills for it.
    """

    urb: Submit
    operation: Operation


class Discard(msgspec.Struct, frozen=True):
    """Take an URB back from the controller; its completion is told as any other."""

    urb_id: int


class ResetPort(msgspec.Struct, frozen=True):
    """Reset the device's port; tell the end to `BackEnd.reset_done`.

    And first the ends of what the kernel kills for it.
    """


Action = Send | Start | Perform | Discard | ResetPort


class LentEndpoint(NamedTuple):
    """An endpoint whose URBs may go to the controller, one at a time, until one of them fails.

    Attributes:
        address: Not 0.
        kind: Of its transfers.
        epoch: Of its last stop.
        latest: The number of the last URB that was queued there, or -1.
    """

    address: int
    kind: TransferType
    epoch: int
    latest: int


class Loan(msgspec.Struct, frozen=True):
    """What a lane (`rig.splitdriver.lane`) may carry on with: a device without a trouble.

    Attributes:
        device: Its number.
        endpoints: Those of its configuration.
        urbs: All that are here, each endpoint's in order, and whether the controller has it.
    """

    device: int
    endpoints: list[LentEndpoint]
    urbs: list[tuple[Submit, bool]]


def action_for(work: Work, *, continues: bool) -> Start | Perform | ResetPort:
    """Return what is to be done with work whose turn has come.

    Args:
        work: The work.
        continues: See `Start`.
    """
    if isinstance(work, Reset):
        return ResetPort()
    if work.endpoint_address & ~DIRECTION_IN == CONTROL_ENDPOINT:
        wanted = operation(SetupPacket.unpack(work.setup))
        if wanted is not None:
            return Perform(work, wanted)
    return Start(work, continues)


def number_of(action: Start | Perform | ResetPort) -> int:
    """Return the number of an action's URB, or `RESET_NUMBER`."""
    return RESET_NUMBER if isinstance(action, ResetPort) else action.urb.urb_id
