"""The monitor of captures: what usbmon saw of the URBs of one machine's controllers.  Pure.

usbmon (Documentation/usb/usbmon.rst) tells submissions and completions, no unlinks and no end of a
port; and a capture may begin and end while URBs are under way.  So it can show less than the logs
of the split driver's ends, but of any machine and any driver.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

import msgspec

from rig.integrity.monitors.breach import Breach, Rule, endpoint_key, endpoint_name
from rig.integrity.monitors.front import NOT_RUN
from rig.usb.urb import TransferType, status_name, stops_endpoint

_UNLINKED = (-errno.ECONNRESET, -errno.ENOENT)


class CaptureEvent(msgspec.Struct, frozen=True):
    """One event of usbmon.

    Attributes:
        urb: usbmon's tag of the URB.
        kind: ``S`` submitted, ``C`` completed, ``E`` refused at submission.
        transfer_type: Of the URB.
        bus: The bus's number.
        device: The device's address.
        endpoint: Its address.
        status: Of a completion.
        length_bytes: That were asked for, or have moved.
        t_ns: When; by what clock, the capture knows.
    """

    urb: int
    kind: str
    transfer_type: TransferType
    bus: int
    device: int
    endpoint: int
    status: int
    length_bytes: int
    t_ns: int


class _Open(msgspec.Struct):
    queue: tuple[int, int, int]
    number: int  # in the order of submission
    length_bytes: int
    behind: int = 0  # the URB that failed while this one was queued


class CaptureMonitor:
    """Rules `ONE_COMPLETION`, `ORDER`, `LENGTH`, and of bulk endpoints `BEHIND` and `WINDOW`.

    `BEHIND` is told where it shows for certain: an URB was queued when another failed, its driver
    took it back, and yet it has moved data.

    Args:
        window: URBs of a bulk endpoint that may be under way at a time; None: any number.
    """

    def __init__(self, window: int | None = None) -> None:
        self.breaches: list[Breach] = []
        self._window = window
        self._open: dict[int, _Open] = {}
        self._completed: set[int] = set()
        self._count = 0
        self._submitted = 0

    def feed(self, event: CaptureEvent) -> list[Breach]:
        """Take the next event; return what it breaks."""
        before = len(self.breaches)
        if event.transfer_type is not TransferType.ISOCHRONOUS:
            if event.kind == "S":
                self._submit(event)
            else:
                self._complete(event)
        self._count += 1
        return self.breaches[before:]

    def _submit(self, event: CaptureEvent) -> None:
        if event.urb in self._open:
            self._breach(Rule.ONE_COMPLETION, event, "was submitted while it was under way")
        self._submitted += 1
        self._completed.discard(event.urb)
        queue = event.bus, event.device, endpoint_key(event.endpoint)
        self._open[event.urb] = _Open(queue, self._submitted, event.length_bytes)
        under_way = sum(urb.queue == queue for urb in self._open.values())
        bulk = event.transfer_type is TransferType.BULK
        if bulk and self._window is not None and under_way > self._window:
            self._breach(Rule.WINDOW, event, f"is one of {under_way} that are under way")

    def _complete(self, event: CaptureEvent) -> None:
        urb = self._open.pop(event.urb, None)
        if urb is None:
            if event.urb in self._completed:
                self._breach(Rule.ONE_COMPLETION, event, "was completed twice")
            return  # else it was submitted before the capture began
        self._completed.add(event.urb)
        if event.kind == "E":
            return
        ended = f"was completed with {status_name(event.status)}"
        if event.length_bytes > urb.length_bytes:
            moved = f"{event.length_bytes} octets moved of {urb.length_bytes}"
            self._breach(Rule.LENGTH, event, f"{ended}, and {moved}")
        if event.status in _UNLINKED and event.length_bytes and urb.behind:
            text = f"{ended}, and has moved {event.length_bytes} octets behind"
            self._breach(Rule.BEHIND, event, f"{text} URB {urb.behind:x}, which failed")
        others = [each for each in self._open.values() if each.queue == urb.queue]
        if event.status not in NOT_RUN and any(each.number < urb.number for each in others):
            self._breach(Rule.ORDER, event, f"{ended} before one that was submitted before it")
        stops = stops_endpoint(event.transfer_type, event.status)
        if stops and event.status not in NOT_RUN and event.transfer_type is TransferType.BULK:
            for each in others:
                each.behind = event.urb

    def _breach(self, rule: Rule, event: CaptureEvent, what: str) -> None:
        place = f"{event.bus}:{event.device:03}, {endpoint_name(event.endpoint)}"
        text = f"URB {event.urb:x} of {place} {what}."
        self.breaches.append(Breach(rule, self._count, event.urb, event.t_ns, text))


def watch_capture(events: Iterable[CaptureEvent], window: int | None = None) -> list[Breach]:
    """Return all breaches in a capture."""
    monitor = CaptureMonitor(window)
    for event in events:
        monitor.feed(event)
    return monitor.breaches
