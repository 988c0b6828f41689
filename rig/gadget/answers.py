"""What a store says of an access: how it ended, when to tell so, and what fault it met.  Pure."""

from __future__ import annotations

from typing import NamedTuple

from rig.faults.rules.medium import MediumAccess, MediumEffect
from rig.faults.triggers import Fired
from rig.gadget.medium_effects import Deed


class Hold(NamedTuple):
    """An answer that must wait.

    Attributes:
        seconds: At most so long.
        hangs: It may be released before, and whoever waits for it is told when it is.
        rule_name: Who made it wait.
        sequence: Of the access.
    """

    seconds: float
    hangs: bool
    rule_name: str
    sequence: int


class Answer(NamedTuple):
    """How an access ended.

    Attributes:
        error: 0, or an errno.
        data: What a read found, cut off at the end of the medium.
        hold: When to tell so; None: now.
    """

    error: int
    data: bytes = b""
    hold: Hold | None = None


class FaultReport(NamedTuple):
    """A fault that was injected.

    Attributes:
        fired: The rule, the match, the effect.
        access: What it befell; None: it came by the clock alone, a power cut.
        sequence: Of the journal's record.
        deed: What was done to it.
    """

    fired: Fired[MediumEffect]
    access: MediumAccess | None
    sequence: int
    deed: Deed
