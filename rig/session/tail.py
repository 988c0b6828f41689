"""Reads the back end's log of URBs on its machine while it is written."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence

from rig.errors import RemoteProtocolError
from rig.lab.children import end, kill, spawn
from rig.session.urbs import Records
from rig.usb.urblog import UrbEvent

END_S = 2.0
PIECE_BYTES = 1 << 16


class Tail:
    """Follows one log, on a thread of its own.

    Args:
        ssh: A command line for the machine.
        path: Of the log, there.
        take: Told of each event, on that thread.
    """

    def __init__(self, ssh: Sequence[str], path: str, take: Callable[[UrbEvent], None]) -> None:
        self._take = take
        argv = [*ssh, f"exec tail -c +1 -F {path} 2>/dev/null"]
        self._child = spawn(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._thread = threading.Thread(target=self._read, name="urbs", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """End it."""
        kill(self._child)
        end(self._child, END_S)
        self._thread.join(END_S)

    def _read(self) -> None:
        records = Records()
        assert self._child.stdout is not None
        with self._child.stdout as stream:
            while octets := stream.read1(PIECE_BYTES):  # type: ignore[attr-defined]
                try:
                    events = records.feed(octets)
                except RemoteProtocolError:  # it was cut off, and goes on behind its next header
                    records = Records()
                    continue
                for event in events:
                    self._take(event)
