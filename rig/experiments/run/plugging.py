"""Where the gadget of a run is plugged in, and who carries it on."""

from __future__ import annotations

from rig.cable.controllers import Controller, check_plan
from rig.errors import UserError
from rig.faults.plan import Fault, Plan
from rig.faults.rules.endpoint import EndpointFault, Place
from rig.faults.rules.link import LinkFault
from rig.faults.rules.machine import DaemonName, MachineFault, MachineKind
from rig.lab.attachment import DUMMY, Attachment, parse_attachment
from rig.lab.paths import PathName


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


def check_driver(plan: Plan, driver: PathName) -> None:
    """Refuse faults that are made in the split driver if another one carries the device.

    Args:
        plan: The plan.
        driver: Who carries it.

    Raises:
        UserError: A rule has no place to strike.
    """
    if driver is PathName.SPLIT:
        return
    for fault in plan.faults:
        missing = _missing(fault)
        if missing:
            raise UserError(
                f"Fault '{fault.name}' of plan '{plan.name}' needs {missing}, and driver {driver}"
                " has none.",
                hint="Below any driver are the medium, the device, and the cable (place ="
                ' "cable", with --attachment xhci-raw).',
            )


def _missing(fault: Fault) -> str:
    """Return what a rule needs that only the split driver has; empty for nothing."""
    match fault:
        case EndpointFault(place=Place.PORT):
            return "the back end's port"
        case LinkFault():
            return "a relay in the split driver's link"
        case MachineFault(daemon=(DaemonName.BACK | DaemonName.FRONT) as name):
            return f"the daemon '{name}'"
        case MachineFault(kind=kind) if kind not in (MachineKind.PAUSE, MachineKind.STOP_DAEMON):
            return "somebody who plugs the device in again"
    return ""
