"""One thing at a time of what is asked of a device, because some of it blocks in the kernel.

The kernel holds the device's lock meanwhile, so nothing else is asked of the device until it is
done: a thread of the device's own (`HelperThread`) waits for the kernel, and all else waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rig.helper_thread import HelperThread
from rig.reactor import READABLE, Reactor

Deed = Callable[[], None]


class Turns:
    """The order of what is done to a device.

    Args:
        name: Of the thread, for people.
        reactor: Waits.
        done: Called when the thread has done a job, and all has been done that waited for it, but
            for the next job.
    """

    def __init__(self, name: str, reactor: Reactor, done: Deed) -> None:
        self._reactor = reactor
        self._done = done
        self._first: deque[Deed] = deque()
        self._later: deque[Deed] = deque()
        self._following: Deed | None = None
        self._follows = False
        self.busy = False
        """Whether the device may not be asked for anything now."""
        self._helper = HelperThread(name)
        reactor.watch(self._helper, READABLE, self._on_helper)

    @property
    def idle(self) -> bool:
        """Whether nothing is done, and nothing waits."""
        return not (self.busy or self._first or self._later)

    def in_turn(self, do: Deed) -> None:
        """Do something now, or behind what is done now and what waits for that."""
        if self.idle:
            do()
        else:
            self._later.append(do)

    def first(self, do: Deed) -> None:
        """Do something now, or behind what is done now, and before what waits."""
        if self.busy or self._follows:
            self._first.append(do)
        else:
            do()

    def block(self, job: Deed, then: Deed | None = None) -> None:
        """Have the thread do a job now, and then do something on this one.

        Args:
            job: Must raise nothing.
            then: `first` does nothing before it has returned.
        """
        self._following = then
        self.busy = True
        self._helper.do(job)

    def close(self, last: Deed) -> None:
        """Forget what waits; have the thread do a last thing when nothing blocks any more."""
        self._reactor.unwatch(self._helper)
        self._helper.close(last)
        self._first.clear()
        self._later.clear()

    def _on_helper(self, _: int) -> None:
        self._helper.finished()
        self.busy = False
        if self._following is not None:
            self._follows = True
            self._following()
            self._follows = False
        while (self._first or self._later) and not self.busy:
            (self._first or self._later).popleft()()
        self._done()
