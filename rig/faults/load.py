"""Reads a plan's file: the only I/O of this package."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Collection
from pathlib import Path

from rig.errors import UserError
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan
from rig.faults.shown import printable

PLANS = Path(__file__).parent / "plans"
"""The plans that come with the rig."""
MOST_BYTES = 1 << 20
"""No plan is so long."""
PIPE_DEADLINE_S = 10.0
"""A plan may come through a pipe; whoever writes it has so long."""
_MARKS = {
    b"\xff\xfe": "it is UTF-16; save it as UTF-8",
    b"\xfe\xff": "it is UTF-16; save it as UTF-8",
    b"\xef\xbb\xbf": "it begins with a byte order mark; save it as UTF-8 without one",
}


def shipped_plans() -> dict[str, Path]:
    """Names and files of the plans that come with the rig."""
    return {path.stem: path for path in sorted(PLANS.glob("*.toml"))}


def load_plan(
    path: str | Path, seed: int | None = None, phases: Collection[str] | None = None
) -> Plan:
    """Read a plan from a file, or one that comes with the rig by its name.

    Args:
        path: A file, or a name out of `shipped_plans`.
        seed: Overrides the plan's own.
        phases: Those that the workload has (`rig.faults.phases`); None: it is not known.

    Raises:
        UserError: There is no such file, it cannot be read, or the plan is bad.
    """
    return parse_plan(read_plan_text(path), str(path), phases).with_seed(seed)


def read_plan_text(path: str | Path) -> str:
    """Return a plan's text as it stands in its file.

    Raises:
        UserError: As `load_plan`, but for a bad plan.
    """
    file = Path(path)
    try:
        if not file.exists():
            file = shipped_plans().get(str(path), file)
        return read_text(file)
    except FileNotFoundError as error:
        known = ", ".join(shipped_plans())
        raise UserError(
            printable(f"There is no plan file '{path}'."),
            hint=f"Give a file, or the name of a plan that comes with the rig: {known}.",
        ) from error
    except (OSError, ValueError) as error:
        said = error.strerror or error if isinstance(error, OSError) else error
        raise UserError(printable(f"Plan file '{path}' cannot be read: {said}.")) from error


def read_text(path: Path) -> str:
    """Return what a small text file, or a pipe, holds.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file; says why, without a full stop.
    """
    # Not to wait without a limit for somebody who opens the other end.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise ValueError("it is a directory")
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise ValueError("it is neither a file nor a pipe")
        octets = _read(fd, time.monotonic() + PIPE_DEADLINE_S)
    finally:
        os.close(fd)
    return _decode(octets)


def _read(fd: int, end_s: float) -> bytes:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    octets = b""
    while len(octets) <= MOST_BYTES:
        # Of a pipe that nobody has opened yet, this waits; a read would say that it has ended.
        if not poll.poll(max(0.0, end_s - time.monotonic()) * 1000):
            raise ValueError(f"it is a pipe that nobody ended within {PIPE_DEADLINE_S:g} s")
        piece = os.read(fd, 1 << 16)
        if not piece:
            return octets
        octets += piece
    raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")


def _decode(octets: bytes) -> str:
    for mark, said in _MARKS.items():
        if octets.startswith(mark):
            raise ValueError(said)
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} is not UTF-8 (octet {octets[error.start]:#04x}); save it as UTF-8"
        ) from error
