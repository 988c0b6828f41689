"""The emulated host controllers at the end of the cable, and which errors each can show.

What a driver sees is made by three: the cable answers a transfer with a status, QEMU's model of the
controller turns that into its registers, and Linux's driver reads those.  Not every error gets
through all of them as it would on a real bus, so a plan that asks for one that does not is refused
here.  Found by trying each (``docs/cable.md``).  Pure.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rig.cable.usbredir.vocabulary import Speed, Status
from rig.errors import UserError
from rig.faults.plan import Plan
from rig.faults.rules.endpoint import (
    EndpointEffect,
    EndpointFault,
    EndpointStatus,
    Place,
    When,
)
from rig.usb.urb import Direction


class Controller(StrEnum):
    """The host controllers that the cable can be plugged into."""

    XHCI = "xhci"
    XHCI_RAW = "xhci-raw"
    """xHCI whose driver does not repeat by itself (``xhci_hcd quirks=0x10000000000``)."""
    EHCI = "ehci"
    OHCI = "ohci"

    @property
    def speed(self) -> Speed:
        """At which a gadget behind `usbip-vudc` runs on it."""
        return Speed.FULL if self is Controller.OHCI else Speed.HIGH

    @property
    def short_stops(self) -> bool:
        """Whether a short IN transfer may stop QEMU's endpoint (``ehci_execute``: ``spd``)."""
        return self is Controller.EHCI

    @property
    def bulk_bytes_per_s(self) -> int:
        """What a bus of its speed carries: full packets, nothing else (USB 2.0, §5.8.4)."""
        return _BULK_BYTES_PER_S[self.speed]


_BULK_BYTES_PER_S = {Speed.FULL: 19 * 64 * 1000, Speed.HIGH: 13 * 512 * 8000}
"""19 packets a frame (table 5-9), 13 a microframe (table 5-10)."""

WIRE_STATUS = {
    EndpointStatus.EPROTO: Status.IO_ERROR,
    EndpointStatus.ETIME: Status.IO_ERROR,
    EndpointStatus.EPIPE: Status.STALL,
    EndpointStatus.EOVERFLOW: Status.BABBLE,
    EndpointStatus.EREMOTEIO: Status.SUCCESS,
}
"""What the cable answers so that Linux's driver ends an URB with a status.

A short transfer is no error on the wire: the driver makes one of it for a client that has
forbidden it (SHORT_NOT_OK), as usb-storage has for its data.
"""

_ALWAYS = frozenset({EndpointStatus.EPIPE, EndpointStatus.EOVERFLOW, EndpointStatus.EREMOTEIO})

SHOWS: dict[Controller, frozenset[EndpointStatus]] = {
    Controller.XHCI: _ALWAYS,
    Controller.XHCI_RAW: _ALWAYS | {EndpointStatus.EPROTO},
    Controller.EHCI: _ALWAYS,
    Controller.OHCI: _ALWAYS | {EndpointStatus.ETIME},
}
"""The statuses that each controller's driver reports when the cable makes them."""

XHCI_ATTEMPTS = 5
"""One, and what follows while ``err_count++ <= MAX_SOFT_RETRY`` (``process_bulk_intr_td``)."""

_WHY_NOT = {
    (Controller.XHCI, EndpointStatus.EPROTO): (
        "its driver repeats the transfer by itself and says nothing",
        "Take attachment xhci-raw, whose driver does not; or let the transfer fail each time:"
        f" 'nth', 'times' of {XHCI_ATTEMPTS}, 'when' before.",
    ),
    (Controller.EHCI, EndpointStatus.EPROTO): (
        "QEMU's EHCI repeats an OUT transfer without its data, which no real controller does",
        "Take attachment xhci-raw.",
    ),
    (Controller.OHCI, EndpointStatus.EPROTO): (
        "its driver calls a transfer without an answer ETIME",
        "Ask for ETIME.",
    ),
}

OHCI_OUT_BYTES = 64
"""QEMU's OHCI sends OUT data packet by packet; no transfer OUT on its cable is larger."""

_BY_CODE = {status.code: status for status in EndpointStatus}


class Cut(msgspec.Struct, frozen=True):
    """How a transfer runs instead.

    Attributes:
        run_bytes: So much of its buffer goes to the device; None: the device never hears of it.
        status: What is answered in the end, if the transfer itself does not fail.
    """

    run_bytes: int | None
    status: Status


def cut(effect: EndpointEffect, length_bytes: int, max_packet_bytes: int) -> Cut:
    """Return what becomes of a transfer.

    A part of a packet cannot be on the bus: what moves are whole packets.
    """
    status = WIRE_STATUS[_BY_CODE[effect.status]]
    if effect.at_bytes is not None:
        moved = min(effect.at_bytes, length_bytes)
        moved -= moved % max_packet_bytes if moved < length_bytes else 0
        return Cut(moved or None, status)
    match effect.when:
        case When.BEFORE:
            return Cut(None, status)
        case When.MIDDLE:
            half = length_bytes // max_packet_bytes // 2 * max_packet_bytes
            return Cut(half or None, status)
    return Cut(length_bytes, status)


def check_plan(plan: Plan, controller: Controller | None) -> None:
    """Make sure that the cable can do what a plan asks of it.

    Args:
        plan: The plan.
        controller: At the end of the cable; None: there is no cable.

    Raises:
        UserError: It cannot.
    """
    for rule in plan.at(Place.CABLE).rules(EndpointFault):
        if rule.place is Place.CABLE:
            check_rule(rule, controller)


def _outlasts(rule: EndpointFault, controller: Controller) -> bool:
    """Whether an error comes again until the driver gives up, and nothing arrives twice."""
    return (
        controller is Controller.XHCI
        and rule.status is EndpointStatus.EPROTO
        and rule.when is When.BEFORE
        and rule.nth is not None
        and rule.times == XHCI_ATTEMPTS
    )


def check_rule(rule: EndpointFault, controller: Controller | None) -> None:
    """Make sure that the cable can do what one rule asks of it.

    Raises:
        UserError: It cannot.
    """
    if controller is None:
        raise UserError(
            f"Fault '{rule.name}' is to happen on the cable, and this attachment has none.",
            hint=f"Take one of the attachments {', '.join(Controller)}.",
        )
    assert rule.status is not None  # a rule without one is of the back end's port alone
    if rule.status not in SHOWS[controller] and not _outlasts(rule, controller):
        can = ", ".join(sorted(SHOWS[controller]))
        why, hint = _WHY_NOT.get(
            (controller, rule.status),
            ("nothing on the wire makes its driver say so", f"It can show {can}."),
        )
        raise UserError(
            f"Fault '{rule.name}': the cable at {controller} cannot show {rule.status}: {why}.",
            hint=hint,
        )
    if rule.status is EndpointStatus.EREMOTEIO and rule.when is When.AFTER:
        raise UserError(
            f"Fault '{rule.name}': the cable cannot show {rule.status} after all data:"
            " a transfer with all its data is not short.",
            hint="Take 'before', 'middle' or 'at_bytes'.",
        )
    is_out = rule.direction is Direction.OUT
    if controller is Controller.OHCI and is_out and rule.min_bytes > OHCI_OUT_BYTES:
        raise UserError(
            f"Fault '{rule.name}': at ohci no OUT transfer on the cable has {rule.min_bytes} bytes:"
            f" they are sent in packets of {OHCI_OUT_BYTES}.",
            hint=f"Give 'min_bytes' of {OHCI_OUT_BYTES} or less.",
        )
