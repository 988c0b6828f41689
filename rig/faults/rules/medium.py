"""Medium: an access of the gadget's backing store that goes wrong."""

from __future__ import annotations

import errno
from enum import StrEnum

import msgspec

from rig.faults.rules.base import LbaRange, Positive, Rule, empty_range

BLOCK_BYTES = 512


class MediumOp(StrEnum):
    """Accesses of the medium that can fail."""

    READ = "read"
    WRITE = "write"
    FLUSH = "flush"


class MediumKind(StrEnum):
    """What happens to an access."""

    ERROR = "error"
    """It ends with `error`, and the medium is untouched."""


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
    """What is to happen to an access: it ends with `errno` (positive) and nothing else."""

    errno: int


class MediumFault(
    Rule[MediumAccess, MediumEffect],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="layer",
    tag="medium",
):
    """An access of the medium that fails; a failed write leaves the medium untouched.

    Attributes:
        op: Read, write or flush.
        kind: What happens; ``effect`` in a plan.
        error: How it fails.
        lba: First and last LBA, inclusive, in blocks of 512 bytes; an access that touches one of
            them matches.  None: the whole medium.
        min_bytes: Only accesses of at least this size.
        max_bytes: Only accesses of at most this size.
    """

    op: MediumOp
    kind: MediumKind = msgspec.field(default=MediumKind.ERROR, name="effect")
    error: MediumError = MediumError.EIO
    lba: LbaRange | None = None
    min_bytes: Positive | None = None
    max_bytes: Positive | None = None

    def contradiction(self) -> str:
        """See `Rule.contradiction`."""
        if self.lba is not None and self.lba[1] < self.lba[0]:
            return f"'lba' ends at {self.lba[1]}, before it begins at {self.lba[0]}"
        if self.op is MediumOp.FLUSH:
            for key in ("lba", "min_bytes", "max_bytes"):
                if getattr(self, key) is not None:
                    return f"'{key}' is of no use: a flush has no blocks"
        return empty_range(
            "min_bytes", self.min_bytes, "max_bytes", self.max_bytes
        ) or Rule.contradiction(self)

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
        del event, luck
        return MediumEffect(self.error.code)


def overlaps(lbas: tuple[int, int] | None, access: MediumAccess) -> bool:
    """Whether the access touches one of the LBAs from first to last, inclusive."""
    if lbas is None:
        return True
    return access.lba <= lbas[1] and access.lba + access.blocks > lbas[0]
