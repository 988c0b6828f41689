"""Logs of URBs and captures, judged as their octets come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from rig.errors import RemoteProtocolError, UserError
from rig.integrity.monitors.breach import Breach
from rig.integrity.monitors.capture import CaptureEvent, CaptureMonitor
from rig.integrity.monitors.formats import CaptureReader
from rig.integrity.monitors.online import OnLine
from rig.usb.urblog import HEADER


class Looked(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        what: The files, for people.
        urbs: How many were submitted.
        breaches: What was broken, in order.
    """

    what: str
    urbs: int
    breaches: list[Breach]


class _Capture:
    """One capture, and what was seen in it."""

    def __init__(self, window: int | None) -> None:
        self.urbs = 0
        self.monitor = CaptureMonitor(window)
        self._reader = CaptureReader()

    def feed(self, octets: bytes) -> list[Breach]:
        return self._judge(self._reader.feed(octets))

    def finish(self) -> list[Breach]:
        return self._judge(self._reader.finish())

    def _judge(self, events: Sequence[CaptureEvent]) -> list[Breach]:
        self.urbs += sum(event.kind == "S" for event in events)
        return [breach for event in events for breach in self.monitor.feed(event)]


class Judging:
    """Judges files; the logs among them are of one run, and judged together.

    Args:
        window: URBs of a bulk endpoint that may be in the controller at a time; None: one for
            logs, any number for captures.
        holds: The run's policy was ``hold``.
        alone: There will be one file.
    """

    def __init__(self, window: int | None, *, holds: bool, alone: bool = False) -> None:
        self.logs = OnLine(window or 1, holds=holds, alone=alone)
        self._window = window
        self._names: list[str] = []  # of logs, in the order in which they were recognised
        self._captures: dict[str, _Capture] = {}
        self._begun: dict[str, bytes] = {}  # too little to know what it is

    def feed(self, path: Path, octets: bytes) -> list[Breach]:
        """Take the next octets of a file; return what is seen broken now.

        Raises:
            UserError: It is neither a log nor a capture, or damaged.
        """
        name = str(path)
        octets = self._begun.pop(name, b"") + octets
        try:
            if name in self._captures:
                return self._captures[name].feed(octets)
            if name not in self._names:
                if HEADER.startswith(octets) and len(octets) < len(HEADER):
                    self._begun[name] = octets
                    return []
                if not octets.startswith(HEADER):
                    capture = self._captures[name] = _Capture(self._window)
                    return capture.feed(octets)
                self._names.append(name)
            return self.logs.feed(octets, name)
        except RemoteProtocolError as error:
            raise UserError(f"{name}: {error}", hint="Take the log anew; it is damaged.") from error
        except UserError as error:
            if error.message.startswith(name):
                raise
            raise UserError(f"{name}: {error.message}", hint=error.hint) from error

    def finish(self) -> list[Breach]:
        """Judge what still waits, since all files are whole; return what is seen broken now.

        Raises:
            UserError: A capture ends in what is no event.
        """
        for name, octets in self._begun.items():
            self._captures[name] = capture = _Capture(self._window)
            capture.feed(octets)
        self._begun.clear()
        found = self.logs.finish()
        for name, capture in self._captures.items():
            try:
                found += capture.finish()
            except UserError as error:
                raise UserError(f"{name}: {error.message}", hint=error.hint) from error
        return found

    @property
    def looked(self) -> list[Looked]:
        """What came of it so far."""
        looked = [
            Looked(name, one.urbs, one.monitor.breaches) for name, one in self._captures.items()
        ]
        if self._names:
            what = " and ".join(self._names)
            looked.insert(0, Looked(what, self.logs.counts.urbs, self.logs.breaches))
        return [*looked, *(Looked(name, 0, []) for name in self._begun)]
