"""Wait until something is true, with a reactor that runs meanwhile or without, or has ended."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from rig.reactor import Reactor


def run_until(reactor: Reactor, true: Callable[[], object], deadline_s: float) -> None:
    """Let the reactor run until something is true, at most for `deadline_s`."""
    deadline = time.monotonic() + deadline_s

    def look() -> None:
        assert time.monotonic() < deadline, "it never became true"
        if true():
            reactor.stop()
        else:
            reactor.at("look", time.monotonic() + 0.002, look)

    reactor._stopping = False
    look()
    reactor.run()


def await_true(true: Callable[[], object], deadline_s: float) -> None:
    """Wait until something is true, of which nobody tells; at most for `deadline_s`."""
    deadline = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.05)


def await_end(pid: int, deadline_s: float) -> None:
    """Wait for the end of a process, and leave its status for who started it."""
    # Readable once the process has ended (pidfd_open(2)).
    descriptor = os.pidfd_open(pid)
    try:
        assert select.select([descriptor], [], [], deadline_s)[0], "it does not end"
    finally:
        os.close(descriptor)
