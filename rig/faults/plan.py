"""What a fault plan says: typed rules, checked, in the order of the file.

A plan is data and nothing else; `rig.faults.reader` reads one from text, `rig.faults.triggers`
decides when its rules fire.  What a rule of a layer says is in `rig.faults.rules`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec

from rig.errors import UserError
from rig.faults.rules.base import Layer, Rule, Text, first_true
from rig.faults.rules.device import DeviceFault
from rig.faults.rules.endpoint import EndpointFault, Place
from rig.faults.rules.link import LinkFault
from rig.faults.rules.machine import MachineFault
from rig.faults.rules.medium import MediumFault
from rig.faults.shown import shown

Fault = EndpointFault | MediumFault | DeviceFault | LinkFault | MachineFault
FAULT_TYPES: dict[str, type[Fault]] = {
    Layer.ENDPOINT: EndpointFault,
    Layer.MEDIUM: MediumFault,
    Layer.DEVICE: DeviceFault,
    Layer.LINK: LinkFault,
    Layer.MACHINE: MachineFault,
}
"""The rule of each layer."""
RuleT = TypeVar("RuleT", bound=Rule[Any, Any])
MOST_SEED = 2**63 - 1
Seed = Annotated[int, msgspec.Meta(ge=0, le=MOST_SEED)]
PlanName = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        pattern=r"^\w[\w .+-]*$(?!\n)",
        extra={
            "wants": "1 to 64 letters and digits, and behind the first also '.', '_', '+', '-' and"
            " spaces, for it names run directories"
        },
    ),
]


class Expect(StrEnum):
    """How a run under a plan is to end when the split driver and the host are correct."""

    PASS = "pass"  # noqa: S105
    """Every byte that was acknowledged is where it belongs."""
    INDETERMINATE = "indeterminate"
    """The same; but the faults may keep the run from proving all that it was to prove."""
    FAIL = "fail"
    """The faults corrupt data, and the rig must see it."""


class DataClass(StrEnum):
    """What is wrong with a sector; the names are those of a verdict."""

    LOST = "lost"
    STALE = "stale"
    TORN = "torn"
    MISDIRECTED = "misdirected"
    FOREIGN = "foreign"
    CORRUPT = "corrupt"
    ZEROED = "zeroed"
    UNREADABLE = "unreadable"


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan says of itself.

    Attributes:
        name: What runs under this plan are called.
        seed: All chance of the plan comes from it.
        expect: How a run under it is to end.
        classes: Of a plan that is to fail: what must be wrong with some sector; one of them will
            do.
        attachment: What the gadget is plugged into if it must be that, as ``rig run --attachment``
            names it; None: whatever the user says.
    """

    name: PlanName
    seed: Seed = 0
    expect: Expect = Expect.PASS
    classes: tuple[DataClass, ...] = ()
    attachment: Text | None = None

    def contradiction(self) -> str:
        """Tell what in this head contradicts itself; empty when nothing does."""
        fails = self.expect is Expect.FAIL
        return first_true(
            (
                fails and not self.classes,
                "'classes' is missing: a plan that is to fail names what will be wrong",
            ),
            (
                bool(self.classes) and not fails,
                "'classes' is of no use: nothing is to be wrong unless 'expect' is 'fail'",
            ),
        )


class Plan(Head, frozen=True, kw_only=True):
    """One fault plan: `Head`, and its rules.

    Attributes:
        faults: In the order of the file; every rule has a unique name.
    """

    faults: tuple[Fault, ...] = ()

    def with_seed(self, seed: int | None) -> Plan:
        """This plan under another seed; None keeps its own.

        Raises:
            UserError: The seed is negative, or no number of 63 bits.
        """
        if seed is None:
            return self
        if not 0 <= seed <= MOST_SEED:
            wrong = "is negative" if seed < 0 else "is too large"
            raise UserError(f"Seed {shown(seed)} {wrong}.", hint=f"Give 0 to {MOST_SEED}.")
        return msgspec.structs.replace(self, seed=seed)

    def rules(self, kind: type[RuleT]) -> tuple[RuleT, ...]:
        """The rules of one layer, told by their type."""
        return tuple(fault for fault in self.faults if isinstance(fault, kind))

    def at(self, place: Place) -> Plan:
        """This plan without the endpoint rules of the other place."""
        kept = (f for f in self.faults if not isinstance(f, EndpointFault) or f.place is place)
        return msgspec.structs.replace(self, faults=tuple(kept))


def layer_of(rule: Rule[Any, Any] | type[Rule[Any, Any]]) -> Layer:
    """The layer of a rule, or of a type of rules."""
    return Layer(str(rule.__struct_config__.tag))


NO_FAULTS = Plan(name="none")
"""The plan of a run in which nothing is made to fail."""
