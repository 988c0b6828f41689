"""One endpoint's queue in the back end, and the rule when it runs.

Linux promises a USB driver that, when an URB ends in error or is unlinked, the endpoint's queue
stands still until the driver's completion handler has returned and every URB unlinked in it has
been retired (kerneldoc of ``usb_unlink_urb``).  Here the handler runs on another machine.  So the
back end stops the queue itself, keeps what has not run (policy `hold`), and goes on when the front
end says that its client is done.

An endpoint is in one of three states:

* OPEN: URBs go to the controller, at most `window` at a time;
* DRAINING: stopped, but the controller still has some; they end as they end;
* QUIET: stopped, and the controller has none.  Only now is it *known* that no queued URB has run.

`TRANSITIONS` below is the whole rule.  Every stop advances the **epoch**, and a RESUME names the
epoch that it means to end: one that was sent before a further stop is void.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from rig.errors import ApiViolationError, RemoteProtocolError
from rig.splitdriver.messages import Reset, Submit


class State(StrEnum):
    """Whether URBs may go to the controller."""

    OPEN = "open"
    DRAINING = "draining"
    QUIET = "quiet"


class Event(StrEnum):
    """What can happen to an endpoint; BUSY and IDLE tell whether the controller still has URBs."""

    ENDED_BUSY = "ended, others in the controller"
    ENDED_IDLE = "ended, none in the controller"
    FAILED_BUSY = "failed, others in the controller"
    FAILED_IDLE = "failed, none in the controller"
    UNLINK_BUSY = "unlink, some in the controller"
    UNLINK_IDLE = "unlink, none in the controller"
    RESUME = "resume"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.OPEN: {
        Event.ENDED_BUSY: State.OPEN,
        Event.ENDED_IDLE: State.OPEN,
        Event.FAILED_BUSY: State.DRAINING,
        Event.FAILED_IDLE: State.QUIET,
        Event.UNLINK_BUSY: State.DRAINING,
        Event.UNLINK_IDLE: State.QUIET,
    },
    State.DRAINING: {
        Event.ENDED_BUSY: State.DRAINING,
        Event.ENDED_IDLE: State.QUIET,
        Event.FAILED_BUSY: State.DRAINING,
        Event.FAILED_IDLE: State.QUIET,
        Event.UNLINK_BUSY: State.DRAINING,
        Event.RESUME: State.OPEN,
    },
    State.QUIET: {
        Event.UNLINK_IDLE: State.QUIET,
        Event.RESUME: State.OPEN,
    },
}

STOPS = frozenset({Event.FAILED_BUSY, Event.FAILED_IDLE, Event.UNLINK_BUSY, Event.UNLINK_IDLE})
"""Events that advance the epoch."""

Work = Submit | Reset
"""What can stand in a queue: a port reset takes its turn in ep0's."""


class Unlinked(StrEnum):
    """What became of a request to unlink."""

    UNKNOWN = "unknown"
    """It is not here: it has been completed already."""
    DROPPED = "dropped"
    """It was queued and has not run; it is gone from the queue."""
    RUNNING = "running"
    """The controller has it and must be told to discard it."""


class Endpoint:
    """The queue of one endpoint.

    Args:
        window: How many URBs may be in the controller at a time.  1 is exact on every host
            controller: what is not in the controller cannot run behind an error.
    """

    def __init__(self, window: int = 1) -> None:
        self.state = State.OPEN
        self.epoch = 0
        self._window = window
        self._queue: deque[Work] = deque()
        self._running: dict[int, Work] = {}

    def __len__(self) -> int:
        return len(self._queue) + len(self._running)

    @property
    def quiet(self) -> bool:
        """Whether it is stopped and nothing of it is in the controller."""
        return self.state is State.QUIET

    def add(self, work: Work) -> None:
        """Queue work behind what is there.

        Raises:
            RemoteProtocolError: An URB of that number is here already.
        """
        if isinstance(work, Submit) and self._find(work.urb_id) is not None:
            raise RemoteProtocolError(f"URB {work.urb_id} was submitted twice.")
        self._queue.append(work)

    def start(self) -> Work | None:
        """Return the next work if it may go to the controller now; it counts as running then."""
        if self.state is not State.OPEN or not self._queue or len(self._running) >= self._window:
            return None
        work = self._queue.popleft()
        self._running[_number(work)] = work
        return work

    def end(self, number: int, *, stops: bool) -> Work:
        """Take note that running work has ended.

        Args:
            number: The URB's number, or `RESET_NUMBER`.
            stops: Whether Linux promises that the queue stops now.

        Raises:
            ApiViolationError: No such work is running.
        """
        work = self._running.pop(number, None)
        if work is None:
            raise ApiViolationError(f"URB {number} ended, but it was not running.")
        if stops:
            self._happened(Event.FAILED_BUSY if self._running else Event.FAILED_IDLE)
        else:
            self._happened(Event.ENDED_BUSY if self._running else Event.ENDED_IDLE)
        return work

    def unlink(self, urb_id: int) -> Unlinked:
        """Stop the queue and take an URB out of it, or say that the controller has it."""
        if urb_id in self._running:
            self._happened(Event.UNLINK_BUSY)
            return Unlinked.RUNNING
        work = self._find(urb_id)
        if work is None:
            return Unlinked.UNKNOWN
        self._queue.remove(work)
        self._happened(Event.UNLINK_BUSY if self._running else Event.UNLINK_IDLE)
        return Unlinked.DROPPED

    def drop(self, urb_id: int) -> None:
        """Take out an URB that the front end has given back by itself; the state stays.

        Raises:
            RemoteProtocolError: The endpoint is not quiet or has no such URB: the front end could
                not know that it had not run.
        """
        work = self._find(urb_id)
        if work is None or not self.quiet:
            raise RemoteProtocolError(f"URB {urb_id} cannot have been unlinked by the front alone.")
        self._queue.remove(work)

    def resume(self, epoch: int) -> bool:
        """Open the queue again, unless a further stop came since that epoch.

        Returns:
            Whether it is open now because of this.

        Raises:
            RemoteProtocolError: No stop of that epoch was ever told.
        """
        if epoch > self.epoch:
            raise RemoteProtocolError(f"RESUME names epoch {epoch}, the last was {self.epoch}.")
        if epoch < self.epoch or self.state is State.OPEN:
            return False
        self._happened(Event.RESUME)
        return True

    def running(self) -> list[int]:
        """Return the numbers of what the controller has."""
        return list(self._running)

    def _happened(self, event: Event) -> None:
        following = TRANSITIONS[self.state].get(event)
        if following is None:
            raise ApiViolationError(f"'{event}' cannot happen to an endpoint that is {self.state}.")
        self.state = following
        if event in STOPS:
            self.epoch += 1

    def _find(self, urb_id: int) -> Work | None:
        if urb_id in self._running:
            return self._running[urb_id]
        return next((work for work in self._queue if _number(work) == urb_id), None)


RESET_NUMBER = -1
"""Stands for a port reset where an URB's number is asked; URBs have numbers from 0."""


def _number(work: Work) -> int:
    return work.urb_id if isinstance(work, Submit) else RESET_NUMBER
