"""Broken devices: a disk that works at the wrong place, or says what is not so.  Simulated."""

from __future__ import annotations

from rig.integrity.stamp import SECTOR_BYTES
from rig.tests.mutants.disk import READ_10, WRITE_10, Disk
from rig.tests.mutants.patch import nth


class WritesOneLbaTooFar(Disk):
    """Now and then a WRITE begins one LBA too far."""

    def place(self, lba: int, opcode: int) -> int:
        return lba + (opcode == WRITE_10 and nth(self, "place", 6))


class ReadsOneLbaTooFar(Disk):
    """Now and then a READ begins one LBA too far."""

    def place(self, lba: int, opcode: int) -> int:
        return lba + (opcode == READ_10 and nth(self, "place", 2))


class SwapsSectors(Disk):
    """Two sectors of a transfer change places."""

    def store(self, lba: int, data: bytes) -> bool:
        if nth(self, "store", 8):
            data = data[SECTOR_BYTES:] + data[:SECTOR_BYTES]
        return super().store(lba, data)


class RepeatsASector(Disk):
    """A buffer is used twice: a sector lies in the place of the next one, too."""

    def store(self, lba: int, data: bytes) -> bool:
        if nth(self, "store", 8):
            data = data[:SECTOR_BYTES] * (len(data) // SECTOR_BYTES)
        return super().store(lba, data)


class WritesElsewhereToo(Disk):
    """What is written lies a little further on, too."""

    def store(self, lba: int, data: bytes) -> bool:
        if nth(self, "store", 8):
            super().store(lba + 5, data)
        return super().store(lba, data)


class LosesWrites(Disk):
    """Data are taken, and not stored."""

    def store(self, lba: int, data: bytes) -> bool:
        return nth(self, "store", 9) or super().store(lba, data)


class LosesTheLastSector(Disk):
    """The last sector of a transfer is not stored."""

    def store(self, lba: int, data: bytes) -> bool:
        if nth(self, "store", 9):
            data = data[:-SECTOR_BYTES]
        return not data or super().store(lba, data)


class HidesErrors(Disk):
    """The status says that all went well, whatever the medium said."""

    def store(self, lba: int, data: bytes) -> bool:
        return super().store(lba, data) or True

    def flush(self) -> bool:
        return super().flush() or True


class TearsSectors(Disk):
    """The end of a sector is that of what was written before."""

    def store(self, lba: int, data: bytes) -> bool:
        before, self._before = getattr(self, "_before", data), data
        if nth(self, "store", 8):
            data = data[:300] + before[300:SECTOR_BYTES] + data[SECTOR_BYTES:]
        return super().store(lba, data)


class WritesAgainLater(Disk):
    """A write that was done long ago is done once more."""

    _later: tuple[int, bytes] | None = None

    def store(self, lba: int, data: bytes) -> bool:
        if nth(self, "store", 25) and self._later is not None:
            super().store(*self._later)
        if nth(self, "keep", 25) or self._later is None:
            self._later = lba, data
        return super().store(lba, data)


class ReadsStaleData(Disk):
    """A read is answered from a buffer that was filled long ago."""

    _old: bytes | None = None

    def store(self, lba: int, data: bytes) -> bool:
        if nth(self, "store", 30) and self._old is None:
            self._old = self.medium.get(0, 64)
        return super().store(lba, data)

    def fetch(self, lba: int, count: int) -> tuple[bool, bytes]:
        if self._old is None:
            return super().fetch(lba, count)
        return True, self._old[lba * SECTOR_BYTES : (lba + count) * SECTOR_BYTES]


class ReadsTheSameAgain(Disk):
    """The second half of a read is the first half again."""

    def fetch(self, lba: int, count: int) -> tuple[bool, bytes]:
        went_well, data = super().fetch(lba, count)
        return went_well, data[: len(data) // 2] * 2


class ReadsZeros(Disk):
    """A read is answered with an empty buffer."""

    def fetch(self, lba: int, count: int) -> tuple[bool, bytes]:
        return True, bytes(count * SECTOR_BYTES)


class ReadsShort(Disk):
    """The last sector of a read is missing, and the status says that it is not."""

    def fetch(self, lba: int, count: int) -> tuple[bool, bytes]:
        went_well, data = super().fetch(lba, count)
        return went_well, data[:-SECTOR_BYTES]


class LosesFlushes(Disk):
    """A flush is said to be done, and is not."""

    def flush(self) -> bool:
        return True
