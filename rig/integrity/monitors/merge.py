"""Two logs of URBs, of two machines with two clocks, as one stream in which causes come first.

The clocks are not compared: what is known is that an URB is submitted on the front before it comes
to the back, and completed on the back before it is given back on the front.  Pure.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator

from rig.usb.urblog import Kind, Place, UrbEvent

_Key = tuple[int, int]


class Merge:
    """Merges the logs of a front end and a back end while they grow; each keeps its order.

    The back goes ahead as far as it can: what the front was given comes behind it then.  It waits
    where an URB has come to it that the front's log has not told of yet.  So the stream is the
    same however the logs come in, and any beginning of it has all causes of what is in it.
    """

    def __init__(self) -> None:
        self._front: deque[UrbEvent] = deque()
        self._back: deque[UrbEvent] = deque()
        self._sent: Counter[_Key] = Counter()  # submitted on the front, not yet come to the back
        self._to_send: Counter[_Key] = Counter()  # submitted in what the front has waiting

    @property
    def waiting(self) -> int:
        """How many events wait for the other log."""
        return len(self._front) + len(self._back)

    def add(self, place: Place, event: UrbEvent) -> None:
        """Take the next event of the log of that end."""
        if place is Place.FRONT:
            self._front.append(event)
            if event.kind is Kind.SUBMIT:
                self._to_send[_key(event)] += 1
        else:
            self._back.append(event)

    def take(self, *, over: bool = False) -> Iterator[UrbEvent]:
        """Return what is next in the stream.

        Args:
            over: Nothing more will be added.  A log that lacks what the other must have had (its
                process was killed) holds nothing up then.
        """
        while self._back:
            event = self._back[0]
            if event.kind is Kind.SUBMIT and not self._sent[_key(event)]:
                if self._to_send[_key(event)]:
                    yield self._next_of_front()
                    continue
                if not over:
                    return
            yield self._next_of_back()
        while over and self._front:
            yield self._next_of_front()

    def _next_of_front(self) -> UrbEvent:
        event = self._front.popleft()
        if event.kind is Kind.SUBMIT:
            self._sent[_key(event)] += 1
            _less(self._to_send, _key(event))
        return event

    def _next_of_back(self) -> UrbEvent:
        event = self._back.popleft()
        if event.kind is Kind.SUBMIT:
            _less(self._sent, _key(event))
        return event


def merged(front: Iterable[UrbEvent], back: Iterable[UrbEvent]) -> list[UrbEvent]:
    """Merge the whole logs of a front end and a back end."""
    merge = Merge()
    for place, log in ((Place.FRONT, front), (Place.BACK, back)):
        for event in log:
            merge.add(place, event)
    return list(merge.take(over=True))


def _key(event: UrbEvent) -> _Key:
    return event.device, event.urb


def _less(counter: Counter[_Key], key: _Key) -> None:
    """Count one down; what is at 0 takes no room."""
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
