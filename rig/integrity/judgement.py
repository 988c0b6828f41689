"""What the oracle says: a class for every sector, and findings that a person can act on.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from rig.integrity.stamp import SECTOR_BYTES


class SectorClass(StrEnum):
    """What a sector turned out to be."""

    OK = "ok"
    """It holds the last write that an fsync confirmed, and no other would be legal."""
    INDETERMINATE = "indeterminate"
    """Its last write was not confirmed: old and new are both legal, and it holds one of them (or a
    checksum that no longer fits makes it unreadable)."""
    LOST = "lost"
    """An acknowledged write is not there: what was legal before it still is."""
    STALE = "stale"
    """It holds a write older still; or an older write arrived after a newer one."""
    TORN = "torn"
    """It holds parts of two writes."""
    MISDIRECTED = "misdirected"
    """It holds what belongs to another sector."""
    FOREIGN = "foreign"
    """It holds bytes that no recorded write of this run made."""
    CORRUPT = "corrupt"
    """It holds a stamp with wrong bits."""
    ZEROED = "zeroed"
    """It holds zeros instead of acknowledged data."""
    UNREADABLE = "unreadable"
    """Reading it ended in an error."""


HARMLESS = frozenset({SectorClass.OK, SectorClass.INDETERMINATE})


class View(StrEnum):
    """Where one looked."""

    HOST = "host"
    """What the front machine reads from its files."""
    MEDIUM = "medium"
    """What the gadget's medium holds."""
    ARRIVAL = "arrival"
    """What each write brought to the medium, in order."""


class Guilty(StrEnum):
    """Who put, or showed, wrong data."""

    HOST = "host"
    """The front machine: its file system, page cache or disk driver, above the split driver."""
    TRANSPORT = "transport"
    """What lies between: split driver, link, host controller, gadget's driver."""
    MEDIUM = "medium"
    """What is behind the gadget."""


class Reread(StrEnum):
    """What a second look, by another path, says of what a reader saw first."""

    TRANSIENT = "transient"
    """The same read gives the right data now: one bad read."""
    FILE_ONLY = "file only"
    """The file is wrong again, and the raw disk at its LBAs is right: a bad read above the disk."""
    DISK_TOO = "disk too"
    """The raw disk is wrong, too, and the medium is right: a bad read below the file system."""
    MEDIUM_TOO = "medium too"
    """The medium is wrong: a bad write, or a bad medium."""


class Keys(msgspec.Struct, frozen=True):
    """By what a finding's events are found in traces: the first sector's, and its neighbours'.

    Attributes:
        file_id: Of the file that the sector is part of; None outside of files.
        expected_writes: Numbers of the file's write calls whose data would be legal.
        seen_file_id: The file that the stamp in the sector names, if there is one.
        seen_write: Number of that file's write call whose stamp is in the sector.
        arrivals: Numbers of the journal's records that tell its story, in order: what brought the
            wrong data, what brought the right data, what answered wrongly.
    """

    file_id: int | None = None
    expected_writes: tuple[int, ...] = ()
    seen_file_id: int | None = None
    seen_write: int | None = None
    arrivals: tuple[int, ...] = ()

    def joined(self, other: Keys) -> Keys:
        """Those of two findings that are neighbours; some of the first ones are enough."""

        def both(one: tuple[int, ...], two: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(dict.fromkeys((*one, *two)))[:_ENOUGH_KEYS]

        return msgspec.structs.replace(
            self,
            expected_writes=both(self.expected_writes, other.expected_writes),
            arrivals=both(self.arrivals, other.arrivals),
        )


_ENOUGH_KEYS = 16


class Finding(msgspec.Struct, frozen=True):
    """Consecutive sectors with one thing wrong.

    Attributes:
        view: Where it was seen.
        sector_class: What is wrong; never a harmless class.
        lba: Of the first sector; None when the file's place on the disk is not known.
        belongs_lba: Where the first sector's content belongs, if it belongs elsewhere.
        file: Path of the file that the sector is part of; empty outside of files.
        offset: In that file, in bytes.
        expected: What should be there, in words; of the first sector.
        seen: What is there, in words; of the first sector.
        count: How many sectors.
        arrival: In the view of arrivals, the number of the write that brought it.
        sentence: All of it, for people.
        guilty: Whose fault it is, if the views tell (`rig.integrity.guilt`).
        because: How they tell, in words.
        reread: What a second look said, if there was one.
        keys: By what its events are found in traces.
    """

    view: View
    sector_class: SectorClass
    lba: int | None
    belongs_lba: int | None
    file: str
    offset: int | None
    expected: str
    seen: str
    count: int
    arrival: int | None = None
    sentence: str = ""
    guilty: Guilty | None = None
    because: str = ""
    reread: Reread | None = None
    keys: Keys = Keys()

    def part(self, start: int, count: int) -> Finding:
        """Sectors ``start`` to ``start + count`` of this finding."""

        def moved(at: int | None, by: int) -> int | None:
            return None if at is None else at + by

        return msgspec.structs.replace(
            self,
            lba=moved(self.lba, start),
            belongs_lba=moved(self.belongs_lba, start),
            offset=moved(self.offset, start * SECTOR_BYTES),
            count=count,
        )


class Judgement(msgspec.Struct, frozen=True):
    """The outcome of one view, or of several together.

    Attributes:
        counts: Sectors of each class; classes that did not occur are 0.
        findings: What is wrong, in the order in which it was seen.
    """

    counts: dict[SectorClass, int]
    findings: list[Finding]

    @property
    def failed(self) -> bool:
        """Whether any sector is in a class that is not harmless."""
        return any(n for c, n in self.counts.items() if c not in HARMLESS)


def combine(judgements: Iterable[Judgement]) -> Judgement:
    """Add up several judgements; a sector seen in three views counts three times."""
    total, findings = dict.fromkeys(SectorClass, 0), []
    for judgement in judgements:
        for sector_class, count in judgement.counts.items():
            total[sector_class] += count
        findings += judgement.findings
    return Judgement(total, findings)


class Collector:
    """Gathers classes and findings of one view."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(SectorClass, 0)
        self._findings: list[Finding] = []

    def tally(self, sector_class: SectorClass, count: int) -> None:
        """Count sectors of a harmless class."""
        self._counts[sector_class] += count

    def add(self, finding: Finding) -> None:
        """Count and keep one finding."""
        self._counts[finding.sector_class] += finding.count
        self._findings.append(finding)

    def judgement(self) -> Judgement:
        """The result; each finding now has its sentence."""
        return Judgement(dict(self._counts), [told(f) for f in joined(self._findings)])


def joined(findings: Iterable[Finding]) -> list[Finding]:
    """Join those that follow one another and are neighbours with the same thing wrong."""
    kept: list[Finding] = []
    for finding in findings:
        if kept and _continues(kept[-1], finding):
            kept[-1] = _joined(kept[-1], finding)
        else:
            kept.append(finding)
    return kept


def told(finding: Finding) -> Finding:
    """Return the finding with its sentence."""
    return msgspec.structs.replace(finding, sentence=_sentence(finding))


def _continues(one: Finding, other: Finding) -> bool:
    def step(before: int | None, after: int | None, by: int) -> bool:
        return after == (None if before is None else before + by)

    same = ("view", "sector_class", "file", "arrival", "guilty", "because", "reread")
    return (
        all(getattr(one, name) == getattr(other, name) for name in same)
        and step(one.lba, other.lba, one.count)
        and step(one.belongs_lba, other.belongs_lba, one.count)
        and step(one.offset, other.offset, one.count * SECTOR_BYTES)
        and not (one.lba is None and one.offset is None)
    )


def _joined(one: Finding, other: Finding) -> Finding:
    """Extend a finding; a write that went wrong as a whole, or many of them, stay one."""

    def words(first: str, further: str) -> str:
        told = first == further or first.endswith(_AND_OTHERS)
        return first if told else first + _AND_OTHERS

    return msgspec.structs.replace(
        one,
        count=one.count + other.count,
        expected=words(one.expected, other.expected),
        seen=words(one.seen, other.seen),
        keys=one.keys.joined(other.keys),
    )


_AND_OTHERS = ", and others behind it"
_WORDS = {
    SectorClass.LOST: "an acknowledged write is lost: {seen} is there, {expected} should be",
    SectorClass.STALE: "old data: {seen} is there, {expected} should be",
    SectorClass.TORN: "torn: {seen}; {expected} should be there",
    SectorClass.MISDIRECTED: "misdirected: {seen}, which belongs to {belongs}, is there; "
    "{expected} should be",
    SectorClass.FOREIGN: "foreign: {seen} is there, {expected} should be",
    SectorClass.CORRUPT: "corrupt: {seen}; {expected} should be there",
    SectorClass.ZEROED: "zeroed: zeros are there, {expected} should be",
    SectorClass.UNREADABLE: "unreadable: {expected} should be there",
}


def _sentence(finding: Finding) -> str:
    place = _lbas(finding.lba, finding.count)
    if finding.file:
        place += f" ({finding.file}, offset {finding.offset})"
    by = "" if finding.arrival is None else f", by write {finding.arrival} of the journal"
    words = _WORDS[finding.sector_class].format(
        seen=finding.seen,
        expected=finding.expected,
        belongs=_lbas(finding.belongs_lba, finding.count),
    )
    guilty = f" Guilty: the {finding.guilty}; {finding.because}." if finding.guilty else ""
    return f"{finding.view.capitalize()} view, {place}{by}: {words}.{guilty}"


def _lbas(lba: int | None, count: int) -> str:
    if lba is None:
        return "an unknown LBA"
    return f"LBA {lba}" if count == 1 else f"LBAs {lba} to {lba + count - 1}"
