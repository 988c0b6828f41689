"""The volatile write cache of a medium: what was written is safe only after a flush.

f_mass_storage says "write cache enabled" in its caching mode page, so a host sends SYNCHRONIZE
CACHE when something must be safe; that becomes an fsync of the backing file, and so a flush here.
It has no cache of its own, though: a power cut would cost nothing.  This one makes it cost what
it costs on a disk.  Blocks are written to the medium when they are flushed, or, oldest first,
when the cache is full.

FUA writes look like others here: f_mass_storage marks its file O_SYNC for them, which has no
effect since Linux 6.0 (``kernel_write`` looks at flags that are made when the file is opened),
with ``nofua`` or without.  Linux sends none to it: it does not claim to support them.

Pure: the medium is two functions.
"""

from __future__ import annotations

from collections.abc import Callable

BLOCK_BYTES = 512
"""A logical block: what f_mass_storage uses for a backing file."""
CAPACITY_BYTES = 8 << 20
"""As much as a disk has, more or less."""


class WriteCache:
    """Holds blocks until they are flushed, pushed out or dropped.

    Args:
        read: Returns so many bytes of the medium from an offset.
        write: Writes bytes to the medium at an offset.
        capacity_bytes: Of blocks.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        write: Callable[[int, bytes], object],
        capacity_bytes: int = CAPACITY_BYTES,
    ) -> None:
        self._read_medium = read
        self._write_medium = write
        self._capacity_blocks = max(1, capacity_bytes // BLOCK_BYTES)
        self._blocks: dict[int, bytes] = {}  # by number, the oldest first

    @property
    def dirty_bytes(self) -> int:
        """How much a power cut would cost."""
        return len(self._blocks) * BLOCK_BYTES

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Read what was written last, wherever it is now."""
        data = self._read_medium(offset_bytes, length_bytes)
        blocks = self._blocks
        if not blocks:
            return data
        end = offset_bytes + length_bytes
        merged: bytearray | None = None
        for number in range(offset_bytes // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            block = blocks.get(number)
            if block is None:
                continue
            if merged is None:
                merged = bytearray(data)
            at = number * BLOCK_BYTES
            first, last = max(at, offset_bytes), min(at + BLOCK_BYTES, end)
            merged[first - offset_bytes : last - offset_bytes] = block[first - at : last - at]
        return data if merged is None else bytes(merged)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Take a write; the medium does not see it yet."""
        end = offset_bytes + len(data)
        first = offset_bytes // BLOCK_BYTES * BLOCK_BYTES
        last = -(-end // BLOCK_BYTES) * BLOCK_BYTES
        if first < offset_bytes:
            data = self.read(first, offset_bytes - first) + data
        if end < last:
            data += self.read(end, last - end)
        for at in range(0, last - first, BLOCK_BYTES):
            self._blocks[(first + at) // BLOCK_BYTES] = data[at : at + BLOCK_BYTES]
        surplus = len(self._blocks) - self._capacity_blocks
        if surplus > 0:
            self._write_out(list(self._blocks)[:surplus])

    def flush(self) -> None:
        """Write all of it to the medium."""
        self._write_out(list(self._blocks))

    def drop(self) -> int:
        """Lose all of it.

        Returns:
            How many bytes are lost.
        """
        lost = self.dirty_bytes
        self._blocks.clear()
        return lost

    def _write_out(self, numbers: list[int]) -> None:
        """Write blocks to the medium, neighbours in one go; one that fails stays here."""
        numbers.sort()
        start = 0
        for at in range(1, len(numbers) + 1):
            if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
                run = numbers[start:at]
                data = b"".join(self._blocks[number] for number in run)
                self._write_medium(run[0] * BLOCK_BYTES, data)
                for number in run:
                    del self._blocks[number]
                start = at
