"""The same plan at another attachment: its endpoint errors, where and as they can be made there.

Pure.  In a split driver's port any status can be made; on the cable only what the controller's
driver can be made to say (`rig.cable.controllers.SHOWS`).
"""

from __future__ import annotations

import msgspec

from rig.cable.controllers import SHOWS, Controller
from rig.faults.plan import Fault, Plan
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, Place
from rig.lab.attachment import Attachment

INSTEAD = EndpointStatus.EPIPE
"""What every controller can show."""


def fit(plan: Plan, attachment: Attachment) -> Plan:
    """Return a plan whose endpoint errors happen at an attachment.

    On a cable, if there is one, else in the back end's port.  A status that the cable cannot show
    there becomes `INSTEAD`.
    """
    controller = Controller(attachment.name) if attachment.has_cable else None
    faults = tuple(_fit(fault, controller) for fault in plan.faults)
    return msgspec.structs.replace(plan, attachment=None, faults=faults)


def _fit(fault: Fault, controller: Controller | None) -> Fault:
    if not isinstance(fault, EndpointFault):
        return fault
    if controller is None:
        return msgspec.structs.replace(fault, place=Place.PORT)
    shown = fault.status is None or fault.status in SHOWS[controller]
    status = fault.status if shown else INSTEAD
    return msgspec.structs.replace(fault, place=Place.CABLE, status=status)


def statuses(plan: Plan) -> tuple[str, ...]:
    """Return the statuses of a plan's endpoint errors, each once."""
    found = (rule.status for rule in plan.rules(EndpointFault) if rule.status is not None)
    return tuple(dict.fromkeys(str(status) for status in found))
