"""The lane: what needs no decision is forwarded by a few hundred lines of C.

Nearly all that goes over the link is an URB that succeeds on an endpoint where nothing is wrong.
The cores (`rig.splitdriver.frontend`, `rig.splitdriver.backend`) **lend** such endpoints, with all
their open URBs and the descriptors, to a lane for the length of one wait.  The lane forwards, and
comes back at whatever it does not know: an error, an unlink, endpoint 0, a number of ``vhci_hcd``
that is missing, a message of another kind, a full socket, another descriptor, the time of a timer.
It hands back all URBs as they are then, and the octets that it has read and not used or taken and
not sent; Python goes on from there.  So a lane has no rule of its own: it is the row "ended well"
of the state OPEN in `rig.splitdriver.endpoint`, under policy ``hold`` with a window of 1.

Why it exists: each wake of a daemon runs cold, and pays for each page of code and data that it
touches (``docs/performance.md``).  Python touches many.  Without the compiled module all works the
same, and slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class StaleError(ImportError):
    """The compiled module was made of other code; its text says how to mend that."""


class LentUrb(NamedTuple):
    """An URB of the back end as a lane has it.

    Attributes:
        urb_id: Its number.
        endpoint_address: With bit 7 for IN.
        flags: ``USBDEVFS_URB_*``.
        buffer_bytes: Length of the transfer buffer.
        memory: Its ``struct usbdevfs_urb`` if the controller has it, else None.
        buffer: Room for IN data, if the controller has it; OUT data, if not; else None.
    """

    urb_id: int
    endpoint_address: int
    flags: int
    buffer_bytes: int
    memory: bytearray | None
    buffer: bytearray | bytes | None


class FrontLent(NamedTuple):
    """A device of the front end that is lent.

    Attributes:
        device: Its number.
        socket: Descriptor of the socket that ``vhci_hcd`` has the other end of.
        expected: The kernel's next number.
        last: The last number that may be used.
        epochs: Of its endpoints that have been used, by address, the epoch of the last stop.
        urbs: Of all that are open, in the order in which they were queued, the number, the
            endpoint's address, the buffer's length.
    """

    device: int
    socket: int
    expected: int
    last: int
    epochs: list[tuple[int, int]]
    urbs: list[tuple[int, int, int]]


class FrontReturned(NamedTuple):
    """What a lane hands back of one.

    Attributes:
        expected: The kernel's next number.
        urbs: As in `FrontLent`.
        octets: Read from the socket and not used.
        unsent: Not yet taken by the socket.
    """

    expected: int
    urbs: list[tuple[int, int, int]]
    octets: bytes
    unsent: bytes


class BackLent(NamedTuple):
    """A device of the back end that is lent.

    Attributes:
        device: Its number.
        usbfs: Descriptor of its node.
        endpoints: Of each the address, the transfer type, the epoch of its last stop, and the
            number of the last URB that was queued there, or -1.
        urbs: All that are here, each endpoint's in order.
    """

    device: int
    usbfs: int
    endpoints: list[tuple[int, int, int, int]]
    urbs: list[LentUrb]


class BackReturned(NamedTuple):
    """What a lane hands back of one.

    Attributes:
        latest: The number of the last URB that was queued on any endpoint, or -1.
        urbs: As in `BackLent`.
        reaped: Addresses of the ``struct usbdevfs_urb`` of those that have ended and are not told.
    """

    latest: int
    urbs: list[LentUrb]
    reaped: list[int]


class LinkLent(NamedTuple):
    """The link, lent.

    Attributes:
        descriptor: Of its stream.
        seal: Stands behind each frame that is sent; may be empty.
        peers_seal: Stands behind each that comes.
    """

    descriptor: int
    seal: bytes
    peers_seal: bytes


class LinkReturned(NamedTuple):
    """What a lane hands back of the link.

    Attributes:
        heard: Whether a frame came.
        octets: Read and not used.
        unsent: Not yet taken by the socket.
    """

    heard: bool
    octets: bytes
    unsent: bytes


Ready = list[tuple[int, int]]
"""Descriptors and their epoll events."""

Ioctl = Callable[[int, int, int], int]
"""Stands for ``ioctl(2)``: descriptor, request, address to the result or a negative errno."""
