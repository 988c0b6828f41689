"""A reactor that a test drives step by step, without waiting for anything."""

from __future__ import annotations

from collections.abc import Callable

from rig.reactor import Reactor

MAX_ROUNDS = 200


class SteppedReactor(Reactor):
    """Handles what is ready; its timers fire when the test says so."""

    def turn(self, wait_s: float = 0.0) -> None:
        """Handle all that is ready, until nothing is.

        Args:
            wait_s: For the first descriptor to be ready, where another thread or process is about
                to make it so.
        """
        for _ in range(MAX_ROUNDS):
            # A lane that waits deals with some by itself, and says nothing of them.
            ready = self._poll(wait_s) or self._epoll.poll(0)
            if not ready:
                return
            wait_s = 0.0
            self._call(ready)
        raise AssertionError("something is ready for ever")

    def until(self, true: Callable[[], bool], deadline_s: float = 10.0) -> None:
        """Handle what becomes ready until something is true; other threads have to do with it."""
        for _ in range(int(deadline_s / 0.05)):
            if true():
                return
            self.turn(0.05)
        raise AssertionError("it has not come true")

    def timers(self) -> set[str]:
        """The kinds of the timers that are set: their names up to the first hyphen."""
        return {name.partition("-")[0] for name in self._timers}

    def fire(self, kind: str) -> None:
        """Let the timers of a kind fire now."""
        for name in [name for name in self._timers if name.partition("-")[0] == kind]:
            _, call = self._timers.pop(name)
            call()
