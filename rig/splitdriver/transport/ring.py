"""A stream of octets through memory that two machines share.  Pure: it works on a `memoryview`.

One machine writes and the other reads; each has words of its own, which the other only looks at::

    written   octets written since the beginning          by the writer
    read      octets read since the beginning             by the reader
    asleep    the reader wants to be woken                set by the reader, cleared by both
    stuck     the writer wants to be woken, for room      set by the writer, cleared by both

A word is 8 octets, aligned, native endian, and alone in its cache line; the machines are of one
kind, for they share memory.  x86 lets a later read overtake an earlier write to another place, and
that is the one thing that may not happen between saying "I sleep" and looking once more:
`full_barrier` stands there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

_LINE_WORDS = 8
_WRITTEN, _READ, _ASLEEP, _STUCK = (n * _LINE_WORDS for n in range(4))

CONTROL_BYTES = 4 * _LINE_WORDS * 8
"""Before a ring's octets."""

_LOCK = threading.Lock()


def full_barrier() -> None:
    """Have all writes seen before any later read: taking a lock is an atomic instruction."""
    with _LOCK:
        pass


class Ring:
    """One direction.

    Args:
        memory: `CONTROL_BYTES`, then the octets of the ring; the same on both machines.
    """

    def __init__(self, memory: memoryview) -> None:
        self._words = memory[:CONTROL_BYTES].cast("Q")
        self._octets = memory[CONTROL_BYTES:]
        self._size = len(self._octets)

    def clear(self) -> None:
        """Begin anew; nobody may be using it."""
        for word in (_WRITTEN, _READ, _ASLEEP, _STUCK):
            self._words[word] = 0

    # The writer's.

    def write(self, parts: Iterable[bytes | bytearray | memoryview]) -> int:
        """Put in as much as there is room for; return how many octets that is."""
        words = self._words
        written = words[_WRITTEN]
        room = self._size - (written - words[_READ])
        taken = 0
        for part in parts:
            count = min(len(part), room - taken)
            self._copy_in((written + taken) % self._size, part, count)
            taken += count
            if count < len(part):
                break
        words[_WRITTEN] = written + taken
        return taken

    def wake_reader(self) -> bool:
        """After writing: whether the reader sleeps and must be woken; true once."""
        full_barrier()
        return self._clear(_ASLEEP)

    def await_room(self) -> bool:
        """Ask to be woken for room; false, and not asked, if there is room already."""
        self._words[_STUCK] = 1
        full_barrier()
        if self._words[_WRITTEN] - self._words[_READ] == self._size:
            return True
        self._words[_STUCK] = 0
        return False

    # The reader's.

    @property
    def readable(self) -> bool:
        """Whether there is something to read."""
        return self._words[_WRITTEN] != self._words[_READ]

    def read_into(self, buffer: memoryview) -> int:
        """Take out as much as there is and fits; return how many octets that is.

        Raises:
            ValueError: The writer's word is none that it can have: it does not keep to the rules.
        """
        words = self._words
        read = words[_READ]
        there = words[_WRITTEN] - read
        if not 0 <= there <= self._size:
            raise ValueError(f"{there} octets in a ring of {self._size}")
        count = min(there, len(buffer))
        start = read % self._size
        first = min(count, self._size - start)
        buffer[:first] = self._octets[start : start + first]
        buffer[first:count] = self._octets[: count - first]
        words[_READ] = read + count
        return count

    def wake_writer(self) -> bool:
        """After reading: whether the writer waits for room and must be woken; true once."""
        full_barrier()
        return self._clear(_STUCK)

    def sleep(self) -> bool:
        """Ask to be woken; false, and not asked, if there is something to read already."""
        self._words[_ASLEEP] = 1
        full_barrier()
        if not self.readable:
            return True
        self._words[_ASLEEP] = 0
        return False

    def rise(self) -> None:
        """The reader is awake, whatever woke it."""
        self._words[_ASLEEP] = 0

    def _clear(self, word: int) -> bool:
        if not self._words[word]:
            return False
        self._words[word] = 0
        return True

    def _copy_in(self, start: int, part: bytes | bytearray | memoryview, count: int) -> None:
        first = min(count, self._size - start)
        view = memoryview(part)
        self._octets[start : start + first] = view[:first]
        self._octets[: count - first] = view[first:count]
