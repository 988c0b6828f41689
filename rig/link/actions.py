"""What the relay wants done, and what it has to tell.  Pure."""

from __future__ import annotations

import msgspec

from rig.faults.release import ReleasedBy
from rig.faults.rules.link import LinkEffect, LinkEnd, LinkKind, LinkPiece
from rig.faults.triggers import Fired

Data = bytes | memoryview


class Dial(msgspec.Struct, frozen=True):
    """Call the back end for a circuit; tell it to `Relay.reached` or `Relay.ended`."""

    circuit: int


class Send(msgspec.Struct, frozen=True):
    """Send octets to an end."""

    circuit: int
    end: LinkEnd
    data: Data


class Close(msgspec.Struct, frozen=True):
    """Close the connection to an end, behind all that was sent to it; by RST if `reset`."""

    circuit: int
    end: LinkEnd
    reset: bool = False


Action = Dial | Send | Close


class Happened(msgspec.Struct, frozen=True):
    """A fault that was made; `piece` and `circuit` are None for one that goes by the clock."""

    fired: Fired[LinkEffect]
    piece: LinkPiece | None = None
    circuit: int | None = None


class Released(msgspec.Struct, frozen=True):
    """The end of what lasted: what stood still goes on, what was slow is not."""

    rule: str
    effect: LinkKind
    waited_s: float
    by: ReleasedBy
