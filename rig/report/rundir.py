"""The run directory: one place with all that a run leaves behind."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import time
from pathlib import Path

from rig.errors import UserError
from rig.report.record import leave
from rig.report.summary import summarize
from rig.report.verdict import Verdict

RUNS = Path("runs")
_LONGEST_NAME = 80
"""Of a run within its directory's name: file systems take 255 bytes."""


class RunDirectory:
    """``runs/<time>-<name>/``.

    Args:
        path: It exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, name: str, path: Path | None = None) -> RunDirectory:
        """Make a new one.

        Args:
            name: Of the run; becomes part of the directory's name.
            path: The directory itself; None for a new one below ``runs/`` here.

        Raises:
            UserError: It cannot be made, or is there and not empty.
        """
        if path is None:
            safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_LONGEST_NAME]
            path = RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{safe}"
            make = _make_unused
        else:
            make = _make_named
        try:
            return cls(make(path))
        except OSError as error:
            raise UserError(
                f"The run directory '{path}' cannot be made: {error.strerror}.",
                hint="Name another with --out.",
            ) from error

    def file(self, name: str) -> Path:
        """Return the path of a file in it."""
        return self.path / name

    def write(self, name: str, text: str) -> Path:
        """Write a text file into it."""
        path = self.file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def discard(self) -> None:
        """Remove it again, if nothing was put into it."""
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def conclude(self, verdict: Verdict) -> None:
        """Write ``verdict.json`` and ``summary.txt``."""
        leave(verdict, self.file("verdict.json"))
        self.write("summary.txt", summarize(verdict))


def _make_unused(path: Path) -> Path:
    """Make a directory that nobody else has: two runs may begin in the same second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with contextlib.suppress(FileExistsError):
            candidate.mkdir()
            return candidate
    raise AssertionError("unreachable")


def _make_named(path: Path) -> Path:
    """Make the directory that the user named, or take it if it is empty."""
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise UserError(
            f"The run directory '{path}' is not empty.", hint="Name another with --out."
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path
