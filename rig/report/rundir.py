"""The run directory: one place with all that a run leaves behind."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import msgspec

from rig.errors import UserError
from rig.report.summary import summarize
from rig.report.verdict import Verdict

RUNS = Path("runs")


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
            safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
            path = _unused(RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{safe}")
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UserError(
                    f"The run directory '{path}' is not empty.", hint="Name another with --out."
                )
        except OSError as error:
            raise UserError(
                f"The run directory '{path}' cannot be made: {error.strerror}.",
                hint="Name another with --out.",
            ) from error
        return cls(path)

    def file(self, name: str) -> Path:
        """Return the path of a file in it."""
        return self.path / name

    def write(self, name: str, text: str) -> Path:
        """Write a text file into it."""
        path = self.file(name)
        path.write_text(text, encoding="utf-8")
        return path

    def discard(self) -> None:
        """Remove it again, if nothing was put into it."""
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def conclude(self, verdict: Verdict) -> None:
        """Write ``verdict.json`` and ``summary.txt``."""
        encoded = msgspec.json.format(msgspec.json.encode(verdict), indent=2)
        self.file("verdict.json").write_bytes(encoded + b"\n")
        self.write("summary.txt", summarize(verdict))


def _unused(path: Path) -> Path:
    """Two runs may begin in the same second."""
    candidate, number = path, 2
    while candidate.exists():
        candidate = path.with_name(f"{path.name}-{number}")
        number += 1
    return candidate
