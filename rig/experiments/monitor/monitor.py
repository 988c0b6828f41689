"""Has the monitors look at whole files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rig.errors import UserError
from rig.experiments.monitor.judging import Judging, Looked

_AT_ONCE_BYTES = 1 << 22


def look(files: Sequence[Path], window: int | None, *, holds: bool) -> list[Looked]:
    """Look at files; the logs among them are of one run, and looked at together.

    Args:
        files: Logs of ``--urb-log``, and captures.
        window: See `Judging`.
        holds: The run's policy was ``hold``.

    Raises:
        UserError: A file cannot be read.
    """
    judging = Judging(window, holds=holds)
    read_all(files, judging)
    return judging.looked


def read_all(files: Sequence[Path], judging: Judging) -> None:
    """Have whole files judged.

    Raises:
        UserError: A file cannot be read, or is neither a log nor a capture.
    """
    for path in files:
        for octets in _pieces(path):
            judging.feed(path, octets)
    judging.finish()


def _pieces(path: Path) -> Sequence[bytes]:
    try:
        with path.open("rb") as file:
            return [*iter(lambda: file.read(_AT_ONCE_BYTES), b"")] or [b""]
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}.", hint="Name files that are there."
        ) from error
