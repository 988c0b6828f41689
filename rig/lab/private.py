"""A lab's private directory: keys and sockets, gone with the lab, also when that was killed.

A station that is killed by SIGKILL cannot remove anything.  So each private directory is locked by
its lab, and whoever opens the next lab removes those whose lock is free.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "rig-lab-"


@contextmanager
def private_directory(parent: Path | None = None) -> Iterator[Path]:
    """Make a directory of mode 0700 that is removed in the end.

    Args:
        parent: Where; None is the system's directory for temporary files, whose path is short, as
            the sockets in it need.
    """
    where = parent or Path(tempfile.gettempdir())
    _remove_abandoned(where)
    directory, lock = _make_locked(where)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _make_locked(parent: Path) -> tuple[Path, int]:
    """Make a directory and lock it; return it and the descriptor that holds the lock."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            return directory, lock
        # Another lab's sweep came between making and locking.
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    """Remove the private directories of labs that are no more."""
    for directory in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            # Another user's, or gone this moment.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Its lab lives.
            continue
        else:
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(lock)
