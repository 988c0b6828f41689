"""The monitor of both ends: does the client get what the device sent?  Pure."""

from __future__ import annotations

import msgspec

from rig.integrity.monitors.breach import Rule
from rig.integrity.monitors.watch import Watch
from rig.usb.urb import status_name
from rig.usb.urblog import Kind, Place, UrbEvent

_Key = tuple[int, int]


class _Urb(msgspec.Struct):
    sent_digest: int
    unlinked: bool = False
    started: UrbEvent | None = None
    ended: UrbEvent | None = None


class EndsMonitor(Watch):
    """Rule `ENDS_AGREE`, on the events of both ends, merged so that causes precede effects.

    Of a stream of the front end alone it says nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._urbs: dict[_Key, _Urb] = {}
        self._both = False
        self._handlers = {
            Kind.SUBMIT: self._submitted,
            Kind.UNLINK: self._unlinked,
            Kind.START: self._started,
            Kind.END: self._ended,
            Kind.GIVEBACK: self._given_back,
        }

    def feed(self, event: UrbEvent, at: int) -> None:
        """See `Watch.feed`."""
        self._both = self._both or event.place is Place.BACK
        super().feed(event, at)

    def _submitted(self, event: UrbEvent) -> None:
        if event.place is Place.FRONT:
            self._urbs[event.device, event.urb] = _Urb(event.digest)

    def _unlinked(self, event: UrbEvent) -> None:
        urb = self._urbs.get((event.device, event.urb))
        if urb is not None and event.place is Place.FRONT:
            urb.unlinked = True

    def _started(self, event: UrbEvent) -> None:
        urb = self._urbs.get((event.device, event.urb))
        if urb is None:
            return
        urb.started = event
        if event.digest != urb.sent_digest:
            self._breach(
                Rule.ENDS_AGREE,
                event.urb,
                f"URB {event.urb} was started with other data than its client's.",
            )

    def _ended(self, event: UrbEvent) -> None:
        urb = self._urbs.get((event.device, event.urb))
        if urb is not None:
            urb.ended = event

    def _given_back(self, event: UrbEvent) -> None:
        if event.place is not Place.FRONT:
            return
        urb = self._urbs.pop((event.device, event.urb), None)
        if urb is None or not self._both:
            return
        ended = urb.ended
        if ended is None:
            if event.status == 0:
                self._breach(
                    Rule.ENDS_AGREE,
                    event.urb,
                    f"URB {event.urb} was given back as done, but has not ended in the controller.",
                )
            return
        told, real = (event.status, event.length_bytes), (ended.status, ended.length_bytes)
        lied = (event.status == 0) != (ended.status == 0) and not (urb.unlinked and event.status)
        if lied or event.length_bytes != ended.length_bytes:
            self._breach(
                Rule.ENDS_AGREE,
                event.urb,
                f"URB {event.urb} ended with {_words(real)} in the controller, and was given back"
                f" with {_words(told)}.",
            )
        elif event.digest != ended.digest:
            self._breach(
                Rule.ENDS_AGREE,
                event.urb,
                f"URB {event.urb} was given back with other data than the device's.",
            )

    def _find_leftovers(self) -> None:
        """What never came back is the matter of the other monitors."""


def _words(end: tuple[int, int]) -> str:
    return f"{status_name(end[0])} and {end[1]} octets"
