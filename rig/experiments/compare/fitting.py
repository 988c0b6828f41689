"""The same plan at another attachment: its endpoint errors, where and as they can be made there.

Pure.  In a split driver's port any status can be made; on the cable only what the controller's
driver can be made to say (`rig.cable.controllers.SHOWS`).  `dummy_hcd` is a function call between a
driver and a gadget, without a wire: below a driver that has no port of the rig's, a transfer OUT
fails there only if the device halts its endpoint (``dummy_timer``, ``drivers/usb/gadget/udc/
dummy_hcd.c``).  So the device does that, in the middle of a WRITE.
"""

from __future__ import annotations

import msgspec

from rig.cable.controllers import SHOWS, XHCI_ATTEMPTS, Controller
from rig.faults.plan import Fault, Plan
from rig.faults.rules.device import DeviceFault, DeviceKind
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, Place, When
from rig.lab.attachment import Attachment
from rig.lab.paths import PathName
from rig.usb.bot import Opcode
from rig.usb.urb import Direction

INSTEAD = EndpointStatus.EPIPE
"""What every controller can show."""

TRANSFERS_A_COMMAND = 4
"""Of the deep-queue client's usual WRITE here: a device counts commands, and not transfers."""


def fit(plan: Plan, attachment: Attachment, driver: PathName = PathName.SPLIT) -> Plan:
    """Return a plan whose endpoint errors happen at an attachment, whoever carries the device.

    On a cable, if there is one, else in the split driver's port, else in the device.  A status that
    cannot be made there becomes `INSTEAD`.
    """
    controller = Controller(attachment.name) if attachment.has_cable else None
    faults = tuple(_fit(fault, controller, driver) for fault in plan.faults)
    if controller is Controller.XHCI:
        faults = _lasting(plan.faults, faults)
    return msgspec.structs.replace(plan, attachment=None, faults=faults)


def _lasting(wished: tuple[Fault, ...], fitted: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Let single transaction errors come again until xHCI's driver gives up and tells of them.

    Each attempt is a match, so later rules have to count further.
    """
    made: list[Fault] = []
    more = 0
    for wish, fault in zip(wished, fitted, strict=True):
        lasting = fault
        if isinstance(wish, EndpointFault) and wish.nth and _is_single_transaction_error(wish):
            lasting = msgspec.structs.replace(
                fault, status=wish.status, nth=wish.nth + more, times=XHCI_ATTEMPTS
            )
            more += XHCI_ATTEMPTS - 1
        made.append(lasting)
    return tuple(made)


def _is_single_transaction_error(fault: EndpointFault) -> bool:
    return (fault.status, fault.when, fault.times) == (EndpointStatus.EPROTO, When.BEFORE, 1)


def _fit(fault: Fault, controller: Controller | None, driver: PathName) -> Fault:
    if not isinstance(fault, EndpointFault):
        return fault
    if controller is None and driver is not PathName.SPLIT:
        return _by_device(fault)
    if controller is None:
        return msgspec.structs.replace(fault, place=Place.PORT)
    shown = fault.status is None or fault.status in SHOWS[controller]
    status = fault.status if shown else INSTEAD
    return msgspec.structs.replace(fault, place=Place.CABLE, status=status)


def _by_device(fault: EndpointFault) -> Fault:
    """Return a STALL in the middle of a WRITE; the fault itself if it is of no data going out."""
    if fault.direction is not Direction.OUT or fault.stage is not None or fault.nth is None:
        return fault
    return DeviceFault(
        name=fault.name,
        kind=DeviceKind.STALL,
        opcode=Opcode.WRITE_10,
        phase=fault.phase,
        nth=-(-fault.nth // TRANSFERS_A_COMMAND),
    )


def statuses(plan: Plan) -> tuple[str, ...]:
    """Return the statuses of a plan's endpoint errors, each once."""
    found = [str(rule.status) for rule in plan.rules(EndpointFault) if rule.status is not None]
    if any(rule.kind is DeviceKind.STALL for rule in plan.rules(DeviceFault)):
        found.append(f"{INSTEAD} by the device")
    return tuple(dict.fromkeys(found))
