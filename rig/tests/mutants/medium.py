"""A disk's medium with a volatile cache, and the note of all that arrives there.  Pure."""

from __future__ import annotations

import errno

from rig.gadget.write_cache import WriteCache
from rig.integrity.oracle import Arrival
from rig.integrity.scan import scan
from rig.integrity.stamp import SECTOR_BYTES, ZERO_SECTOR

SECTORS = 64
"""Of the whole medium."""
CACHE_BYTES = 24 * SECTOR_BYTES


class Medium:
    """Keeps sectors; correct.

    Attributes:
        fails: So many of the next accesses end in an error.
    """

    def __init__(self) -> None:
        self.platter = bytearray(SECTORS * SECTOR_BYTES)
        self.fails = 0
        self._arrived: list[tuple[int, int, bytes]] = []
        self._cache = WriteCache(self._load, self._store, CACHE_BYTES)

    @property
    def arrivals(self) -> list[Arrival]:
        """Every write as it came, for the oracle."""
        return [
            Arrival(number, error, scan(data, lba))
            for number, (lba, error, data) in enumerate(self._arrived)
        ]

    def write(self, lba: int, data: bytes) -> int:
        """Take sectors; returns 0 or an errno."""
        error = self._fail()
        self._arrived.append((lba, error, data))
        if not error:
            self.put(lba, data)
        return error

    def put(self, lba: int, data: bytes) -> None:
        """Keep sectors in the cache."""
        self._cache.write(lba * SECTOR_BYTES, data)

    def read(self, lba: int, count: int) -> tuple[int, bytes]:
        """Return an errno, or 0 and sectors."""
        error = self._fail()
        return (error, b"") if error else (0, self.get(lba, count))

    def get(self, lba: int, count: int) -> bytes:
        """Return sectors."""
        return self._cache.read(lba * SECTOR_BYTES, count * SECTOR_BYTES)

    def flush(self) -> int:
        """Make all safe; returns 0 or an errno."""
        error = self._fail()
        if not error:
            self._cache.flush()
        return error

    def cut_power(self) -> None:
        """Lose what is not safe."""
        self._cache.drop()

    def _fail(self) -> int:
        if not self.fails:
            return 0
        self.fails -= 1
        return errno.EIO

    def _load(self, offset: int, length: int) -> bytes:
        data = bytes(self.platter[offset : offset + length])
        return data.ljust(length, ZERO_SECTOR[:1])

    def _store(self, offset: int, data: bytes) -> None:
        self.platter[offset : offset + len(data)] = data
