"""The last URBs that the back end has seen, and how long they took.  Pure."""

from __future__ import annotations

from collections import deque

from rig.session.snapshot import UrbRow
from rig.usb.urb import status_name
from rig.usb.urblog import Kind, UrbEvent

KEPT = 64
MOST_OPEN = 4096
NS_PER_S = 1_000_000_000


class Urbs:
    """The last URBs that have ended.

    Attributes:
        rows: The last of them.
    """

    def __init__(self) -> None:
        self.rows: deque[UrbRow] = deque(maxlen=KEPT)
        self._begun: dict[tuple[int, int], UrbEvent] = {}
        self._took_s: list[float] = []
        self._behind_ns: int | None = None

    def feed(self, event: UrbEvent, now_s: float) -> None:
        """Take an event.

        Args:
            event: Of the back end.
            now_s: When it was read, in seconds since the session began.
        """
        key = event.device, event.urb
        if event.kind is Kind.START:
            if len(self._begun) >= MOST_OPEN:  # of devices that have gone
                self._begun.clear()
            self._begun[key] = event
            return
        if event.kind is not Kind.END:
            return
        begun = self._begun.pop(key, None)
        took_s = None if begun is None else max(0, event.t_ns - begun.t_ns) / NS_PER_S
        if took_s is not None:
            self._took_s.append(took_s)
        self.rows.append(
            UrbRow(
                self._moment(event.t_ns, now_s),
                event.urb,
                event.endpoint,
                begun.length_bytes if begun is not None else event.length_bytes,
                event.length_bytes,
                "ok" if event.status == 0 else status_name(event.status).lstrip("-"),
                took_s,
            )
        )

    def latency(self) -> tuple[float | None, float | None]:
        """Return the median and the longest time since this was asked last, in seconds."""
        took_s, self._took_s = self._took_s, []
        if not took_s:
            return None, None
        took_s.sort()
        return took_s[len(took_s) // 2], took_s[-1]

    def _moment(self, t_ns: int, now_s: float) -> float:
        """Turn the machine's time into the session's: nothing was read before it happened."""
        behind_ns = t_ns - round(now_s * NS_PER_S)
        if self._behind_ns is None or behind_ns > self._behind_ns:
            self._behind_ns = behind_ns
        return (t_ns - self._behind_ns) / NS_PER_S
