"""Where the files' sectors lie on the disk, and what lies at an LBA.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from rig.errors import ApiViolationError
from rig.integrity.stamp import RAW_DEVICE


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive sectors of a file that are consecutive on the disk.

    Attributes:
        file_sector: First one in the file, in sectors of 512 bytes.
        lba: Where it lies: a 512-byte LBA of the whole disk.
        count: How many.
    """

    file_sector: int
    lba: int
    count: int


class MappedFile(msgspec.Struct, frozen=True):
    """One file and its place.

    Attributes:
        file_id: As its stamps carry it.
        path: Its name on the machine that mounted it.
        size_bytes: Its length.
        in_place: Whether an overwrite goes to the same LBAs (no: a log or copy on write).
        extents: Where it lies, in order of the file's sectors; holes are left out.
    """

    file_id: int
    path: str
    size_bytes: int
    in_place: bool
    extents: list[Extent]


class Place(NamedTuple):
    """A sector of a file."""

    file_id: int
    sector: int


class FileMap:
    """Answers both ways: where does it lie, and what lies there?

    Args:
        files: All files; extents of different files do not overlap.

    Raises:
        ApiViolationError: Two extents claim one LBA, or one file is there twice.
    """

    def __init__(self, files: Iterable[MappedFile]) -> None:
        self._files: dict[int, MappedFile] = {}
        by_lba: list[tuple[int, int, int, int]] = []
        for file in files:
            if file.file_id in self._files:
                raise ApiViolationError(f"File {file.file_id} is mapped twice.")
            self._files[file.file_id] = file
            by_lba += [(e.lba, e.count, file.file_id, e.file_sector) for e in file.extents]
        self._by_lba = sorted(by_lba)
        self._lbas = [row[0] for row in self._by_lba]
        self._sectors = {
            number: [extent.file_sector for extent in file.extents]
            for number, file in self._files.items()
        }
        for (lba, count, one, _), (following, _, other, _) in zip(
            self._by_lba, self._by_lba[1:], strict=False
        ):
            if lba + count > following:
                raise ApiViolationError(f"Files {one} and {other} both claim LBA {following}.")

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """All (lba, count) that files lie on, in order of LBAs."""
        return [(lba, count) for lba, count, _, _ in self._by_lba]

    @property
    def rows(self) -> list[tuple[int, int, int, int]]:
        """All (lba, count, file_id, file_sector), in order of LBAs."""
        return self._by_lba

    def path(self, file_id: int) -> str:
        """A file's name, for sentences."""
        if file_id in self._files:
            return self._files[file_id].path
        return "the raw disk" if file_id == RAW_DEVICE else f"file {file_id}"

    def in_place(self, file_id: int) -> bool:
        """Whether overwrites of the file stay at their LBAs; of an unknown file, no."""
        return file_id in self._files and self._files[file_id].in_place

    def lba_of(self, file_id: int, sector: int) -> int | None:
        """Where a file's sector lies; None when that is not known."""
        row = bisect_right(self._sectors.get(file_id, []), sector) - 1
        if row < 0:
            return None
        extent = self._files[file_id].extents[row]
        inside = sector - extent.file_sector
        return extent.lba + inside if inside < extent.count else None

    def place_of(self, lba: int) -> Place | None:
        """Which file's sector lies at an LBA; None when none of ours does."""
        row = bisect_right(self._lbas, lba) - 1
        if row < 0:
            return None
        start, count, file_id, file_sector = self._by_lba[row]
        inside = lba - start
        return Place(file_id, file_sector + inside) if inside < count else None

    def split_disk(self, lba: int, count: int) -> Iterator[tuple[int, int, Place | None]]:
        """Cut a range of LBAs where extents begin and end.

        Yields:
            (lba, count, the place of the first sector), in order; the place is None between files.
        """
        end = lba + count
        while lba < end:
            row = bisect_right(self._lbas, lba)
            place = self.place_of(lba)
            stop = min(end, self._lbas[row] if row < len(self._lbas) else end)
            if place is not None:
                stop = min(stop, self._by_lba[row - 1][0] + self._by_lba[row - 1][1])
            yield lba, stop - lba, place
            lba = stop

    def split_file(
        self, file_id: int, sector: int, count: int
    ) -> Iterator[tuple[int, int, int | None]]:
        """Cut a range of a file's sectors where extents begin and end.

        Yields:
            (sector, count, LBA of the first), in order; the LBA is None in holes.
        """
        end = sector + count
        starts = self._sectors.get(file_id, [])
        while sector < end:
            row = bisect_right(starts, sector)
            lba = self.lba_of(file_id, sector)
            stop = min(end, starts[row] if row < len(starts) else end)
            if lba is not None:
                extent = self._files[file_id].extents[row - 1]
                stop = min(stop, extent.file_sector + extent.count)
            yield sector, stop - sector, lba
            sector = stop
