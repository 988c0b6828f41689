"""What a fault plan says: typed rules, checked, in the order of the file.

A plan is data and nothing else; `rig.faults.reader` reads one from text, `rig.faults.triggers`
decides when its rules fire.  What a rule of a layer says is in `rig.faults.rules`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from rig.errors import UserError
from rig.faults.rules.base import Layer, Rule
from rig.faults.rules.device import DeviceFault
from rig.faults.rules.endpoint import EndpointFault, Place
from rig.faults.rules.link import LinkFault
from rig.faults.rules.machine import MachineFault
from rig.faults.rules.medium import MediumFault

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
