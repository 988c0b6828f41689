"""What the monitors say, in lines for people."""

from __future__ import annotations

from datetime import UTC, datetime

from rig.experiments.monitor.judging import Looked
from rig.integrity.monitors.breach import Breach

NS_PER_S = 1_000_000_000
CALENDAR_FROM_S = 100_000_000
"""Earlier times are not those of a calendar: usbmon's text has another clock, of fewer digits."""


def lines(one: Looked) -> list[str]:
    """Return what is printed of a file: what it held, and each broken rule."""
    return [head(one), *(f"  {line_of(breach)}" for breach in one.breaches)]


def head(one: Looked) -> str:
    """Return what is printed of a file at first."""
    many = f"{len(one.breaches)} breach{'' if len(one.breaches) == 1 else 'es'}"
    return f"{one.what}: {one.urbs} URBs, {many}."


def line_of(breach: Breach) -> str:
    """Return what is printed of a broken rule."""
    return f"event {breach.at}, {_time(breach.t_ns)}, {breach.rule}: {breach.text}"


def _time(t_ns: int) -> str:
    seconds, rest = divmod(t_ns, NS_PER_S)
    if seconds < CALENDAR_FROM_S:
        return f"{t_ns / NS_PER_S:.6f} s"
    at = datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
    return f"{at}.{rest // 1000:06} UTC"
