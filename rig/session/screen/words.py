"""How figures are said on the screen, and which lines of a growing list are new.  Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TypeVar

from rig.session.snapshot import EndpointRow, FaultRow, MachineRow

DIRECTION_BIT = 0x80
"""Of an endpoint's address: set for IN (USB 2.0 §9.6.6)."""
_NUMBER_MASK = 0x0F
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))

LineT = TypeVar("LineT")


def amount(value: float, unit: str) -> str:
    """Say a figure with a decimal prefix: ``3.2 MB``."""
    for step, prefix in _STEPS:
        if value >= step:
            return f"{value / step:.1f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def rate(octets_per_s: float) -> str:
    """Say octets a second: ``3.2 MB/s``."""
    return amount(octets_per_s, "B/s")


def duration(seconds: float | None) -> str:
    """Say how long something took: ``4.1 ms``; ``-`` where that is not known."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def clock(at_s: float) -> str:
    """Say a moment of the session: ``1:02:03``."""
    minutes, seconds = divmod(int(at_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def number_of(address: int) -> int:
    """The number of an endpoint, without its direction."""
    return address & _NUMBER_MASK


def direction_of(address: int) -> str:
    """``in`` or ``out``."""
    return "in" if address & DIRECTION_BIT else "out"


def endpoint_name(address: int) -> str:
    """Name an endpoint: ``2 out``; endpoint 0 goes both ways and is just ``0``."""
    return f"{number_of(address)} {direction_of(address)}" if number_of(address) else "0"


def queue_state(row: EndpointRow) -> str:
    """Say whether an endpoint's queue stands still."""
    if row.stopped:
        return "STOPPED"
    return "running" if row.queued else "idle"


def fault_state(row: FaultRow) -> str:
    """Say what a rule does."""
    if row.fired and row.fired == row.planned:
        return "done"
    return "armed" if row.armed else "disarmed"


def fired_of(row: FaultRow) -> str:
    """Say how often a rule fired, of how often it may."""
    return f"{row.fired} of {'any' if row.planned < 0 else row.planned}"


def daemons_of(row: MachineRow) -> str:
    """Say what runs on a machine, and what does not."""
    return ", ".join(d.name if d.alive else f"{d.name} DOWN" for d in row.daemons)


def fresh(before: Sequence[LineT], now: Sequence[LineT]) -> Sequence[LineT]:
    """Return the lines that were added to a list that grows at its end and loses at its beginning.

    Args:
        before: The list as it was seen last.
        now: As it is.
    """
    if not before or not now:
        return now
    for kept in range(min(len(before), len(now)), 0, -1):
        if now[kept - 1] == before[-1] and now[:kept] == before[-kept:]:
            return now[kept:]
    return now


def common_start(lines: Sequence[str]) -> str:
    """The longest text that all lines begin with; empty for none."""
    first, last = min(lines, default=""), max(lines, default="")
    same = (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, min(len(first), len(last)))]


def quoted(name: str) -> str:
    """A name as one word of a command line."""
    return shlex.quote(name)
