"""Reads logs of URBs and captures, and has the monitors look at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from rig.errors import RemoteProtocolError, UserError
from rig.integrity.monitors.breach import Breach
from rig.integrity.monitors.capture import watch_capture
from rig.integrity.monitors.formats import read_capture
from rig.integrity.monitors.merge import merged
from rig.integrity.monitors.run import watch
from rig.usb.urblog import HEADER, Kind, Place, UrbEvent, read_events


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


def look(files: Sequence[Path], window: int | None, *, holds: bool) -> list[Looked]:
    """Look at files; the logs among them are of one run, and looked at together.

    Args:
        files: Logs of ``--urb-log``, and captures.
        window: URBs of a bulk endpoint that may be in the controller at a time; None: one for
            logs, any number for captures.
        holds: The run's policy was ``hold``.

    Raises:
        UserError: A file cannot be read.
    """
    logs: dict[Place, list[UrbEvent]] = {}
    names: list[str] = []
    looked: list[Looked] = []
    for path in files:
        octets = _read(path)
        if not octets.startswith(HEADER):
            looked.append(_look_at_capture(path, octets, window))
            continue
        events = _read_log(path, octets)
        names.append(str(path))
        if events and logs.setdefault(events[0].place, events) is not events:
            raise UserError(
                f"{path} is a second log of the same end.",
                hint="Give one log of the front end and one of the back end of one run.",
            )
    if names:
        stream = merged(logs.get(Place.FRONT, []), logs.get(Place.BACK, []))
        breaches = watch(stream, window or 1, holds=holds, calm=False)
        urbs = {(e.device, e.urb) for e in stream if e.kind is Kind.SUBMIT}
        looked.insert(0, Looked(" and ".join(names), len(urbs), breaches))
    return looked


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}.", hint="Name files that are there."
        ) from error


def _read_log(path: Path, octets: bytes) -> list[UrbEvent]:
    try:
        return list(read_events(octets))
    except RemoteProtocolError as error:
        raise UserError(f"{path}: {error}", hint="Take the log anew; it is damaged.") from error


def _look_at_capture(path: Path, octets: bytes, window: int | None) -> Looked:
    try:
        events = list(read_capture(octets))
    except UserError as error:
        raise UserError(f"{path}: {error.message}", hint=error.hint) from error
    submitted = sum(event.kind == "S" for event in events)
    return Looked(str(path), submitted, watch_capture(events, window))
