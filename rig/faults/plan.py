"""What a fault plan says: typed rules, checked, in the order of the file.

A plan is data and nothing else; `rig.faults.reader` reads one from text, `rig.faults.triggers`
decides when its rules fire.  The fields `probability` and `times` mean what they mean in
Linux's fault injection (Documentation/fault-injection/fault-injection.rst).
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Annotated

import msgspec

from rig.errors import UserError
from rig.usb.urb import Direction

Positive = Annotated[int, msgspec.Meta(ge=1)]
NO_LIMIT = -1
"""`times` of a rule that may fire for ever."""


class Layer(StrEnum):
    """Where a fault happens; each layer asks its own `triggers.Injector`."""

    ENDPOINT = "endpoint"
    MEDIUM = "medium"


class When(StrEnum):
    """The moment of an endpoint error, relative to the data of the transfer."""

    BEFORE = "before"
    """No byte reaches the other side."""
    MIDDLE = "middle"
    """About half of the bytes do."""
    AFTER = "after"
    """All bytes do, yet the host is told of an error."""


class EndpointStatus(StrEnum):
    """Completion statuses of a URB (Documentation/driver-api/usb/error-codes.rst).

    The last three no host controller reports for a transfer that went wrong.  They are what a split
    driver might give to URBs that have not run, and are here to see what drivers make of them.
    """

    EPROTO = "EPROTO"
    EILSEQ = "EILSEQ"
    ETIME = "ETIME"
    EPIPE = "EPIPE"
    EOVERFLOW = "EOVERFLOW"
    ECOMM = "ECOMM"
    ENOSR = "ENOSR"
    EREMOTEIO = "EREMOTEIO"
    ECONNRESET = "ECONNRESET"
    EAGAIN = "EAGAIN"
    ESHUTDOWN = "ESHUTDOWN"

    @property
    def code(self) -> int:
        """The URB's status: a negative errno of this machine."""
        return -int(getattr(errno, self.value))


STATUS_DIRECTION = {
    EndpointStatus.EOVERFLOW: Direction.IN,  # babble: the device sent too much
    EndpointStatus.ECOMM: Direction.IN,  # the controller could not store fast enough
    EndpointStatus.EREMOTEIO: Direction.IN,  # less data came than asked for
    EndpointStatus.ENOSR: Direction.OUT,  # the controller could not fetch fast enough
}
"""Statuses that a host controller reports for one direction only."""


class MediumOp(StrEnum):
    """Accesses of the medium that can fail."""

    READ = "read"
    WRITE = "write"


class MediumError(StrEnum):
    """How an access of the medium fails."""

    EIO = "EIO"

    @property
    def code(self) -> int:
        """The positive errno that the access ends with."""
        return int(getattr(errno, self.value))


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What rules of all layers have in common.

    Exactly one of `nth`, `every` and `probability` is set.

    Attributes:
        name: Unique in the plan; empty stands for LAYER-NUMBER.
        phase: Matches count in this phase of the workload only; None: always.
        nth: Fires at the n-th match and at those that follow it, until `times` is used up.
        every: Fires at every n-th match.
        probability: Fires at a match with this probability, in (0, 1], drawn from the seed.
        times: Fires at most so often; `NO_LIMIT` for no limit.
    """

    name: str = ""
    phase: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    nth: Positive | None = None
    every: Positive | None = None
    probability: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    times: Annotated[int, msgspec.Meta(ge=NO_LIMIT)] = 1

    def contradiction(self) -> str:
        """Tell what in this rule contradicts itself; empty when nothing does."""
        given = [k for k in ("nth", "every", "probability") if getattr(self, k) is not None]
        if not given:
            return "none of 'nth', 'every' and 'probability' is given, so it would never fire"
        if len(given) > 1:
            return " and ".join(f"'{k}'" for k in given) + " exclude each other"
        if self.times == 0:
            return "'times' is 0, so it would never fire; -1 means no limit"
        return ""


class EndpointFault(
    Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="layer", tag="endpoint"
):
    """A bulk transfer of the back end's port that fails.

    Attributes:
        direction: Of the transfer.
        min_bytes: Only transfers whose buffer has at least this size.
        when: Before, in the middle of or after the data.
        status: What the host sees.
    """

    direction: Direction
    status: EndpointStatus
    when: When
    min_bytes: Positive = 1

    def contradiction(self) -> str:
        """See `Rule.contradiction`."""
        only = STATUS_DIRECTION.get(self.status)
        if only is not None and only is not self.direction:
            return (
                f"status '{self.status}' is seen on '{only}' transfers only, "
                f"but the direction is '{self.direction}'"
            )
        return Rule.contradiction(self)


class MediumFault(
    Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="layer", tag="medium"
):
    """An access of the medium that fails; a failed write leaves the medium untouched.

    Attributes:
        op: Read or write.
        lba: First and last LBA, inclusive, in blocks of 512 bytes; an access that touches one of
            them matches.  None: the whole medium.
        error: How it fails.
    """

    op: MediumOp
    error: MediumError
    lba: tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]] | None = None

    def contradiction(self) -> str:
        """See `Rule.contradiction`."""
        if self.lba is not None and self.lba[1] < self.lba[0]:
            return f"'lba' ends at {self.lba[1]}, before it begins at {self.lba[0]}"
        return Rule.contradiction(self)


Fault = EndpointFault | MediumFault
FAULT_TYPES: dict[str, type[EndpointFault] | type[MediumFault]] = {
    Layer.ENDPOINT: EndpointFault,
    Layer.MEDIUM: MediumFault,
}
"""The rule of each layer."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One fault plan.

    Attributes:
        name: What runs under this plan are called.
        seed: All chance of the plan comes from it.
        faults: In the order of the file; every rule has a unique name.
    """

    name: str
    seed: int = 0
    faults: tuple[Fault, ...] = ()

    def with_seed(self, seed: int | None) -> Plan:
        """This plan under another seed; None keeps its own.

        Raises:
            UserError: The seed is negative.
        """
        if seed is None:
            return self
        if seed < 0:
            raise UserError(f"Seed {seed} is negative.", hint="Give 0 or more.")
        return msgspec.structs.replace(self, seed=seed)

    def of_layer(self, layer: Layer) -> tuple[Fault, ...]:
        """The rules of one layer."""
        return tuple(fault for fault in self.faults if isinstance(fault, FAULT_TYPES[layer]))


NO_FAULTS = Plan(name="none")
"""The plan of a run in which nothing is made to fail."""
