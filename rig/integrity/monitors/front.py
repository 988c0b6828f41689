"""The monitor of the front end: what ``vhci_hcd`` queues, and what it is given back.  Pure."""

from __future__ import annotations

import errno

import msgspec

from rig.integrity.monitors.breach import Rule
from rig.integrity.monitors.watch import Watch, where
from rig.usb.urb import status_name
from rig.usb.urblog import Kind, UrbEvent

NOT_RUN = frozenset(
    -number
    for number in (
        *(errno.ECONNRESET, errno.ENOENT),  # unlinked
        *(errno.ESHUTDOWN, errno.ENODEV),  # the device, or its configuration, is gone
        errno.EINVAL,  # never taken
    )
)
"""URBs that end so did not end by themselves on the bus: no order is promised for them."""


class _Open(msgspec.Struct):
    endpoint: int
    length_bytes: int
    unlinked: bool = False


class FrontMonitor(Watch):
    """Rules `ONE_COMPLETION`, `ORDER`, `PORT_DOWN` and `LENGTH`, at the front's kernel."""

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[int, _Open] = {}  # in the order of their submission
        self._unanswered: dict[int, int] = {}  # of each URB, how many wishes
        self._handlers = {
            Kind.SUBMIT: self._submitted,
            Kind.UNLINK: self._unlinked,
            Kind.GIVEBACK: self._given_back,
            Kind.ANSWER: self._answered,
            Kind.UP: self._came,
            Kind.DOWN: self._went,
        }

    def _came(self, event: UrbEvent) -> None:
        self._seen_port, self._up = True, event.device

    def _went(self, _: UrbEvent) -> None:
        self._seen_port, self._up = True, None
        self._open.clear()
        self._unanswered.clear()

    def _submitted(self, event: UrbEvent) -> None:
        if not self._is_there(event, "was submitted"):
            return
        if event.urb in self._open:
            self._breach(Rule.ONE_COMPLETION, event.urb, f"URB {event.urb} was submitted twice.")
        self._open[event.urb] = _Open(where(event)[0], event.length_bytes)

    def _unlinked(self, event: UrbEvent) -> None:
        if self._is_there(event, "was unlinked"):
            self._unanswered[event.urb] = self._unanswered.get(event.urb, 0) + 1
            if event.urb in self._open:
                self._open[event.urb].unlinked = True

    def _answered(self, event: UrbEvent) -> None:
        if not self._is_there(event, "was told to be unlinked"):
            return
        left = self._unanswered.pop(event.urb, 0) - 1
        if left < 0:
            self._breach(
                Rule.ONE_COMPLETION, event.urb, f"The unlink of URB {event.urb} was answered twice."
            )
        elif left:
            self._unanswered[event.urb] = left
        if event.urb in self._open:
            self._breach(
                Rule.ONE_COMPLETION,
                event.urb,
                f"The unlink of URB {event.urb} was answered before it was given back.",
            )

    def _given_back(self, event: UrbEvent) -> None:
        if not self._is_there(event, "was given back"):
            return
        urb = self._open.pop(event.urb, None)
        if urb is None:
            self._breach(
                Rule.ONE_COMPLETION, event.urb, f"URB {event.urb} was given back, but is not open."
            )
            return
        if event.length_bytes > urb.length_bytes:
            self._breach(
                Rule.LENGTH,
                event.urb,
                f"URB {event.urb} of {urb.length_bytes} octets was given back with"
                f" {event.length_bytes}.",
            )
        if event.status not in NOT_RUN:
            self._check_order(event, urb.endpoint)

    def _check_order(self, event: UrbEvent, endpoint: int) -> None:
        for number, other in self._open.items():
            if other.endpoint == endpoint and number < event.urb:
                self._breach(
                    Rule.ORDER,
                    event.urb,
                    f"URB {event.urb} of {where(event)[1]} was given back with"
                    f" {status_name(event.status)} before URB {number}, which had been queued"
                    " before it.",
                )
                return

    def _find_leftovers(self) -> None:
        for number, urb in self._open.items():
            state = "unlinked, and" if urb.unlinked else "submitted, and"
            self._breach(Rule.ONE_COMPLETION, number, f"URB {number} was {state} never given back.")
        for number in self._unanswered.keys() - self._open.keys():
            self._breach(
                Rule.ONE_COMPLETION, number, f"The unlink of URB {number} was never answered."
            )
