"""The file that holds a medium's data: made sparse, and open for one store at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rig.errors import UserError

LOCK_DEADLINE_S = 10.0
"""A store that was killed needs a moment to let go of its medium."""


def open_medium(path: Path, size_bytes: int) -> int:
    """Open a medium, or make it; return its descriptor.

    Raises:
        UserError: It has another size, or another store has it open.
        OSError: It cannot be made or opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with _deadline(LOCK_DEADLINE_S):
            fcntl.flock(fd, fcntl.LOCK_EX)
        present = os.fstat(fd).st_size
        if present not in (0, size_bytes):
            raise UserError(
                f"Medium '{path}' has {present} bytes, not {size_bytes}.",
                hint="Remove it, or ask for the size it has.",
            )
        os.ftruncate(fd, size_bytes)
    except TimeoutError as error:
        os.close(fd)
        raise UserError(
            f"Medium '{path}' is in use by another store.", hint="Stop that one first."
        ) from error
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_all(fd: int, offset_bytes: int, data: bytes) -> None:
    """Write at an offset, all of it.

    Raises:
        OSError: The file system below cannot take it.
    """
    if os.pwrite(fd, data, offset_bytes) != len(data):
        raise OSError(errno.ENOSPC, "short write")


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End a blocking system call with TimeoutError; for the main thread."""

    def expired(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
