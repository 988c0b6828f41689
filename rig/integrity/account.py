"""The account of numbered records: what came through, what did not, and the longest wait.

It takes the time from the clock itself; everything else is told to it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Final

import msgspec

ENOUGH: Final = 10
"""So many records after a mark show that it was no leftover in a buffer."""


class Told(msgspec.Struct, frozen=True):
    """What became of the records since the mark.

    Attributes:
        records: How many came through.
        missing: How many others, up to the last that did, did not.
        garbled: Octets that belong to no record, or blocks that hold another's data.
        longest_gap_s: Between two of them, or since the last one if that is longer.
        errors: Errnos' names that the kernel told us.
    """

    records: int = 0
    missing: int = 0
    garbled: int = 0
    longest_gap_s: float = 0.0
    errors: list[str] = []


class Account:
    """Counts the records that came through.

    Args:
        flows: Called when there were enough since the mark.
    """

    def __init__(self, flows: Callable[[], None]) -> None:
        self._flows = flows
        self._last: int | None = None
        self.mark()

    def mark(self) -> None:
        """Begin to count anew; what is missing counts from the last record before."""
        self._count = self._missing = self._garbled = 0
        self._errors: list[str] = []
        self._enough = ENOUGH
        self._last_at_s = time.monotonic()
        self._longest_s = 0.0

    def watch(self) -> None:
        """Tell when as many again as are enough have come."""
        self._enough = self._count + ENOUGH

    def came(self, number: int) -> None:
        """Take note of a record."""
        now_s = time.monotonic()
        self._longest_s = max(self._longest_s, now_s - self._last_at_s)
        if self._last is not None:
            self._missing += max(number - self._last - 1, 0)
        self._last, self._last_at_s = number, now_s
        self._count += 1
        if self._count == self._enough:
            self._flows()

    def garbled(self, octets: int = 1) -> None:
        """Take note of what is no record."""
        self._garbled += octets

    def error(self, error: OSError) -> None:
        """Take note of what the kernel said."""
        self._errors.append(errno.errorcode.get(error.errno or 0, str(error.errno)))

    def told(self) -> Told:
        """Return the account."""
        open_s = time.monotonic() - self._last_at_s
        return Told(
            self._count,
            self._missing,
            self._garbled,
            round(max(self._longest_s, open_s), 3),
            list(dict.fromkeys(self._errors)),
        )
