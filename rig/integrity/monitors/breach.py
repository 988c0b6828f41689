"""What a monitor says.  Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Rule(StrEnum):
    """What must hold."""

    ONE_COMPLETION = "one-completion"
    """Every URB is given back exactly once, and every wish to have it back answered once, behind
    it; it runs at most once."""
    ORDER = "order"
    """What is queued on an endpoint runs, and ends, in the order in which it came."""
    BEHIND = "behind-failure"
    """Nothing runs behind a failed URB before the endpoint may go on."""
    PORT_DOWN = "port-down"
    """Nothing happens to URBs of a port that has no device."""
    WINDOW = "window"
    """No more URBs of an endpoint are in the controller than the window allows."""
    LENGTH = "length"
    """No more moves than was asked for."""
    ENDS_AGREE = "ends-agree"
    """What the client is given is what the device sent, and the other way round."""


class Breach(msgspec.Struct, frozen=True):
    """A rule that was broken.

    Attributes:
        rule: Which.
        at: The number of the event with which it was seen, from 0; behind the last one for what
            never came.
        urb: The URB; 0 for none.
        t_ns: When, Unix time; 0 where nobody noted it.
        text: What happened, a sentence.
        end: At which end of a split driver, ``front`` or ``back``; empty for a capture, and for
            what never came.
    """

    rule: Rule
    at: int
    urb: int
    t_ns: int
    text: str
    end: str = ""


def endpoint_name(address: int) -> str:
    """Return ``ep0`` or ``0x81``."""
    return f"0x{address:02x}" if address & 0x7F else "ep0"


def endpoint_key(address: int) -> int:
    """Return what names the queue of an endpoint: both directions of endpoint 0 are one."""
    return address if address & 0x7F else 0
