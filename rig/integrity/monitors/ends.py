"""The monitor of both ends: does the client get what the device sent?  Pure.

A log may begin later than the other's, or be cut off before it ends.  So it is no breach by itself
that the back end's lacks what the front end's tells of.  But the link keeps the order of what is
submitted: if an URB has come to the back end, whatever was submitted later must come there, too,
while its log goes on; and the log goes on if it tells of an URB that was submitted later still.
"""

from __future__ import annotations

import msgspec

from rig.integrity.monitors.breach import Breach, Rule
from rig.integrity.monitors.watch import Watch
from rig.usb.urb import status_name
from rig.usb.urblog import Kind, Place, UrbEvent

_Key = tuple[int, int]


class _Urb(msgspec.Struct):
    number: int  # in the order of submission
    sent_digest: int
    unlinked: bool = False
    started: UrbEvent | None = None
    ended: UrbEvent | None = None


class EndsMonitor(Watch):
    """Rule `ENDS_AGREE`, on the events of both ends, merged so that causes precede effects.

    Of what only one of the two streams covers it says nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._urbs: dict[_Key, _Urb] = {}
        self._submits = 0
        self._begins: int | None = None  # the number of the first URB that came to the back
        self._whole: set[int] = set()  # devices whose beginning the back's log has
        self._doubts: list[tuple[int, Breach]] = []  # each with how many URBs there were then
        self._handlers = {
            Kind.SUBMIT: self._submitted,
            Kind.UNLINK: self._unlinked,
            Kind.START: self._started,
            Kind.END: self._ended,
            Kind.GIVEBACK: self._given_back,
            Kind.UP: self._came,
        }

    def _came(self, event: UrbEvent) -> None:
        if event.place is Place.BACK:
            self._whole.add(event.device)

    def _submitted(self, event: UrbEvent) -> None:
        if event.place is Place.FRONT:
            self._submits += 1
            self._urbs[event.device, event.urb] = _Urb(self._submits, event.digest)
            return
        urb = self._urbs.get((event.device, event.urb))
        if urb is None:
            return
        self._begins = min(urb.number, self._begins or urb.number)
        sure = [breach for number, breach in self._doubts if number < urb.number]
        self.breaches += sure
        self._doubts = self._doubts[len(sure) :]

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
        if urb is None:
            return
        ended = urb.ended
        if ended is None:
            if event.status == 0 and self._has_begun(event, urb):
                text = "was given back as done, but has not ended in the controller"
                breach = self._seen(Rule.ENDS_AGREE, event.urb, f"URB {event.urb} {text}.")
                self._doubts.append((self._submits, breach))
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

    def _has_begun(self, event: UrbEvent, urb: _Urb) -> bool:
        """Whether the back end's log would tell of an URB, if it goes on long enough."""
        return event.device in self._whole or (
            self._begins is not None and self._begins <= urb.number
        )

    def _find_leftovers(self) -> None:
        """Both streams were whole; what never came back is the matter of the other monitors."""
        self.breaches += [breach for _, breach in self._doubts]
        self._doubts.clear()


def _words(end: tuple[int, int]) -> str:
    return f"{status_name(end[0])} and {end[1]} octets"
