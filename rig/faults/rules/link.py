"""Link: the way between the front end and the back end is slow, or breaks.

What is asked about is a *piece*: a whole frame of the split driver's protocol, or a whole record of
TLS.  The link's octets are counted one way at a time, from the first of a connection on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from rig.faults.rules.base import NotNegative, Positive, Rule, Seconds, first_true

MAX_PIECE_BYTES = 16 << 20
"""No frame, and no record, is larger."""
PieceBytes = Annotated[int, msgspec.Meta(ge=0, le=MAX_PIECE_BYTES)]
DelayMs = Annotated[int, msgspec.Meta(ge=1, le=86_400_000)]
"""A day at most, as `Seconds`."""

LONGEST_HOLD_S = 60.0
"""What has no end of its own is ended after so long."""


class LinkKind(StrEnum):
    """What the link does."""

    DELAY = "delay"
    """Octets arrive `delay_ms` later, in order."""
    JITTER = "jitter"
    """They arrive up to `delay_ms` later, in order."""
    BANDWIDTH = "bandwidth"
    """They pass at `bytes_per_s`."""
    STALL = "stall"
    """Nothing moves for `for_s`; what is sent meanwhile arrives later."""
    CUT = "cut"
    """The connection is closed at both ends, as after a crash of the other."""
    HALF_OPEN = "half-open"
    """It is closed at one end; the other end is not told, and hears nothing any more."""
    PARTITION = "partition"
    """Both ways are dead, neither end is told, and nobody can call the other."""
    REORDER = "reorder"
    """A piece arrives behind the one that follows it."""
    DUPLICATE = "duplicate"
    """A piece arrives twice."""


class Way(StrEnum):
    """Which way octets go."""

    TO_BACK = "to-back"
    TO_FRONT = "to-front"
    BOTH = "both"


class LinkEnd(StrEnum):
    """An end of the link."""

    FRONT = "front"
    BACK = "back"


SLOWING = frozenset({LinkKind.DELAY, LinkKind.JITTER, LinkKind.BANDWIDTH})
"""What makes octets late."""
HOLDING = frozenset({LinkKind.STALL, LinkKind.PARTITION})
"""What lets nothing through for a while."""
CUTTING = HOLDING | {LinkKind.CUT, LinkKind.HALF_OPEN}
"""What happens between two octets."""
OF_ONE_PIECE = frozenset({LinkKind.REORDER, LinkKind.DUPLICATE})
"""What happens to a piece, and so waits for one."""


class LinkPiece(msgspec.Struct, frozen=True):
    """Octets that are about to be passed on together.

    Attributes:
        way: They go.
        length_bytes: How many they are.
        offset_bytes: So many went this way before them on the same connection.
    """

    way: Way
    length_bytes: int
    offset_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """How many they are."""
        return self.length_bytes


class LinkEffect(msgspec.Struct, frozen=True):
    """What the link is to do; None stands for a parameter that the kind has no use for.

    Attributes:
        kind: What it does.
        way: To the octets of which way.
        for_s: How long it lasts; None for what happens to one piece, or at one moment, or for good.
        delay_ms: Of a delay; of jitter the most.
        bytes_per_s: Of a bandwidth.
        at_bytes: It happens after so many octets of the piece.
        end: Which is closed.
        reset: By RST instead of FIN.
        luck: 64 bits from the seed, for jitter.
    """

    kind: LinkKind
    way: Way
    for_s: float | None = None
    delay_ms: int | None = None
    bytes_per_s: int | None = None
    at_bytes: int = 0
    end: LinkEnd | None = None
    reset: bool = False
    luck: int = 0


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
        way: To the octets of which way; of a fault of the whole connection, whose pieces count.
        for_s: How long it lasts.  Without: `LONGEST_HOLD_S` for what lets nothing through; a delay
            or jitter that a piece brings about is that piece's, any other slowness stays.
        delay_ms: Of ``delay``; of ``jitter`` the most.
        bytes_per_s: Of ``bandwidth``.
        at_bytes: It happens after so many octets of the piece; 0 if left out.
        offset: Only the piece with this octet of its way and connection, counted from 0, and the
            fault happens right before the octet.
        end: Which end ``half-open`` closes.
        reset: ``cut`` and ``half-open`` close by RST instead of FIN.
    """

    kind: LinkKind = msgspec.field(name="effect")
    way: Way = Way.BOTH
    for_s: Seconds | None = None
    delay_ms: DelayMs | None = None
    bytes_per_s: Positive | None = None
    at_bytes: PieceBytes | None = None
    offset: NotNegative | None = None
    end: LinkEnd | None = None
    reset: bool | None = None

    @property
    def at_once(self) -> bool:
        """See `Rule.at_once`."""
        return self.at_s is not None and self.kind not in OF_ONE_PIECE

    def contradiction(self) -> str:
        """See `Rule.contradiction`."""
        return self._missing_key() or self._useless_key() or Rule.contradiction(self)

    def _missing_key(self) -> str:
        for key, kinds in _NEEDED_BY.items():
            if self.kind in kinds and getattr(self, key) is None:
                return f"'effect' '{self.kind}' needs '{key}'"
        return ""

    def _useless_key(self) -> str:
        for key, kinds in _USED_BY.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                return f"'{key}' is of no use with 'effect' '{self.kind}'"
        both_ways = self.kind in CUTTING - {LinkKind.STALL}
        counting = [key for key in ("at_bytes", "offset") if getattr(self, key) is not None]
        return first_true(
            (len(counting) == 2, "'at_bytes' and 'offset' exclude each other"),
            (
                self.at_once and bool(counting),
                f"'{''.join(counting)}' is about a piece, but this rule fires by the clock alone",
            ),
            (
                self.at_once and both_ways and self.way is not Way.BOTH,
                f"'way' is of no use: 'effect' '{self.kind}' is of the whole connection",
            ),
            (
                self.offset is not None and self.way is Way.BOTH,
                "'offset' counts octets of one way; give 'way'",
            ),
        )

    def matches(self, event: LinkPiece) -> bool:
        """See `Rule.matches`."""
        if self.way not in (Way.BOTH, event.way):
            return False
        if self.offset is None:
            return True
        return event.offset_bytes <= self.offset < event.offset_bytes + event.length_bytes

    def effect(self, event: LinkPiece | None, luck: int) -> LinkEffect:
        """See `Rule.effect`."""
        at_bytes = self.at_bytes or 0
        if event is not None:
            if self.offset is not None:
                # By hand it may fire at any piece: then it happens before its first octet.
                at_bytes = max(0, self.offset - event.offset_bytes)
            at_bytes = min(at_bytes, event.length_bytes)
        endless = self.kind in HOLDING | {LinkKind.HALF_OPEN} and self.for_s is None
        return LinkEffect(
            self.kind,
            self.way,
            LONGEST_HOLD_S if endless else self.for_s,
            self.delay_ms,
            self.bytes_per_s,
            at_bytes,
            self.end,
            bool(self.reset),
            luck,
        )


_NEEDED_BY = {
    "delay_ms": frozenset({LinkKind.DELAY, LinkKind.JITTER}),
    "bytes_per_s": frozenset({LinkKind.BANDWIDTH}),
    "for_s": frozenset({LinkKind.STALL}),
    "end": frozenset({LinkKind.HALF_OPEN}),
}
_USED_BY = {
    "delay_ms": frozenset({LinkKind.DELAY, LinkKind.JITTER}),
    "bytes_per_s": frozenset({LinkKind.BANDWIDTH}),
    "for_s": SLOWING | HOLDING | {LinkKind.HALF_OPEN},
    "at_bytes": CUTTING,
    "offset": CUTTING,
    "end": frozenset({LinkKind.HALF_OPEN}),
    "reset": frozenset({LinkKind.CUT, LinkKind.HALF_OPEN}),
}
"""The effects that a key is of use with."""
