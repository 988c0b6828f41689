"""A chain of causes: what a verdict says of how a write came to its sector.  Pure."""

from __future__ import annotations

import msgspec


class Step(msgspec.Struct, frozen=True):
    """One cause of the next.

    Attributes:
        t_ns: When, by the station's clock.
        where: On which machine, and in which part of it.
        what: A sentence.
        urb: The URB that it is about; 0 for none.
        rule: The fault rule that fired; empty for none.
    """

    t_ns: int
    where: str
    what: str
    urb: int = 0
    rule: str = ""


class Chain(msgspec.Struct, frozen=True):
    """How a write came to a sector.

    Attributes:
        lba: The sector.
        arrival: The write's number in the journal.
        steps: In order of time.
    """

    lba: int
    arrival: int
    steps: tuple[Step, ...]
