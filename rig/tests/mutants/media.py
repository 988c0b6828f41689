"""Broken media: what arrived well does not lie there well.  Simulated."""

from __future__ import annotations

from rig.integrity.stamp import SECTOR_BYTES
from rig.tests.mutants.medium import Medium
from rig.tests.mutants.patch import nth


class LosesWrites(Medium):
    """A write is not kept."""

    def put(self, lba: int, data: bytes) -> None:
        if not nth(self, "put", 9):
            super().put(lba, data)


class Misdirects(Medium):
    """A write lies elsewhere."""

    def put(self, lba: int, data: bytes) -> None:
        super().put(lba + (3 if nth(self, "put", 9) else 0), data)


class IgnoresAnAddressLine(Medium):
    """LBAs that differ in one bit are one."""

    def put(self, lba: int, data: bytes) -> None:
        super().put(lba & ~0x10, data)

    def get(self, lba: int, count: int) -> bytes:
        return super().get(lba & ~0x10, count)


class FlipsBits(Medium):
    """A bit of what is kept is wrong."""

    def put(self, lba: int, data: bytes) -> None:
        if nth(self, "put", 9):
            data = data[:200] + bytes((data[200] ^ 1,)) + data[201:]
        super().put(lba, data)


class FlipsBitsOnReading(Medium):
    """A bit of what is read is wrong."""

    def get(self, lba: int, count: int) -> bytes:
        data = super().get(lba, count)
        return data[:200] + bytes((data[200] ^ 1,)) + data[201:]


class Tears(Medium):
    """A part of a sector is not kept."""

    def put(self, lba: int, data: bytes) -> None:
        if nth(self, "put", 9):
            data = data[:256] + self.get(lba, 1)[256:] + data[SECTOR_BYTES:]
        super().put(lba, data)


class LosesFlushes(Medium):
    """A flush is said to be done, and is not."""

    def flush(self) -> int:
        return self._fail()


class LosesAPartOfTheCache(Medium):
    """A flush leaves blocks in the cache."""

    def flush(self) -> int:
        error = self._fail()
        if not error:
            kept = dict(list(self._cache._blocks.items())[-2:])
            self._cache.flush()
            for lba, data in kept.items():
                self.platter[lba * SECTOR_BYTES : (lba + 1) * SECTOR_BYTES] = bytes(SECTOR_BYTES)
                self._cache.write(lba * SECTOR_BYTES, data)
        return error


class BringsBackOldData(Medium):
    """What was overwritten is there again after a flush."""

    def flush(self) -> int:
        old = bytes(self.platter[: 32 * SECTOR_BYTES])
        error = super().flush()
        if nth(self, "flush", 3):
            self.platter[: len(old)] = old
        return error


class KeepsRubbish(Medium):
    """Bytes of nobody lie where data were written."""

    def put(self, lba: int, data: bytes) -> None:
        super().put(lba, b"\xa5" * len(data) if nth(self, "put", 9) else data)


class Forgets(Medium):
    """Sectors become zero."""

    def cut_power(self) -> None:
        super().cut_power()
        self.platter[12 * SECTOR_BYTES : 30 * SECTOR_BYTES] = bytes(18 * SECTOR_BYTES)
