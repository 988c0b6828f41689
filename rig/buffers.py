"""A receive buffer whose contents are handed out as views instead of copies.  No I/O."""

from __future__ import annotations


class ReceiveBuffer:
    """Collects octets from a stream and hands them out in records.

    Receive into `space()`, tell the count to `received()`, then `peek()` and `take()` records.
    Octets handed out are views of the buffer.  A full buffer is not reused but left to the views
    that are still held, and a fresh one takes over; only the beginning of an unfinished record is
    copied then.

    Args:
        chunk_bytes: Size of a buffer; a record that is larger gets one of its own size.
    """

    def __init__(self, chunk_bytes: int = 1 << 18) -> None:
        self._chunk_bytes = chunk_bytes
        self._view = memoryview(bytearray(chunk_bytes))
        self._start = 0  # of the first octet not taken
        self._end = 0  # behind the last octet received

    def __len__(self) -> int:
        return self._end - self._start

    def space(self) -> memoryview:
        """Return where the next octets go; never empty."""
        if self._end == len(self._view):
            self._renew(self._chunk_bytes)
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """Take `count` octets that were put at the beginning of `space()`."""
        self._end += count

    def put(self, octets: bytes) -> None:
        """Take octets that were received elsewhere."""
        if len(self._view) - self._end < len(octets):
            self._renew(max(self._chunk_bytes, len(self) + len(octets)))
        self._view[self._end : self._end + len(octets)] = octets
        self.received(len(octets))

    def peek(self, count: int) -> memoryview | None:
        """Return the next `count` octets without taking them, or None if they are not all here.

        In the latter case room is made, so that they will be in one piece.
        """
        end = self._start + count
        if end > self._end:
            if end > len(self._view):
                self._renew(max(self._chunk_bytes, count))
            return None
        return self._view[self._start : end]

    def take(self, count: int) -> None:
        """Drop `count` octets that were seen by `peek()`; views of them stay valid."""
        self._start += count

    def _renew(self, size_bytes: int) -> None:
        rest = self._view[self._start : self._end]
        fresh = memoryview(bytearray(max(size_bytes, len(rest) + 1)))
        fresh[: len(rest)] = rest
        self._view, self._start, self._end = fresh, 0, len(rest)
