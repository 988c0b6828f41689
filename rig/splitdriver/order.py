"""The order in which the front end's kernel queued things, restored.  Pure.

``vhci_hcd`` numbers all submits and unlinks of one root hub (all its ports) from one counter, in
exactly the order in which they were queued (``vhci_urb_enqueue`` and ``vhci_urb_dequeue`` take the
number under one lock).  It sends them by a thread a port, which drains the submits first and the
unlinks then: so they arrive out of order, but no number is ever missing for good as long as one
process owns every port in use on that root hub.  `Merge` waits for what is missing.

A **barrier** is an URB queued on purpose: when it comes out of the merge, all that was queued
before it has come out.  `Barriers` says when one must be queued.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from rig.errors import RemoteProtocolError

T = TypeVar("T")

LAST_SEQNUM = (1 << 31) - (1 << 20)
"""``vhci_hcd`` keeps an URB's number as a signed int and compares it with an unsigned one: from
2^31 on it finds no URB any more (``pickup_urb_and_free_priv``).  A million is left to end in
order."""

MAX_WAITING = 1 << 16
"""So many commands behind a missing number cannot be: the kernel lost it, or gave it to others."""


class Merge(Generic[T]):
    """Puts numbered things of several sources into the order of their numbers."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._waiting: dict[int, T] = {}

    @property
    def waiting(self) -> int:
        """How many things wait for a number that is still to come."""
        return len(self._waiting)

    @property
    def exhausted(self) -> bool:
        """Whether the numbers have come near the one at which ``vhci_hcd`` breaks."""
        return self._next is not None and self._next > LAST_SEQNUM

    @property
    def expected(self) -> int | None:
        """The number that comes next, if nothing waits for it, and if it is known."""
        return None if self._waiting else self._next

    def begin_behind(self, seqnum: int) -> None:
        """Go on with the next number, whatever is missing: what had those numbers is gone.

        True when nothing but the thing of this number was queued for as long as any other source
        was attached.
        """
        self._next = seqnum + 1
        self._waiting.clear()

    def give_up(self) -> list[T]:
        """Return, in order, what waits for numbers that will not come any more."""
        ready = [thing for _, thing in sorted(self._waiting.items())]
        if self._waiting:
            self.begin_behind(max(self._waiting))
        return ready

    def put(self, seqnum: int, thing: T) -> list[T]:
        """Take a thing; return what is in order now.

        Raises:
            RemoteProtocolError: The number has been seen, or too much waits for a missing one.
        """
        expected = self._next
        if seqnum == expected and not self._waiting:
            self._next = seqnum + 1
            return [thing]
        if expected is None or seqnum < expected or seqnum in self._waiting:
            raise RemoteProtocolError(f"vhci_hcd used the number {seqnum} twice.")
        self._waiting[seqnum] = thing
        if len(self._waiting) > MAX_WAITING:
            raise RemoteProtocolError(
                f"vhci_hcd never sent number {expected}: does somebody else use its controller?"
            )
        return self._take_waiting(expected)

    def _take_waiting(self, number: int) -> list[T]:
        ready = []
        while number in self._waiting:
            ready.append(self._waiting.pop(number))
            number += 1
        self._next = number
        return ready


class Barriers(Generic[T]):
    """One barrier at a time, and who waits for it.

    Who comes while a barrier is on its way must wait for the next: it was queued too early for him.
    """

    def __init__(self) -> None:
        self._riding: list[T] | None = None
        self._next: list[T] = []

    def wait(self, who: T) -> bool:
        """Wait for a barrier that is queued from now on; return whether to queue it now."""
        if self._riding is None:
            self._riding = [who]
            return True
        self._next.append(who)
        return False

    def passed(self) -> tuple[list[T], bool]:
        """The barrier came out: return who waited for it, and whether to queue another now."""
        waited = self._riding or []
        self._riding = self._next or None
        self._next = []
        return waited, self._riding is not None
