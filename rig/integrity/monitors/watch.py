"""What the monitors of the two ends share: who is open, and how a breach is told.  Pure."""

from __future__ import annotations

from collections.abc import Callable

from rig.integrity.monitors.breach import Breach, Rule, endpoint_key, endpoint_name
from rig.usb.urblog import Kind, UrbEvent


class Watch:
    """Takes the events of one place, in order, and notes breaches.

    Attributes:
        breaches: What was seen so far.
    """

    def __init__(self) -> None:
        self.breaches: list[Breach] = []
        self._handlers: dict[Kind, Callable[[UrbEvent], None]] = {}
        self._at = 0
        self._now: UrbEvent | None = None
        self._up: int | None = None  # the device that is there
        self._seen_port = False  # before it was told of, nothing is known about it

    def feed(self, event: UrbEvent, at: int) -> None:
        """Take an event.

        Args:
            event: Of this place.
            at: Its number in the stream.
        """
        self._at, self._now = at, event
        handler = self._handlers.get(event.kind)
        if handler is not None:
            handler(event)

    def finish(self, at: int) -> None:
        """The stream has ended in calm: nothing may be open.

        Args:
            at: The number of its events.
        """
        self._at, self._now = at, None
        self._find_leftovers()

    def _find_leftovers(self) -> None:
        raise NotImplementedError

    def _breach(self, rule: Rule, urb: int, text: str) -> None:
        self.breaches.append(self._seen(rule, urb, text))

    def _seen(self, rule: Rule, urb: int, text: str) -> Breach:
        """Return a breach that the present event shows, without noting it."""
        t_ns = 0 if self._now is None else self._now.t_ns
        end = "" if self._now is None else self._now.place.name.lower()
        return Breach(rule, self._at, urb, t_ns, text, end)

    def _is_there(self, event: UrbEvent, what: str) -> bool:
        """Whether the port has that device; a breach if not."""
        if not self._seen_port:
            self._seen_port, self._up = True, event.device  # the log began later
        if event.device == self._up:
            return True
        self._breach(
            Rule.PORT_DOWN, event.urb, f"URB {event.urb} {what}, but its device is not there."
        )
        return False


def where(event: UrbEvent) -> tuple[int, str]:
    """Return an event's endpoint: the name of its queue, and one for people."""
    return endpoint_key(event.endpoint), endpoint_name(event.endpoint)
