"""One endpoint's queue in the back end, and the rule when it runs.

Linux promises a USB driver that, when an URB ends in error or is unlinked, the endpoint's queue
stands still until the driver's completion handler has returned and every URB unlinked in it has
been retired (kerneldoc of ``usb_unlink_urb``).  Here the handler runs on another machine.  What the
queue does instead is the policy's (`rig.splitdriver.policy`).

An endpoint is in one of these states:

* OPEN: URBs go to the controller, at most `window` at a time;
* DRAINING: stopped, but the controller still has some; they end as they end;
* QUIET: stopped, and the controller has none.  Only now is it *known* that no queued URB has run;
* RESUMING: told to go on while draining; what the controller still has may come back and be first;
* FAILING (policy `aca` only): whatever is queued or comes fails without having run.

`TABLES` below is the whole rule.  Every stop advances the **epoch**, and a RESUME names the epoch
that it means to end: one that was sent before a further stop is void.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum

from rig.errors import ApiViolationError, RemoteProtocolError
from rig.splitdriver.messages import Reset, Submit
from rig.splitdriver.policy import Policy


class State(StrEnum):
    """Whether URBs may go to the controller."""

    OPEN = "open"
    DRAINING = "draining"
    QUIET = "quiet"
    RESUMING = "resuming"
    FAILING = "failing"


class Event(StrEnum):
    """What can happen to an endpoint; BUSY and IDLE tell whether the controller still has URBs."""

    ENDED_BUSY = "ended, others in the controller"
    ENDED_IDLE = "ended, none in the controller"
    FAILED_BUSY = "failed, others in the controller"
    FAILED_IDLE = "failed, none in the controller"
    UNLINK_BUSY = "unlink, some in the controller"
    UNLINK_IDLE = "unlink, none in the controller"
    RESUME = "resume"
    CLEAR = "clear"


Table = dict[State, dict[Event, State]]

_RUNNING = (Event.ENDED_BUSY, Event.ENDED_IDLE)
_STOPPING = (Event.FAILED_BUSY, Event.FAILED_IDLE, Event.UNLINK_BUSY, Event.UNLINK_IDLE)

TABLES: dict[Policy, Table] = {
    Policy.HOLD: {
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
            Event.RESUME: State.RESUMING,
        },
        State.QUIET: {
            Event.UNLINK_IDLE: State.QUIET,
            Event.RESUME: State.OPEN,
        },
        State.RESUMING: {
            Event.ENDED_BUSY: State.RESUMING,
            Event.ENDED_IDLE: State.OPEN,
            Event.FAILED_BUSY: State.DRAINING,
            Event.FAILED_IDLE: State.QUIET,
            Event.UNLINK_BUSY: State.DRAINING,
        },
    },
    Policy.ACA: {
        State.OPEN: {
            **dict.fromkeys(_RUNNING, State.OPEN),
            **dict.fromkeys(_STOPPING, State.FAILING),
            Event.CLEAR: State.OPEN,
        },
        State.FAILING: {
            **dict.fromkeys(_RUNNING, State.FAILING),
            **dict.fromkeys(_STOPPING, State.FAILING),
            Event.CLEAR: State.OPEN,
        },
    },
    Policy.NAIVE: {
        State.OPEN: dict.fromkeys((*_RUNNING, *_STOPPING), State.OPEN),
    },
}
"""What an event makes of a state, by policy; what is missing cannot happen."""

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
        policy: The rule.
        window: How many URBs may be in the controller at a time.  1 is exact on every host
            controller: what is not in the controller cannot run behind an error.
    """

    def __init__(self, policy: Policy = Policy.HOLD, window: int = 1) -> None:
        self.state = State.OPEN
        self.epoch = 0
        self.violations = 0
        """URBs that ran in the controller although one before them had failed there."""
        self._table = TABLES[policy]
        self._stops = policy is not Policy.NAIVE
        self._window = window
        self._queue: deque[Work] = deque()
        self._running: dict[int, Work] = {}
        self._failed: int | None = None  # the first URB that did since the queue last ran
        self._latest = -1

    def __len__(self) -> int:
        return len(self._queue) + len(self._running)

    @property
    def _stopped(self) -> bool:
        return self.state in (State.DRAINING, State.QUIET)

    @property
    def stopped(self) -> bool:
        """Whether nothing starts there before the front end has said a word, by any policy."""
        return self._stopped or self.state is State.FAILING

    @property
    def in_flight(self) -> int:
        """How many the controller has."""
        return len(self._running)

    @property
    def quiet(self) -> bool:
        """Whether it is stopped and nothing of it is in the controller."""
        return self.state is State.QUIET

    @property
    def drains_after_failure(self) -> bool:
        """Whether the controller still has URBs behind one that has failed there."""
        return self._failed is not None and bool(self._running)

    def add(self, work: Work) -> bool:
        """Queue work behind what is there.

        Returns:
            Whether it is queued; if not, it must be failed.

        Raises:
            RemoteProtocolError: Its number is not above that of the last one.
        """
        if isinstance(work, Submit):
            if work.urb_id <= self._latest:
                raise RemoteProtocolError(
                    f"URB {work.urb_id} was submitted behind URB {self._latest}."
                )
            self._latest = work.urb_id
        return self._admit(work)

    def _admit(self, work: Work) -> bool:
        # A port reset makes the device forget the error: it clears, as the marked URB does.
        if Event.CLEAR in self._table[self.state] and (isinstance(work, Reset) or work.clear):
            self._happened(Event.CLEAR)
        if self.state is State.FAILING:
            return False
        self._queue.append(work)
        return True

    def refused(self) -> list[Submit]:
        """Return what was queued when the endpoint began to fail, and must be failed now."""
        if self.state is not State.FAILING:
            return []
        queued, self._queue = self._queue, deque()
        return [work for work in queued if not self._admit(work) and isinstance(work, Submit)]

    def start(self) -> Work | None:
        """Return the next work if it may go to the controller now; it counts as running then."""
        if self.state is not State.OPEN or not self._queue or len(self._running) >= self._window:
            return None
        work = self._queue.popleft()
        self._running[_number(work)] = work
        return work

    def end(self, number: int, *, stops: bool, ran: bool = True, late: bool = False) -> Work:
        """Take note that running work has ended.

        Args:
            number: The URB's number, or `RESET_NUMBER`.
            stops: Whether Linux promises that the queue stops now.
            ran: Whether the device has seen anything of it.
            late: Whether it was unlinked, but had ended well before: what stood behind it in the
                controller ran by right.

        Raises:
            ApiViolationError: No such work is running.
        """
        work = self._take_running(number)
        # What stands before an URB that is taken back goes on, and by right.
        if ran and self._failed is not None and number > self._failed:
            self.violations += 1
        if stops:
            self._happened(Event.FAILED_BUSY if self._running else Event.FAILED_IDLE)
            if self._stops and not late:
                self._failed = number if self._failed is None else min(number, self._failed)
        else:
            self._happened(Event.ENDED_BUSY if self._running else Event.ENDED_IDLE)
        return work

    def take_back(self, number: int) -> None:
        """Queue a running URB again, at its old place: the controller gave it back untouched.

        It does that with what stands behind a failed URB, and with what is discarded because it
        stands behind an unlinked one.
        """
        work = self._take_running(number)
        place = sum(1 for other in self._queue if _number(other) < number)
        self._queue.insert(place, work)
        self._happened(Event.ENDED_BUSY if self._running else Event.ENDED_IDLE)

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
        """Let the queue go on, unless a further stop came since that epoch.

        Returns:
            Whether it does because of this.

        Raises:
            RemoteProtocolError: No stop of that epoch was ever told.
        """
        if epoch > self.epoch:
            raise RemoteProtocolError(f"RESUME names epoch {epoch}, the last was {self.epoch}.")
        if epoch < self.epoch or not self._stopped:
            return False
        self._happened(Event.RESUME)
        return True

    @property
    def latest(self) -> int:
        """The number of the last URB that was queued, or -1."""
        return self._latest

    def lend(self) -> list[tuple[Submit, bool]] | None:
        """Return all URBs in order, and of each whether it is running; None if it is not open."""
        if self.state is not State.OPEN:
            return None
        urbs = [(work, True) for work in self._running.values()]
        urbs += [(work, False) for work in self._queue]
        return [(work, runs) for work, runs in urbs if isinstance(work, Submit)]

    def replace(self, urbs: Iterable[tuple[Submit, bool]], latest: int) -> None:
        """Go on with these URBs, in the form of `lend`, in place of those that were lent.

        Args:
            urbs: Those that are still here.
            latest: The number of the last URB that was queued.
        """
        self._latest = max(self._latest, latest)
        self._running.clear()
        self._queue.clear()
        for urb, runs in urbs:
            if runs:
                self._running[urb.urb_id] = urb
            else:
                self._queue.append(urb)

    def running(self) -> list[int]:
        """Return the numbers of what the controller has, in the order in which it got them."""
        return list(self._running)

    def _take_running(self, number: int) -> Work:
        work = self._running.pop(number, None)
        if work is None:
            raise ApiViolationError(f"URB {number} ended, but it was not running.")
        return work

    def _happened(self, event: Event) -> None:
        following = self._table[self.state].get(event)
        if following is None:
            raise ApiViolationError(f"'{event}' cannot happen to an endpoint that is {self.state}.")
        self.state = following
        if following is State.OPEN:
            self._failed = None
        if event in _STOPPING and self._stops:
            self.epoch += 1

    def _find(self, urb_id: int) -> Work | None:
        return next((work for work in self._queue if _number(work) == urb_id), None)


RESET_NUMBER = -1
"""Stands for a port reset where an URB's number is asked; URBs have numbers from 0."""


def _number(work: Work) -> int:
    return work.urb_id if isinstance(work, Submit) else RESET_NUMBER
