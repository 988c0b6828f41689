"""What rules of all layers have in common: a name, and when they fire.

A layer's rule adds its own keys, says which events match, and what happens to one that does.
An *event* is what is about to happen, an *effect* what shall happen to it instead; both are the
layer's own frozen structs.

The fields `probability`, `interval`, `times` and `space` mean what they mean in Linux's fault
injection (``should_fail_ex`` in lib/fault-inject.c); docs/faults.md tells where this differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec

from rig.errors import UserError

NO_LIMIT = -1
"""`times` of a rule that may fire for ever."""

MOST = 10**15
"""No run counts further, neither matches nor octets."""
LAST_LBA = 2**32 - 1
"""The 10-byte commands reach no further (SBC-3 §5.11), and the rig's disks are no larger."""
BLOCK_BYTES = 512
MOST_DISK_BYTES = (LAST_LBA + 1) * BLOCK_BYTES

Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
"""A day at most: no run is longer, and it shuts infinity out."""
_PRINTED = r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]*$(?!\n)"
"""No control characters, and none that changes a line or its direction: it stands in sentences."""
_WANTS = "a text of at most 100 characters, none of them a control character"
Name = Annotated[str, msgspec.Meta(max_length=100, pattern=_PRINTED, extra={"wants": _WANTS})]
Text = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=100,
        pattern=_PRINTED,
        extra={"wants": _WANTS.replace("at most", "1 to")},
    ),
]
Chance = Annotated[float, msgspec.Meta(gt=0, le=1)]
Times = Annotated[
    int,
    msgspec.Meta(
        ge=NO_LIMIT,
        le=MOST,
        extra={"wants": f"a whole number from 1 to {MOST}, or -1 for no limit"},
    ),
]
Lba = Annotated[int, msgspec.Meta(ge=0, le=LAST_LBA)]
LbaRange = Annotated[
    tuple[Lba, Lba],
    msgspec.Meta(extra={"wants": f"two whole numbers, [first, last], from 0 to {LAST_LBA}"}),
]
"""First and last LBA, inclusive, in blocks of 512 bytes."""

TRIGGERS = ("nth", "every", "probability", "at_s")
"""Of these keys a rule has exactly one."""


class Layer(StrEnum):
    """Where a fault happens; each layer asks its own `rig.faults.triggers.Injector`."""

    ENDPOINT = "endpoint"
    MEDIUM = "medium"
    DEVICE = "device"
    LINK = "link"
    MACHINE = "machine"


STRIKING = frozenset({Layer.LINK, Layer.MACHINE, Layer.DEVICE})
"""Layers whose faults can take the disk away."""


class Event(Protocol):
    """What is about to happen, for any layer."""

    @property
    def size_bytes(self) -> int:
        """How much it uses up of a rule's `space`."""
        ...


EventT = TypeVar("EventT", bound=Event)
EffectT = TypeVar("EffectT")


class Rule(
    msgspec.Struct, Generic[EventT, EffectT], frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What rules of all layers have in common.

    Exactly one of `nth`, `every`, `probability` and `at_s` is set.

    Attributes:
        name: Unique in the plan; empty stands for LAYER-NUMBER.
        phase: Matches count in this phase of the workload only, its parts included; None: always.
        nth: Fires at the n-th match and at those that follow it, until `times` is used up.
        every: Fires at every n-th match.
        probability: Fires at a match with this probability, in (0, 1], drawn from the seed.
        at_s: Fires so many seconds after the phase began, or without a phase the workload: at once
            if the layer need not wait for a match, or else from the first match after it on.
        times: Fires at most so often; `NO_LIMIT` for no limit.
        interval: Of `probability`: only every so manyth match is drawn for.
        space: Bytes that pass by before matches begin to count.
    """

    name: Name = ""
    phase: Text | None = None
    nth: Positive | None = None
    every: Positive | None = None
    probability: Chance | None = None
    at_s: Seconds | None = None
    times: Times = 1
    interval: Positive = 1
    space: NotNegative = 0

    @property
    def at_once(self) -> bool:
        """Whether the rule fires by the clock alone, with no event to wait for."""
        return False

    def matches(self, event: EventT) -> bool:
        """Tell whether this is one of the events that the rule is about; its phase is not asked."""
        raise NotImplementedError

    def effect(self, event: EventT | None, luck: int) -> EffectT:
        """Return what shall happen.

        Args:
            event: To this event; None for a rule that fires `at_once`.
            luck: 64 bits that are a function of the plan's seed, the rule and the match: all chance
                that an effect may need.
        """
        raise NotImplementedError

    def words(self) -> str:
        """Say for a person what the rule is about and what it does; a clause without a full stop.

        This one lists the layer's own keys; a layer that has better words says them.
        """
        own = [f for f in msgspec.structs.fields(self) if f.name not in Rule.__struct_fields__]
        given = {f.encode_name: getattr(self, f.name) for f in own}
        defaults = {f.encode_name: f.default for f in own}
        kept = (f"{k} {_said(v)}" for k, v in given.items() if v != defaults[k] or k == "effect")
        return ", ".join(kept)

    def contradiction(self) -> str:
        """Tell what in this rule contradicts itself; empty when nothing does."""
        given = [key for key in TRIGGERS if getattr(self, key) is not None]
        if len(given) != 1:
            names = ", ".join(f"'{key}'" for key in TRIGGERS)
            several = " and ".join(f"'{key}'" for key in given) + " exclude each other"
            return several if given else f"none of {names} is given, so it would never fire"
        return first_true(
            (self.times == 0, "'times' is 0, so it would never fire; -1 means no limit"),
            (
                self.interval > 1 and self.probability is None,
                f"'interval' goes with 'probability', not with '{given[0]}'",
            ),
            (
                self.at_once and self.space > 0,
                "'space' counts bytes of matches, but this rule fires by the clock alone",
            ),
            (
                self.at_once and self.times != 1,
                "'times' counts matches, but this rule fires by the clock alone, and once",
            ),
        )


def _said(value: object) -> str:
    return f"{value[0]} to {value[1]}" if isinstance(value, tuple) else str(value)


def first_true(*checks: tuple[bool, str]) -> str:
    """Return the sentence of the first check that is true; empty when none is."""
    return next((sentence for wrong, sentence in checks if wrong), "")


def check_disk(rules: Iterable[Rule[Any, Any]], size_bytes: int) -> None:
    """Refuse rules about blocks that a disk of this size does not have.

    Raises:
        UserError: There is one, which would never fire.
    """
    last = size_bytes // BLOCK_BYTES - 1
    for rule in rules:
        lbas: tuple[int, int] | None = getattr(rule, "lba", None)
        if lbas is not None and lbas[0] > last:
            raise UserError(
                f"Fault '{rule.name}' would never fire: its 'lba' begins at {lbas[0]}, and the"
                f" disk ends at {last}."
            )


def empty_range(low_key: str, low: int | None, high_key: str, high: int | None) -> str:
    """Tell that two keys leave nothing between them; empty when they do."""
    if low is None or high is None or low <= high:
        return ""
    return f"'{low_key}' is {low}, above '{high_key}', which is {high}, so nothing would match"
