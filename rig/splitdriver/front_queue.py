"""One endpoint as the front end knows it, and what the back end may tell of it when.  Pure.

The link carries octets in order, so a COMPLETE that overtook another, or was overtaken, shows that
something between the two ends, or the back end, is broken; and data may be at a wrong LBA.  What
shows it for certain:

* the epoch of an endpoint never falls;
* an endpoint that is quiet stays so until RESUME: what is completed there meanwhile says it, too;
* where the back end keeps the order (`Capability.IN_ORDER`), an URB behind another that is open has
  not run.  It cannot have succeeded, nor moved anything; and under policy ``hold`` it has not
  ended at all, unless it was asked for.
"""

from __future__ import annotations

import errno

import msgspec

from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import Complete
from rig.splitdriver.policy import Policy


class Urb(msgspec.Struct):
    """An URB that is not given back.

    Attributes:
        endpoint: Its endpoint.
        buffer_bytes: Length of the transfer buffer.
        is_in: Whether data come in.
        unlink_seqnum: Number of the kernel's request to unlink it.
        unlink_sent: The back end was asked for it, and will answer by COMPLETE.
    """

    endpoint: Endpoint
    buffer_bytes: int
    is_in: bool
    unlink_seqnum: int | None = None
    unlink_sent: bool = False

    def check_length(self, message: Complete) -> None:
        """See that no more is told to have moved than fits, and as much as has come.

        Raises:
            RemoteProtocolError: It is not so.
        """
        if message.actual_bytes > self.buffer_bytes or len(message.data) != (
            message.actual_bytes if self.is_in else 0
        ):
            raise RemoteProtocolError(
                f"URB {message.urb_id} of {self.buffer_bytes} octets came back with"
                f" {message.actual_bytes}, and {len(message.data)} octets of data."
            )


class Endpoint(msgspec.Struct):
    """An endpoint, or both directions of endpoint 0.

    Attributes:
        key: Its address; 0 for endpoint 0.
        told_epoch: Of the last stop that the back end told.
        resumed_epoch: Of the last one that was resumed.
        quiet: Nothing that is queued there has run, or will before RESUME.
        given_back: The number of the last URB given back there, counted over the device.
        unlinking: Unlinks that the back end has not answered.
        open: The numbers of the URBs that are not given back, in their order.
        clears: Policy aca: the next URB ends the failing.
    """

    key: int
    told_epoch: int = 0
    resumed_epoch: int = 0
    quiet: bool = False
    given_back: int = 0
    unlinking: int = 0
    open: dict[int, None] = {}
    clears: bool = False

    @property
    def stopped(self) -> bool:
        """Whether the back end waits for us there."""
        return self.told_epoch > self.resumed_epoch

    def check_order(self, message: Complete, urb: Urb, policy: Policy) -> None:
        """See that a COMPLETE of a back end that keeps the order has overtaken no other.

        Raises:
            RemoteProtocolError: It has.
        """
        if next(iter(self.open)) == message.urb_id:
            return
        ran = message.status == 0 or message.actual_bytes > 0
        kept = policy is Policy.HOLD and not (
            urb.unlink_sent and message.status == -errno.ECONNRESET
        )
        if ran or kept:
            oldest = next(iter(self.open))
            raise RemoteProtocolError(
                f"URB {message.urb_id} was completed before URB {oldest} of its endpoint, which"
                " was submitted before it."
            )

    def note_stop(self, message: Complete) -> None:
        """Take note of what a COMPLETE says of the endpoint.

        Raises:
            RemoteProtocolError: It was said before something that has been heard.
        """
        if message.epoch < self.told_epoch:
            raise RemoteProtocolError(
                f"URB {message.urb_id} was completed in epoch {message.epoch} of its endpoint,"
                f" behind epoch {self.told_epoch}."
            )
        if self.quiet and not message.quiet:
            raise RemoteProtocolError(
                f"URB {message.urb_id} was completed on an endpoint that was quiet and was not"
                " resumed."
            )
        self.told_epoch = message.epoch
        if self.stopped:
            self.quiet = message.quiet
