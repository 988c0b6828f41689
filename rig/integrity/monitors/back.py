"""The monitor of the back end: what comes over the link, what runs in the controller.  Pure."""

from __future__ import annotations

import errno

import msgspec

from rig.integrity.monitors.breach import Rule
from rig.integrity.monitors.front import NOT_RUN
from rig.integrity.monitors.watch import Watch, where
from rig.usb.urb import TransferType, status_name, stops_endpoint
from rig.usb.urblog import Kind, UrbEvent

_TAKEN_BACK = (-errno.ECONNRESET, -errno.ENOENT)
"""How a kernel ends what was discarded; nothing has run if nothing moved."""


class _Open(msgspec.Struct):
    endpoint: int
    length_bytes: int
    runs: bool = False
    ran: bool = False


class _Endpoint(msgspec.Struct):
    running: int = 0
    epoch: int = 0  # of the last stop that was told
    failed: int | None = None  # the URB that failed, if that stopped it
    floor: int | None = None  # the first URB that stopped it: what came behind it must not run

    def stop(self, urb: int) -> None:
        self.floor = urb if self.floor is None else min(urb, self.floor)


class BackMonitor(Watch):
    """All rules but `ENDS_AGREE`, at the back end.

    Args:
        window: URBs of a bulk endpoint that may be in the controller at a time.
        holds: The policy is ``hold``; the others do not promise `BEHIND`.
    """

    def __init__(self, window: int = 1, *, holds: bool = True) -> None:
        super().__init__()
        self._window = window
        self._holds = holds
        self._open: dict[int, _Open] = {}
        self._orphans: set[int] = set()  # what runs on when the port is down
        self._vanished: set[int] = set()  # what ran in a device when that was pulled out
        self._endpoints: dict[int, _Endpoint] = {}
        self._handlers = {
            Kind.SUBMIT: self._submitted,
            Kind.START: self._started,
            Kind.END: self._ended,
            Kind.GIVEBACK: self._given_back,
            Kind.DROP: self._dropped,
            Kind.RESUME: self._resumed,
            Kind.UP: self._came,
            Kind.DOWN: self._went,
        }

    def _came(self, event: UrbEvent) -> None:
        if self._orphans:
            urb = min(self._orphans)
            self._breach(
                Rule.PORT_DOWN,
                urb,
                f"A front end was told of a device in which URB {urb} of a former one still runs.",
            )
        self._orphans.clear()
        self._seen_port, self._up = True, event.device

    def _went(self, event: UrbEvent) -> None:
        self._seen_port, self._up = True, None
        running = {number for number, urb in self._open.items() if urb.runs}
        if event.status:
            # With the device, all that runs in it is gone; its end may be told, or not.
            self._vanished = running | self._orphans
            self._orphans.clear()
        else:
            self._orphans |= running
        self._open.clear()
        self._endpoints.clear()

    def _endpoint(self, key: int) -> _Endpoint:
        return self._endpoints.setdefault(key, _Endpoint())

    def _submitted(self, event: UrbEvent) -> None:
        if event.device != self._up and self._seen_port:
            return  # sent before the front end knew that the device is gone
        if event.urb in self._open:
            self._breach(Rule.ONE_COMPLETION, event.urb, f"URB {event.urb} was submitted twice.")
        self._open[event.urb] = _Open(where(event)[0], event.length_bytes)

    def _started(self, event: UrbEvent) -> None:
        if not self._is_there(event, "was started"):
            return
        key, name = where(event)
        number = event.urb
        urb = self._open.get(number)
        if urb is None or urb.runs or urb.ran:
            what = "was not submitted" if urb is None else "has run already"
            self._breach(Rule.ONE_COMPLETION, number, f"URB {number} was started, but it {what}.")
            urb = self._open.setdefault(number, _Open(key, event.length_bytes))
        endpoint = self._endpoint(key)
        one_by_one = self._one_by_one(key)
        behind = endpoint.floor is not None and number > endpoint.floor
        # In a larger window it may have been decided before the failure was known: then the kernel
        # takes it back, and that is seen at its end.
        if self._holds and behind and one_by_one:
            why = "was unlinked" if endpoint.failed is None else "failed"
            self._breach(
                Rule.BEHIND,
                number,
                f"URB {number} of {name} was started behind URB {endpoint.floor}, which {why},"
                " before the endpoint may go on.",
            )
        if one_by_one:
            self._check_order(number, key, name)
        urb.runs = True
        endpoint.running += 1
        if endpoint.running > (self._window if key else 1):
            self._breach(
                Rule.WINDOW,
                number,
                f"With URB {number}, {endpoint.running} of {name} are in the controller.",
            )

    def _one_by_one(self, key: int) -> bool:
        return self._window == 1 or not key

    def _check_order(self, number: int, key: int, name: str) -> None:
        for other, urb in self._open.items():
            if urb.endpoint == key and other < number and not urb.runs and not urb.ran:
                self._breach(
                    Rule.ORDER, number, f"URB {number} of {name} has overtaken URB {other}."
                )
                return

    def _ended(self, event: UrbEvent) -> None:
        key, name = where(event)
        number = event.urb
        urb = self._open.get(number)
        if urb is None or not urb.runs:
            former = number in self._orphans | self._vanished
            self._orphans.discard(number)
            self._vanished.discard(number)
            if self._seen_port and not former:
                self._breach(
                    Rule.ONE_COMPLETION, number, f"URB {number} has ended, but was not running."
                )
            return
        urb.runs = False
        endpoint = self._endpoint(key)
        endpoint.running -= 1
        touched = event.length_bytes > 0 or event.status not in _TAKEN_BACK
        urb.ran = touched
        if event.length_bytes > urb.length_bytes:
            self._breach(
                Rule.LENGTH,
                number,
                f"URB {number} of {urb.length_bytes} octets has moved {event.length_bytes}.",
            )
        ran = event.length_bytes > 0 or event.status not in NOT_RUN
        if ran and not self._one_by_one(key):
            self._check_order(number, key, name)
        if ran and self._holds and endpoint.failed is not None and number > endpoint.failed:
            self._breach(
                Rule.BEHIND,
                number,
                f"URB {number} of {name} has run, {status_name(event.status)}, behind URB"
                f" {endpoint.failed}, which failed.",
            )
        kind = TransferType.BULK if key else TransferType.CONTROL
        if event.status not in _TAKEN_BACK and stops_endpoint(kind, event.status):
            endpoint.failed = min(number, endpoint.failed or number)
            endpoint.stop(number)

    def _given_back(self, event: UrbEvent) -> None:
        if not self._is_there(event, "was completed"):
            return
        urb = self._open.pop(event.urb, None)
        if urb is None or urb.runs:
            what = "is not open" if urb is None else "still runs"
            self._breach(
                Rule.ONE_COMPLETION, event.urb, f"URB {event.urb} was completed, but {what}."
            )
        endpoint = self._endpoint(where(event)[0])
        if event.epoch > endpoint.epoch:
            endpoint.epoch = event.epoch
            endpoint.stop(event.urb)

    def _dropped(self, event: UrbEvent) -> None:
        urb = self._open.get(event.urb)
        if urb is None:
            return
        if urb.runs or urb.ran:
            self._breach(
                Rule.ONE_COMPLETION,
                event.urb,
                f"The front end gave URB {event.urb} back as one that has not run, but it has.",
            )
        del self._open[event.urb]

    def _resumed(self, event: UrbEvent) -> None:
        endpoint = self._endpoint(where(event)[0])
        if event.epoch >= endpoint.epoch:
            endpoint.floor = endpoint.failed = None

    def _find_leftovers(self) -> None:
        for number in self._open:
            self._breach(
                Rule.ONE_COMPLETION, number, f"URB {number} came, and was never completed."
            )
        for number in self._orphans:
            self._breach(
                Rule.ONE_COMPLETION, number, f"URB {number} of a lost front end still runs."
            )
