"""Processes on the station that must not outlive it.

Every QEMU and every ssh of a lab is started here.  Three things are arranged for each:

* it dies with the station, also when that is killed by SIGKILL (``PR_SET_PDEATHSIG``);
* it is in a process group of its own, so that Ctrl-C in a terminal reaches the station alone,
  which then ends its children in order;
* nothing waits for it without a deadline.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO

from rig.errors import LaunchFailure

Stream = int | IO[bytes] | None
"""What `subprocess.Popen` takes as a standard stream."""

# The kernel sends the parent-death signal when the *thread* that forked ends (prctl(2)), so one
# thread that lives as long as the interpreter starts all children, whoever asks for them.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rig-spawner")

# setpriv (util-linux) sets the signal and execs: the pid is the program's own, and no Python runs
# between fork and exec, where other threads' locks could be held for ever.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


def spawn(
    argv: Sequence[str], *, stdin: Stream = None, stdout: Stream = None, stderr: Stream = None
) -> subprocess.Popen[bytes]:
    """Start a program that ends when the station ends.

    Args:
        argv: The program and its arguments.
        stdin: As `subprocess.Popen` takes it.
        stdout: As `subprocess.Popen` takes it.
        stderr: As `subprocess.Popen` takes it.

    Raises:
        LaunchFailure: The program could not be started at all.  A program that is missing shows
            as an exit status of 127, because ``setpriv`` looks for it.
    """

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*_DIE_WITH_PARENT, *argv], stdin=stdin, stdout=stdout, stderr=stderr, process_group=0
        )

    try:
        return _SPAWNER.submit(start).result()
    except OSError as error:
        raise LaunchFailure(
            f"{argv[0]} could not be started: {error}.",
            hint="setpriv, of Debian's package util-linux, must be there.",
        ) from error


def kill(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and whatever it started: one that lives on would hold the pipes open."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def end(child: subprocess.Popen[bytes], deadline_s: float) -> int | None:
    """Wait for a child's own end; kill it when it takes too long.

    Returns:
        Its exit status, or None if it had to be killed.
    """
    try:
        return child.wait(deadline_s)
    except subprocess.TimeoutExpired:
        kill(child)
        child.wait()
        return None


@contextmanager
def killed_after(child: subprocess.Popen[bytes], deadline_s: float) -> Iterator[None]:
    """Kill ``child`` if the enclosed work takes longer than ``deadline_s``.

    For blocking reads from a child's pipe inside libraries that know no deadline: they then see
    the end of the stream.
    """
    timer = threading.Timer(deadline_s, kill, [child])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
