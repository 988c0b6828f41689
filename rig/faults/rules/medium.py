"""Medium: an access of the gadget's backing store that goes wrong.

An effect says what the medium gets and what the gadget is answered; what a host makes of it, seen
through f_mass_storage, is told in docs/faults.md.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Annotated

import msgspec

from rig.faults.rules.base import (
    BLOCK_BYTES,
    LAST_LBA,
    LbaRange,
    Positive,
    Rule,
    empty_range,
    first_true,
)

MAX_ACCESS_BYTES = 1 << 20
"""FUSE's largest request."""
AccessBytes = Annotated[int, msgspec.Meta(ge=1, le=MAX_ACCESS_BYTES)]
TornBytes = Annotated[int, msgspec.Meta(ge=0, le=MAX_ACCESS_BYTES - 1)]
Bit = Annotated[int, msgspec.Meta(ge=0, le=8 * MAX_ACCESS_BYTES - 1)]
Shift = Annotated[int, msgspec.Meta(ge=-LAST_LBA, le=LAST_LBA)]
LONGEST_HOLD_S = 120.0
"""No answer waits longer: the deadlines of a run are beyond it."""
RELEASE_AFTER_S = 33.0
"""A hang ends by itself: late enough for a host's SCSI timeout of 30 s to pass before, and in the
midst of the 5 s after that in which Linux waits for the answer to SET_CONFIGURATION."""
SHIFT_BLOCKS = 8
"""A misdirected access goes to the next 4 KiB, where another piece of a file lies."""


class MediumOp(StrEnum):
    """Accesses of the medium that can fail."""

    READ = "read"
    WRITE = "write"
    FLUSH = "flush"


class MediumKind(StrEnum):
    """What happens to an access."""

    ERROR = "error"
    """It ends with `error`, and the medium is untouched."""
    DELAY = "delay"
    """It is done, and answered after `delay_s`."""
    HANG = "hang"
    """It is done, and answered when it is released, by command or after `release_after_s`."""
    TORN = "torn"
    """Of a write only the first `torn_bytes` are stored."""
    LOST = "lost"
    """A write is answered, and not stored."""
    MISDIRECTED = "misdirected"
    """A write is stored, or a read is served from, `shift_blocks` further on."""
    FLIP = "flip"
    """One bit of what is stored, or read, is turned over."""
    STALE = "stale"
    """A read is served with what the last writes of its blocks replaced."""
    LIE = "lie"
    """A flush is answered, and nothing is flushed."""
    POWER_CUT = "power-cut"
    """What was not flushed is gone, and the access, which it interrupted, ends with `error`; with
    `at_s` it waits for no access."""


VOLATILE_KINDS = frozenset({MediumKind.LIE, MediumKind.POWER_CUT})
"""Effects that are seen only where writes wait in a volatile cache: a rule with one of them makes
the store keep one."""

_ALL = frozenset(MediumOp)
_OPS = {
    MediumKind.ERROR: _ALL,
    MediumKind.DELAY: _ALL,
    MediumKind.HANG: _ALL,
    MediumKind.TORN: frozenset({MediumOp.WRITE}),
    MediumKind.LOST: frozenset({MediumOp.WRITE}),
    MediumKind.MISDIRECTED: frozenset({MediumOp.READ, MediumOp.WRITE}),
    MediumKind.FLIP: frozenset({MediumOp.READ, MediumOp.WRITE}),
    MediumKind.STALE: frozenset({MediumOp.READ}),
    MediumKind.LIE: frozenset({MediumOp.FLUSH}),
    MediumKind.POWER_CUT: _ALL,
}
"""What can befall which access."""

_USERS = {
    "error": {MediumKind.ERROR, MediumKind.TORN, MediumKind.POWER_CUT},
    "delay_s": {MediumKind.DELAY, MediumKind.ERROR},
    "release_after_s": {MediumKind.HANG},
    "torn_bytes": {MediumKind.TORN},
    "shift_blocks": {MediumKind.MISDIRECTED},
    "bit": {MediumKind.FLIP},
    "versions": {MediumKind.STALE},
}
"""Which effects look at a key."""


class MediumError(StrEnum):
    """How an access of the medium fails."""

    EIO = "EIO"

    @property
    def code(self) -> int:
        """The positive errno that the access ends with."""
        return int(getattr(errno, self.value))


class MediumAccess(msgspec.Struct, frozen=True):
    """An access of the medium: `blocks` blocks of 512 bytes from `lba` on; a flush has none."""

    op: MediumOp
    lba: int
    blocks: int

    @property
    def size_bytes(self) -> int:
        """Of all its blocks."""
        return self.blocks * BLOCK_BYTES


class MediumEffect(msgspec.Struct, frozen=True):
    """What is to happen to an access.

    Attributes:
        errno: It ends with this, a positive errno; 0 for no error.
        kind: What else.
        hold_s: How long the answer waits.
        value: Of ``torn`` the bytes that are stored, of ``misdirected`` the shift in bytes, of
            ``flip`` the bit's number in the data, of ``stale`` how many writes ago; else 0.
    """

    errno: int = 0
    kind: MediumKind = MediumKind.ERROR
    hold_s: float = 0.0
    value: int = 0


class MediumFault(
    Rule[MediumAccess, MediumEffect],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="layer",
    tag="medium",
):
    """An access of the medium that goes wrong.

    Attributes:
        op: Read, write or flush.
        kind: What happens; ``effect`` in a plan.
        error: How it fails; None: as EIO where the effect is an error, and of a torn write not at
            all.
        lba: First and last LBA, inclusive, in blocks of 512 bytes; an access that touches one of
            them matches.  None: the whole medium.
        min_bytes: Only accesses of at least this size.
        max_bytes: Only accesses of at most this size.
        delay_s: How late a delayed access, or an error, is answered.
        release_after_s: When a hang ends by itself; None: after `RELEASE_AFTER_S`.
        torn_bytes: So much of a torn write is stored; None: left to the seed, at least one byte
            and not all.
        shift_blocks: How much further on a misdirected access goes, in blocks of 512 bytes; may be
            negative.  None: `SHIFT_BLOCKS`.
        bit: Which bit of the access's data is flipped, from the lowest of the first byte on; None:
            left to the seed.
        versions: How many writes ago a stale read is; None: 1.
    """

    op: MediumOp
    kind: MediumKind = msgspec.field(default=MediumKind.ERROR, name="effect")
    error: MediumError | None = None
    lba: LbaRange | None = None
    min_bytes: AccessBytes | None = None
    max_bytes: AccessBytes | None = None
    delay_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_HOLD_S)] | None = None
    release_after_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_HOLD_S)] | None = None
    torn_bytes: TornBytes | None = None
    shift_blocks: Shift | None = None
    bit: Bit | None = None
    versions: Positive | None = None

    @property
    def at_once(self) -> bool:
        """See `Rule.at_once`: the power goes whether or not there is an access."""
        return self.at_s is not None and self.kind is MediumKind.POWER_CUT

    def contradiction(self) -> str:
        """See `Rule.contradiction`."""
        return (
            self._wrong_range()
            or self._wrong_effect()
            or empty_range("min_bytes", self.min_bytes, "max_bytes", self.max_bytes)
            or self._beyond_access()
            or Rule.contradiction(self)
        )

    def _wrong_range(self) -> str:
        for key in ("lba", "min_bytes", "max_bytes", "error"):
            if self.at_once and getattr(self, key) is not None:
                return f"'{key}' is about accesses, but this rule fires by the clock alone"
        if self.lba is not None and self.lba[1] < self.lba[0]:
            return f"'lba' ends at {self.lba[1]}, before it begins at {self.lba[0]}"
        if self.op is MediumOp.FLUSH:
            for key in ("lba", "min_bytes", "max_bytes", "space"):
                if getattr(self, key):
                    return f"'{key}' is of no use: a flush has no blocks"
        return ""

    def _wrong_effect(self) -> str:
        if self.op not in _OPS[self.kind]:
            ops = " or ".join(f"'{op}'" for op in MediumOp if op in _OPS[self.kind])
            return f"'effect' is '{self.kind}', which befalls {ops} only, not '{self.op}'"
        for key, kinds in _USERS.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                return f"'{key}' is of no use with effect '{self.kind}'"
        if self.kind is MediumKind.DELAY and self.delay_s is None:
            return "'delay_s' is missing: effect 'delay' does nothing without"
        if self.shift_blocks == 0:
            return "'shift_blocks' is 0: the access would go where it belongs"
        return ""

    def _beyond_access(self) -> str:
        """What would lie behind the end of every access that matches."""
        most = self.max_bytes
        if most is None:
            return ""
        return first_true(
            (
                self.torn_bytes is not None and self.torn_bytes >= most,
                f"'torn_bytes' is {self.torn_bytes}, and 'max_bytes' {most}, so nothing would be"
                " missing",
            ),
            (
                self.bit is not None and self.bit >= 8 * most,
                f"'bit' is {self.bit}, but of 'max_bytes' {most} the last bit is {8 * most - 1}",
            ),
        )

    def matches(self, event: MediumAccess) -> bool:
        """See `Rule.matches`."""
        return (
            self.op is event.op
            and overlaps(self.lba, event)
            and (self.min_bytes is None or event.size_bytes >= self.min_bytes)
            and (self.max_bytes is None or event.size_bytes <= self.max_bytes)
        )

    def effect(self, event: MediumAccess | None, luck: int) -> MediumEffect:
        """See `Rule.effect`."""
        size_bytes = 0 if event is None else event.size_bytes
        return MediumEffect(self._errno(), self.kind, self._hold_s(), self._value(size_bytes, luck))

    def _errno(self) -> int:
        if self.error is not None:
            return self.error.code
        return errno.EIO if self.kind in (MediumKind.ERROR, MediumKind.POWER_CUT) else 0

    def _hold_s(self) -> float:
        if self.kind is MediumKind.HANG:
            return RELEASE_AFTER_S if self.release_after_s is None else self.release_after_s
        return self.delay_s or 0.0

    def _value(self, size_bytes: int, luck: int) -> int:
        match self.kind:
            case MediumKind.TORN:
                drawn = 1 + luck % max(1, size_bytes - 1)
                return drawn if self.torn_bytes is None else self.torn_bytes
            case MediumKind.MISDIRECTED:
                return (self.shift_blocks or SHIFT_BLOCKS) * BLOCK_BYTES
            case MediumKind.FLIP:
                return luck % max(1, size_bytes * 8) if self.bit is None else self.bit
            case MediumKind.STALE:
                return self.versions or 1
        return 0


def overlaps(lbas: tuple[int, int] | None, access: MediumAccess) -> bool:
    """Whether the access touches one of the LBAs from first to last, inclusive."""
    if lbas is None:
        return True
    return access.lba <= lbas[1] and access.lba + access.blocks > lbas[0]
