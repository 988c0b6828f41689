"""What the two ends say to each other.

Each message is one frozen struct; its octets are in `rig.splitdriver.wire` and, for people, in
``docs/protocol.md``.  ``device`` tells of which device one speaks: the number of the port, and how
often something was plugged in there (`device_number`), so that what is late from a former device is
told apart.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import msgspec

from rig.splitdriver.policy import Policy
from rig.usb.urb import Speed

OLDEST_VERSION = 2
NEWEST_VERSION = 2
"""The protocol versions that this code speaks, from and to."""

MAX_PORTS = 256
PLUGS = 1 << 16

Payload = bytes | bytearray | memoryview
"""Data of an URB.  What is received is a view into the receiver's own buffer: no copy."""


def device_number(port: int, plug: int) -> int:
    """Return the number of a device.

    Args:
        port: The port's place on the link, from 0, below `MAX_PORTS`.
        plug: From 1, below `PLUGS`.
    """
    return port * PLUGS + plug


def port_of(device: int) -> int:
    """Return the port in which a device is plugged."""
    return device // PLUGS


class Capability(IntFlag):
    """What an end can do beyond the least; used if both ends can."""

    NONE = 0
    LOCAL_UNLINK = 1
    """The front end may give back by itself what it knows not to have run."""
    PORT_RESET = 2
    """A port reset is carried to the device."""
    LET_GO = 4
    """The front end may let go of a device by itself, and is told of it anew."""
    IN_ORDER = 8
    """An endpoint's URBs run, and are completed, in their order; but not what never ran."""


ALL_CAPABILITIES = (
    Capability.LOCAL_UNLINK | Capability.PORT_RESET | Capability.LET_GO | Capability.IN_ORDER
)


class Role(IntEnum):
    """Who speaks."""

    FRONT = 1
    BACK = 2


class Hello(msgspec.Struct, frozen=True):
    """First message of each end.

    Attributes:
        role: The sender's.
        policy: The sender's; one that this code does not know by its number.
        name: The sender's name for people, such as a host name.
        oldest: The oldest protocol version that it speaks.
        newest: The newest.
        capabilities: What it can do; bits that this code does not know are dropped.
    """

    role: Role
    policy: Policy | int
    name: str
    oldest: int = OLDEST_VERSION
    newest: int = NEWEST_VERSION
    capabilities: Capability = ALL_CAPABILITIES


class Refused(msgspec.Struct, frozen=True):
    """Last words to a peer before the link is closed: one sentence that says what was wrong."""

    reason: str


class Ping(msgspec.Struct, frozen=True):
    """Asks for a `Pong` with the same token."""

    token: int


class Pong(msgspec.Struct, frozen=True):
    """Answers a `Ping`."""

    token: int


class Connect(msgspec.Struct, frozen=True):
    """Back to front: a device is plugged into the mapped port."""

    device: int
    speed: Speed


class Disconnect(msgspec.Struct, frozen=True):
    """Back to front: the device is gone.  Nothing more is completed for it."""

    device: int


class Disconnected(msgspec.Struct, frozen=True):
    """Front to back: the front end is done with that device and will not mention it again.

    Unasked (`Capability.LET_GO`): it can show the device no longer, and is to be told of it anew.
    """

    device: int


class Submit(msgspec.Struct, frozen=True):
    """Front to back: queue an URB behind those of its endpoint.

    Attributes:
        device: The device.
        urb_id: The front end's number for it, growing.
        endpoint_address: Bit 7 for IN, also on ep0.
        flags: `TransferFlags`, as a number: the path of the data does no arithmetic on enums.
        buffer_bytes: Length of the transfer buffer.
        setup: The SETUP packet of a control transfer; zeroes otherwise.
        data: OUT data, `buffer_bytes` long; empty for IN.
        clear: Policy `aca`: the client has let the endpoint go idle; run this and what follows.
    """

    device: int
    urb_id: int
    endpoint_address: int
    flags: int
    buffer_bytes: int
    setup: bytes
    data: Payload = b""
    clear: bool = False


class Unlink(msgspec.Struct, frozen=True):
    """Front to back: the client wants an URB back.

    Attributes:
        device: The device.
        urb_id: The URB.
        local: The front end has given it back already, knowing that it has not run and cannot
            before the next RESUME: drop it, answer nothing.
    """

    device: int
    urb_id: int
    local: bool = False


class Complete(msgspec.Struct, frozen=True):
    """Back to front: an URB has ended, exactly once.

    Attributes:
        device: The device.
        urb_id: The URB.
        status: 0 or a negative errno.
        actual_bytes: What moved, also beside an error.
        epoch: The endpoint's stop counter.  Above the last one told: the endpoint has stopped.
        quiet: The endpoint is stopped and nothing of it is in the controller: whatever else is
            queued there has not run, and will not before RESUME.
        data: IN data, `actual_bytes` long; empty for OUT.
    """

    device: int
    urb_id: int
    status: int
    actual_bytes: int
    epoch: int = 0
    quiet: bool = False
    data: Payload = b""


class Resume(msgspec.Struct, frozen=True):
    """Front to back: the client's handler has returned and its unlinks are retired.

    Releases the endpoint only if no further stop came meanwhile, which the epoch tells.
    """

    device: int
    endpoint_address: int
    epoch: int


class Reset(msgspec.Struct, frozen=True):
    """Front to back: the client's hub driver has reset the port; takes its turn in ep0's queue."""

    device: int


class ResetDone(msgspec.Struct, frozen=True):
    """Back to front: the reset was carried out (status 0) or failed (a negative errno)."""

    device: int
    status: int


Message = (
    Hello
    | Refused
    | Ping
    | Pong
    | Connect
    | Disconnect
    | Disconnected
    | Submit
    | Unlink
    | Complete
    | Resume
    | Reset
    | ResetDone
)

ToPort = (
    Connect | Disconnect | Disconnected | Submit | Unlink | Complete | Resume | Reset | ResetDone
)
"""What speaks of a device, and so of a port."""
