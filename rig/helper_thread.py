"""A thread for what blocks: whatever the kernel does under a device's lock.

It resets and configures before the call returns, a reset in 0.2 s, a new configuration of a mute
device in 5 s; and whoever opens the device's node, reads its descriptors, claims or submits waits
for that lock meanwhile (``drivers/usb/core/devio.c``).  The daemon's own thread must go on: for the
heartbeat, and for the other devices.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]


def _nothing() -> None:
    """The last job of a thread that was never closed."""


class HelperThread:
    """Does one job at a time; `fileno` becomes readable when it is done.

    Args:
        name: Of the thread, for people.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._busy = False
        self._last: Job = _nothing
        # A daemon thread: a kernel that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a job was given and `finished` has not been called since."""
        return self._busy

    def fileno(self) -> int:
        """The descriptor, for poll."""
        return self._done

    def do(self, job: Job) -> None:
        """Give it a job, which must raise nothing; there must be none under way."""
        assert not self._busy
        self._busy = True
        self._jobs.put(job)

    def finished(self) -> None:
        """Take note that the job is done, which `fileno` has told."""
        os.eventfd_read(self._done)
        self._busy = False

    def close(self, last: Job) -> None:
        """Let the thread end after the job that it does now, and after `last`.  Does not wait.

        The descriptor is closed with it: stop watching it first.
        """
        self._last = last
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            os.eventfd_write(self._done, 1)
        self._last()
        os.close(self._done)
