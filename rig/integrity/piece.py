"""A stretch of sectors that one class is said of, and the words for it.  Pure."""

from __future__ import annotations

from typing import NamedTuple

from rig.integrity.filemap import FileMap, Place
from rig.integrity.judgement import Finding, Keys, SectorClass, View
from rig.integrity.model import Legal
from rig.integrity.scan import Run
from rig.integrity.stamp import SECTOR_BYTES, UNKNOWN_LBA, SectorKind, Stamp


class Piece(NamedTuple):
    """Consecutive sectors within one run and one extent.

    Attributes:
        view: Where they were seen.
        place: Of the first one, if it is part of a file.
        lba: Likewise, if it is known.
        size: How many.
        run: What was seen there.
        skipped: Sectors of the run that lie before this piece.
        arrival: Number of the write that brought them.
    """

    view: View
    place: Place | None
    lba: int | None
    size: int
    run: Run
    skipped: int
    arrival: int | None = None

    def part(self, start: int, count: int) -> Piece:
        """Sectors ``start`` to ``start + count`` of this piece."""
        place, lba = self.place, self.lba
        return self._replace(
            place=None if place is None else Place(place.file_id, place.sector + start),
            lba=None if lba is None else lba + start,
            size=count,
            skipped=self.skipped + start,
        )

    @property
    def stamp(self) -> Stamp | None:
        """The stamp of the first sector, or what is left of it."""
        return self.run.stamp and self.run.stamp.advanced(self.skipped)

    @property
    def in_its_place(self) -> bool:
        """Whether the stamps name the very file and offset at which they lie."""
        stamp, place = self.stamp, self.place
        if stamp is None or place is None:
            return False
        return (stamp.file_id, stamp.offset) == (place.file_id, place.sector * SECTOR_BYTES)


class Teller:
    """Makes findings of pieces.

    Args:
        file_map: Where the files lie.
        run_id: That the run's stamps carry.
    """

    def __init__(self, file_map: FileMap, run_id: int) -> None:
        self._map = file_map
        self._run_id = run_id

    def home(self, stamp: Stamp) -> int | None:
        """The LBA at which a stamp belongs: by the map, else by its own word."""
        home = self._map.lba_of(stamp.file_id, stamp.offset // SECTOR_BYTES)
        if home is None and stamp.lba != UNKNOWN_LBA:
            return stamp.lba
        return home

    def finding(
        self,
        piece: Piece,
        sector_class: SectorClass,
        legal: Legal,
        *,
        seen: str = "",
        expected: str = "",
    ) -> Finding:
        """Make a finding.

        Args:
            piece: Where, and what was seen.
            sector_class: What is wrong.
            legal: What should be there.
            seen: What is there, if it is not to be said by the run.
            expected: What should be there, if it is not to be said by what is legal.
        """
        stamp, place = piece.stamp, piece.place
        away = sector_class is SectorClass.MISDIRECTED and stamp is not None
        return Finding(
            view=piece.view,
            sector_class=sector_class,
            lba=piece.lba,
            belongs_lba=self.home(stamp) if away and stamp is not None else None,
            file="" if place is None else self._map.path(place.file_id),
            offset=None if place is None else place.sector * SECTOR_BYTES,
            expected=expected or _expected_words(legal, place),
            seen=seen or self._seen_words(piece),
            count=piece.size,
            arrival=piece.arrival,
            keys=self._keys(piece, legal),
        )

    def _keys(self, piece: Piece, legal: Legal) -> Keys:
        stamp, place = piece.stamp, piece.place
        ours = stamp is not None and stamp.run_id == self._run_id
        return Keys(
            file_id=None if place is None else place.file_id,
            expected_writes=tuple(write.sequence for write in legal.writes),
            seen_file_id=stamp.file_id if ours and stamp is not None else None,
            seen_write=stamp.sequence if ours and stamp is not None else None,
            arrivals=() if piece.arrival is None else (piece.arrival,),
        )

    def _seen_words(self, piece: Piece) -> str:
        run, stamp = piece.run, piece.stamp
        if run.kind is SectorKind.FOREIGN:
            return "bytes without a stamp"
        if run.kind is not SectorKind.STAMP or stamp is None:
            return run.note or run.kind.value
        if stamp.run_id != self._run_id:
            return f"a stamp of another run ({stamp.run_id:#x})"
        words = f"generation {stamp.generation} (write {stamp.sequence})"
        return words if piece.in_its_place else f"{words} of {self._map.path(stamp.file_id)}"


def _expected_words(legal: Legal, place: Place | None) -> str:
    choices = [f"generation {w.generation} (write {w.sequence})" for w in legal.writes]
    return " or ".join(choices) or ("nothing of ours" if place is None else "its own data")
