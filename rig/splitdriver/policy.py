"""What happens on an endpoint behind an error or an unlink.  Pure."""

from __future__ import annotations

import errno
from enum import IntEnum, StrEnum


class Policy(StrEnum):
    """The recovery policies; both ends of a link must have the same."""

    HOLD = "hold"
    """The endpoint stops and *keeps* what has not run, until the front end's client is done with
    the error: what Linux promises its drivers (kerneldoc of ``usb_unlink_urb``)."""

    ACA = "aca"
    """What is queued fails, and so does all that arrives, until the client has let the endpoint go
    idle: the proposal of 2005, after SCSI's auto contingent allegiance."""

    NAIVE = "naive"
    """Nothing: what is queued runs at once, as through a split driver that knows no recovery.  Kept
    to show that the rig sees the hazard."""


class PolicyCode(IntEnum):
    """The octet that names a policy on the wire."""

    HOLD = 1
    ACA = 2
    NAIVE = 3


ACA_STATUSES = {
    name: -getattr(errno, name) for name in ("EPROTO", "ECONNRESET", "EAGAIN", "ESHUTDOWN")
}
"""What an URB may be failed with under `Policy.ACA`, by name."""

DEFAULT_ACA_STATUS = "EPROTO"
"""The kernel's word for a transfer that went wrong on the bus: drivers take it for transient."""

NAIVE_WINDOW = 64
"""URBs of one endpoint in the controller without a policy: all that a client has in practice."""
