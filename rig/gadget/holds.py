"""Answers that wait: injected delays and hangs, until their time is over or they are released.

The access itself is done, and in the journal; only the kernel does not hear of it yet.  Meanwhile
the store answers other accesses and commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from rig.faults.release import ReleasedBy
from rig.gadget.answers import Hold
from rig.gadget.fuse_loop import Pause, wait_for


class Release(msgspec.Struct, frozen=True):
    """The end of a hang.

    Attributes:
        rule: Which made it.
        sequence: Of the access, in the journal.
        waited_s: How long its answer waited.
        by: Who ended it.
    """

    rule: str
    sequence: int
    waited_s: float
    by: ReleasedBy


class Holds:
    """All answers that wait.

    Args:
        on_release: Told of every hang that ends.
        clock: Seconds, as `rig.gadget.fuse_loop.drive` counts them.
    """

    def __init__(
        self,
        on_release: Callable[[Release], None] = lambda _release: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_release = on_release
        self._clock = clock
        self._pauses: dict[int, Pause] = {}
        self._released: dict[int, ReleasedBy] = {}  # those whose task has not gone on yet
        self._closed: ReleasedBy | None = None

    def __len__(self) -> int:
        """How many answers wait."""
        return len(self._pauses)

    async def wait(self, hold: Hold) -> None:
        """Wait until an answer may be given."""
        if self._closed is not None:
            if hold.hangs:  # its beginning is told, so its end must be
                self._on_release(Release(hold.rule_name, hold.sequence, 0.0, self._closed))
            return
        began_s = self._clock()
        pause = Pause(began_s + hold.seconds)
        self._pauses[hold.sequence] = pause
        await wait_for(pause)
        del self._pauses[hold.sequence]
        waited_s = self._clock() - began_s
        # Whoever ends the loop lets its tasks go without a word to us.
        unasked = ReleasedBy.DEADLINE if waited_s >= hold.seconds else ReleasedBy.END
        by = self._released.pop(hold.sequence, unasked)
        if hold.hangs:
            self._on_release(Release(hold.rule_name, hold.sequence, round(waited_s, 3), by))

    def release(self, *, close: ReleasedBy | None = None) -> int:
        """Let every answer go.

        Args:
            close: Let none wait from now on, until `open`, and tell that this is why.

        Returns:
            How many waited, those not counted that were let go before and have not gone on yet.
        """
        self._closed = self._closed if close is None else close
        waiting = self._pauses.keys() - self._released.keys()
        for sequence in waiting:
            self._pauses[sequence].release()
            self._released[sequence] = close or ReleasedBy.COMMAND
        return len(waiting)

    def open(self) -> None:
        """Let answers wait again; not if the device is gone for good."""
        if self._closed is not ReleasedBy.END:
            self._closed = None
