"""When Python may look for garbage: not while somebody types.

A whole collection halts the program for a time that grows with all that it keeps, and textual
keeps tens of thousands of drawn lines and cells: after some minutes a key would wait for 0.1 s and
more.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_S = 0.5
"""So long nobody has typed before a collection."""
EVERY_S = 5.0
"""From one collection to the next."""
LONGEST_S = 60.0
"""A person who never pauses gets one all the same."""
_NEVER = 1_000_000_000


class Garbage:
    """Collects in pauses.

    Args:
        clock: In s.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._typed_s = self._collected_s = clock()

    def typed(self) -> None:
        """Take note that the person is not idle."""
        self._typed_s = self._clock()

    def look(self) -> bool:
        """Collect if this is a good moment; say whether it was."""
        now = self._clock()
        since_s = now - self._collected_s
        due = since_s >= EVERY_S and now - self._typed_s >= QUIET_S
        if due or since_s >= LONGEST_S:
            collect()
            self._collected_s = self._clock()
            return True
        return False


@contextmanager
def collected_in_pauses() -> Iterator[None]:
    """Leave whole collections to `Garbage`; the small ones of what is young go on."""
    before = gc.get_threshold()
    collect()
    gc.set_threshold(before[0], before[1], _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def collect() -> None:
    """Collect, and let the next time pass over what is left."""
    gc.collect()
    gc.freeze()
