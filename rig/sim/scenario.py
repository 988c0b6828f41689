"""What a schedule is: octets, of which the first few choose what there is to happen.  Pure.

An octet of 0 always means the least: one URB, no fault, the move that lets things go on.  So a
schedule becomes simpler when octets become smaller or fewer, which is how `rig.sim.shrink` works.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum

import msgspec

from rig.usb.urb import TransferType

HEADER_BYTES = 7
_HANDLERS = 1  # the octet that chooses them
TROUBLE = 3
"""The octet that says how many faults and unlinks there are: 1 is one fault, 3 one unlink."""
CHOICES = 96
"""Moves that are chosen; what is still under way then ends without further disturbance."""

DISTURBS_FROM = 192
"""From this octet on a choice is one of the disturbances, if any is possible then."""


class Handler(IntEnum):
    """What the client's completion handler does about an error."""

    UNLINK = 0
    """Unlinks what stands behind, as ``sg_complete`` does (``drivers/usb/core/message.c``); its
    data are *placed*: each URB's octets belong to one place, as those of a disk's write do."""
    RETRY = 1
    """Submits again at once, as the readers of ``usb-serial`` do; never gives up."""
    NOTHING = 2
    """Leaves what stands behind to run."""


_OUT, _IN = (0x01, TransferType.BULK), (0x81, TransferType.BULK)
_PIPES = (
    (_OUT, _IN),
    (_OUT, (0x02, TransferType.BULK)),
    (_OUT, (0x00, TransferType.CONTROL)),
    ((0x02, TransferType.INTERRUPT), _IN),
    (_IN, (0x00, TransferType.CONTROL)),
)


class Laggard(IntEnum):
    """Who moves only when nobody else can, or now and then: what is late reaches deep orders."""

    NOBODY = 0
    CONTROLLER = 1
    REAPING = 2
    HELPER = 3
    LINK_TO_BACK = 4
    LINK_TO_FRONT = 5
    KERNEL_SENDER = 6
    KERNEL_READER = 7
    HANDLER = 8
    BARRIER = 9


class Scenario(msgspec.Struct, frozen=True):
    """What there is to happen.

    Attributes:
        pipes: Address and transfer type of the two endpoints.
        handlers: Of each endpoint's client.
        urbs: How many each client submits on its own account; at most 4 are open at a time.
        faults: Transfers that fail on the bus, at most.
        unlinks: URBs that a client wants back at any moment.
        resets: Port resets.
        reconfigurations: SET_CONFIGURATION while endpoints run.
        link_losses: How often the link is lost.
        another_front: Another machine comes when the link has been lost; its numbers begin anew.
        unplugs: How often the device is pulled out.
        port_breaks: How often the front's kernel detaches the port, as by hand.
        whole_batches: What is read from a link or a controller is read until there is no more.
        frames: Messages cross the link as octets.
        local_unlink: Both ends can do it (`rig.splitdriver.messages.Capability`).
        newest_first: The order in which a handler unlinks, and in which a kernel gives back what
            stood behind an error.
        laggards: Who is late.
    """

    pipes: tuple[tuple[int, TransferType], tuple[int, TransferType]]
    handlers: tuple[Handler, Handler]
    urbs: tuple[int, int]
    faults: int
    unlinks: int
    resets: int
    reconfigurations: int
    link_losses: int
    another_front: bool
    unplugs: int
    port_breaks: int
    whole_batches: bool
    frames: bool
    local_unlink: bool
    newest_first: bool
    laggards: tuple[Laggard, Laggard]


def generate(seed: int, index: int, handlers: Sequence[Handler] = tuple(Handler)) -> bytes:
    """Return the schedule of that number, the same on every machine.

    Args:
        seed: Chooses among worlds of schedules.
        index: The number.
        handlers: What clients may do about an error.
    """
    name = f"{seed}/{index}".encode()
    octets = bytearray(hashlib.shake_128(name).digest(HEADER_BYTES + CHOICES))
    first, second = divmod(octets[_HANDLERS], 16)
    octets[_HANDLERS] = (
        handlers[first % len(handlers)] + len(Handler) * handlers[second % len(handlers)]
    )
    return bytes(octets)


def scenario_of(schedule: bytes) -> Scenario:
    """Read a schedule's header; what is missing counts as 0."""
    header = schedule[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
    pipes, handler, urbs, trouble, rare, ways, laggard = header
    events = rare if rare >= 128 else 0  # every second schedule has some
    return Scenario(
        pipes=_PIPES[pipes % len(_PIPES)],
        handlers=(Handler(handler % 3), Handler(handler // 3 % 3)),
        urbs=(1 + urbs % 4, urbs // 4 % 5),
        faults=trouble % 3,
        unlinks=trouble // 3 % 4,
        resets=events & 1,
        link_losses=events >> 1 & 1,
        unplugs=events >> 2 & 1,
        port_breaks=events >> 5 & 1,
        reconfigurations=events >> 3 & 1,
        another_front=bool(events & 0x10),
        whole_batches=bool(ways & 1),
        frames=ways & 0x1E == 0x1E,
        local_unlink=ways & 0x60 != 0x60,
        newest_first=bool(ways & 0x80),
        laggards=_laggards(laggard),
    )


def _laggards(octet: int) -> tuple[Laggard, Laggard]:
    """Nobody in every second schedule, up to two in the others."""
    first, second = divmod(max(octet - 128, 0), len(Laggard))
    return Laggard(first % len(Laggard)), Laggard(second)
