"""The file that a daemon keeps its log of URBs in (`rig.usb.urblog`): ``--urb-log FILE``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, BinaryIO

from rig.errors import UserError
from rig.usb.urblog import HEADER, Kind, Place, UrbEvent

BUFFER_BYTES = 64 << 10
FLUSH_NS = 250_000_000
"""Whoever follows the log is not further behind while URBs come, and they cost no call each."""


class UrbLog:
    """The file; what a killed process had not written is lost.

    Args:
        path: Where; what is there is overwritten.

    Raises:
        UserError: It cannot be written there.
    """

    def __init__(self, path: str) -> None:
        try:
            # Closed by `close`, when the daemon ends.
            self._file: BinaryIO = Path(path).open("wb", buffering=BUFFER_BYTES)  # noqa: SIM115
        except OSError as error:
            raise UserError(
                f"The log of URBs cannot be written to {path}: {error.strerror}.",
                hint="Name a file in a directory that is there.",
            ) from error
        self._file.write(HEADER)
        self._flushed_ns = 0

    def note(self, kind: Kind, place: Place, device: int, urb: int = 0, **fields: Any) -> None:
        """Note an event, now; the fields are those of `UrbEvent`."""
        self.write(UrbEvent(kind, place, device, urb, t_ns=time.time_ns(), **fields))

    def write(self, event: UrbEvent) -> None:
        """Note an event that has its time."""
        if self._file.closed:
            return  # the daemon ends, and lets go of what it has
        self._file.write(event.pack())
        if event.t_ns - self._flushed_ns >= FLUSH_NS:
            self._file.flush()
            self._flushed_ns = event.t_ns

    def flush(self) -> None:
        """Write what is still in memory."""
        self._file.flush()

    def close(self) -> None:
        """Write what is still in memory, and note no more."""
        self._file.close()


def flush(log: UrbLog | None) -> None:
    """Have a daemon's log on its machine's disk as far as it goes: the lab's command ``urbs``.

    Raises:
        UserError: It keeps none.
    """
    if log is None:
        raise UserError("URBs are not noted.", hint="Start the daemon with --urb-log FILE.")
    log.flush()
