"""Where the gadget of a run is plugged in: what the user says, and what the plan needs."""

from __future__ import annotations

from rig.cable.controllers import Controller, check_plan
from rig.errors import UserError
from rig.faults.plan import Plan
from rig.lab.attachment import DUMMY, Attachment, parse_attachment


def plug(plan: Plan, wish: str | None) -> tuple[Attachment, Controller | None]:
    """Return the attachment, and the controller at the end of its cable if it has one.

    Args:
        plan: The plan.
        wish: The user's, as `parse_attachment` takes it; None: the plan's, or else dummy.

    Raises:
        UserError: There is no such attachment, the plan is for another one, or the plan asks of a
            cable what it cannot do.
    """
    if wish is not None and plan.attachment not in (None, wish):
        raise UserError(
            f"Plan '{plan.name}' is for attachment '{plan.attachment}', not for '{wish}'.",
            hint="Leave --attachment out, or take another plan.",
        )
    plugged = parse_attachment(wish or plan.attachment or DUMMY.name)
    controller = Controller(plugged.name) if plugged.has_cable else None
    check_plan(plan, controller)
    return plugged, controller
