"""Link: the way between the front end and the back end is slow, or breaks."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rig.faults.rules.base import NotNegative, Positive, Rule, Seconds


class LinkKind(StrEnum):
    """What the link does."""

    DELAY = "delay"
    JITTER = "jitter"
    BANDWIDTH = "bandwidth"
    STALL = "stall"
    """Nothing moves for `for_s`."""
    CUT = "cut"
    """The connection is closed, as after a crash of the other end."""
    HALF_OPEN = "half-open"
    """One way is dead, and neither end is told."""
    PARTITION = "partition"
    """Both ways are dead, and neither end is told."""
    REORDER = "reorder"
    DUPLICATE = "duplicate"


class Way(StrEnum):
    """Which way octets go."""

    TO_BACK = "to-back"
    TO_FRONT = "to-front"
    BOTH = "both"


class LinkPiece(msgspec.Struct, frozen=True):
    """Octets that are about to be passed on."""

    way: Way
    length_bytes: int

    @property
    def size_bytes(self) -> int:
        """How many they are."""
        return self.length_bytes


class LinkEffect(msgspec.Struct, frozen=True):
    """What the link is to do; None stands for a parameter that the kind has no use for."""

    kind: LinkKind
    way: Way
    for_s: float | None = None
    delay_ms: int | None = None
    bytes_per_s: int | None = None


class LinkFault(
    Rule[LinkPiece, LinkEffect],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="layer",
    tag="link",
):
    """Something that the link does wrong.

    Attributes:
        kind: What it does; ``effect`` in a plan.
        way: To the octets of which way.
        for_s: How long; None: for ever.
        delay_ms: Of ``delay``; of ``jitter`` the most.
        bytes_per_s: Of ``bandwidth``.
    """

    kind: LinkKind = msgspec.field(name="effect")
    way: Way = Way.BOTH
    for_s: Seconds | None = None
    delay_ms: NotNegative | None = None
    bytes_per_s: Positive | None = None

    @property
    def at_once(self) -> bool:
        """See `Rule.at_once`."""
        return self.at_s is not None

    def matches(self, event: LinkPiece) -> bool:
        """See `Rule.matches`."""
        return self.way in (Way.BOTH, event.way)

    def effect(self, event: LinkPiece | None, luck: int) -> LinkEffect:
        """See `Rule.effect`."""
        del event, luck
        return LinkEffect(self.kind, self.way, self.for_s, self.delay_ms, self.bytes_per_s)
