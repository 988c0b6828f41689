"""The oracle: each class, each view, and no alarm where none is due."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.judgement import Judgement, SectorClass, View, combine
from rig.integrity.ledger import (
    Event,
    Flushed,
    FlushFailed,
    WriteFailed,
    WriteReturned,
    WriteStarted,
)
from rig.integrity.model import Model
from rig.integrity.oracle import Arrival, Oracle
from rig.integrity.scan import Run, scan
from rig.integrity.stamp import SECTOR_BYTES, UNKNOWN_LBA, SectorKind, Stamp, encode

RUN_ID = 77
SECTORS = 8
A_LBA, B_LBA = 1000, 2000
FOREIGN = b"\x5a" * SECTOR_BYTES
ZERO = bytes(SECTOR_BYTES)


class World:
    """Two files of 8 sectors on a disk that is a dictionary, and the model of both."""

    def __init__(self, *, in_place: bool = True, known_lbas: bool = True) -> None:
        self.ledger = Model()
        self.map = FileMap(
            [
                MappedFile(1, "/a", 4096, in_place, [Extent(0, A_LBA, SECTORS)]),
                MappedFile(2, "/b", 4096, in_place, [Extent(0, B_LBA, SECTORS)]),
            ]
        )
        self.oracle = Oracle(self.ledger, self.map, RUN_ID)
        self.disk: dict[int, bytes] = {}
        self._known_lbas = known_lbas
        self._sequence = 0

    def stamp(self, file_id: int, sector: int, generation: int, sequence: int) -> Stamp:
        lba = (self.map.lba_of(file_id, sector) or 0) if self._known_lbas else UNKNOWN_LBA
        return Stamp(RUN_ID, file_id, sector * SECTOR_BYTES, lba, generation, 0, sequence)

    def write(self, file_id: int, generation: int, *ends: Event, arrives: bool = True) -> int:
        """Write a whole file; without ``ends`` it returns and is flushed."""
        self._sequence += 1
        number = self._sequence
        self.ledger.apply(WriteStarted(file_id, 0, SECTORS, generation, number))
        self.ledger.apply_all(ends or (WriteReturned(file_id, number), Flushed(file_id)))
        for sector in range(SECTORS if arrives else 0):
            lba = self.map.lba_of(file_id, sector)
            assert lba is not None
            self.disk[lba] = encode(self.stamp(file_id, sector, generation, number))
        return number

    def swap(self, one: int, other: int) -> None:
        self.disk[one], self.disk[other] = self.disk[other], self.disk[one]

    def observe(self, first: int, count: int) -> list[Run]:
        return scan(b"".join(self.disk.get(first + i, ZERO) for i in range(count)), first)

    def file_runs(self, count: int) -> list[Run]:
        """What the first sectors of file 1 look like to the host."""
        return scan(b"".join(self.disk[A_LBA + i] for i in range(count)), 0)

    def host(self) -> Judgement:
        views = []
        for file_id, lba in ((1, A_LBA), (2, B_LBA)):
            data = b"".join(self.disk.get(lba + i, ZERO) for i in range(SECTORS))
            views.append(self.oracle.judge_host(file_id, scan(data, 0)))
        return combine(views)

    def medium(self) -> Judgement:
        return self.oracle.judge_medium(self.observe(990, 1100))

    def both(self) -> list[Judgement]:
        return [self.host(), self.medium()]


def written(**options: bool) -> World:
    world = World(**options)
    world.write(1, 1)
    world.write(2, 1)
    return world


def counts(judgement: Judgement) -> dict[str, int]:
    return {sector_class.value: n for sector_class, n in judgement.counts.items() if n}


def arrival(number: int, lba: int, *sectors: bytes, errno: int = 0) -> Arrival:
    return Arrival(number, errno, scan(b"".join(sectors), lba))


# -- what must not alarm ------------------------------------------------------------------------


def test_everything_in_its_place_is_ok() -> None:
    for judgement in written().both():
        assert counts(judgement) == {"ok": 16}
        assert not judgement.failed


def test_stamps_without_lbas_in_their_place_are_ok() -> None:
    for judgement in written(known_lbas=False).both():
        assert counts(judgement) == {"ok": 16}


def test_after_a_failed_write_old_and_new_are_both_legal() -> None:
    for arrives in (True, False):
        world = written()
        world.write(1, 2, WriteFailed(1, 3, 5), arrives=arrives)
        for judgement in world.both():
            assert counts(judgement) == {"ok": 8, "indeterminate": 8}
            assert not judgement.failed


def test_after_a_failed_fsync_old_and_new_are_both_legal() -> None:
    for arrives in (True, False):
        world = written()
        world.write(1, 2, WriteReturned(1, 3), FlushFailed(1, 5), Flushed(1), arrives=arrives)
        for judgement in world.both():
            assert counts(judgement) == {"ok": 8, "indeterminate": 8}


def test_a_first_write_that_failed_may_leave_zeros_or_what_was_there() -> None:
    for content in (ZERO, FOREIGN):
        world = World()
        world.write(1, 1, WriteFailed(1, 1, 5), arrives=False)
        world.disk = dict.fromkeys(range(A_LBA, A_LBA + SECTORS), content)
        for judgement in world.both():
            assert counts(judgement) == {"indeterminate": 8}


def test_a_sector_whose_last_write_failed_may_be_unreadable() -> None:
    world = written()
    world.write(1, 2, WriteFailed(1, 3, 5))
    judgement = world.oracle.judge_host(1, [Run(0, 8, SectorKind.UNREADABLE)])
    assert counts(judgement) == {"indeterminate": 8}


def test_foreign_sectors_between_files_are_nobodys() -> None:
    world = written()
    world.disk[1500] = FOREIGN
    assert counts(world.medium()) == {"ok": 16}


def test_stamps_of_an_earlier_run_between_files_are_nobodys() -> None:
    world = written()
    world.disk[1500] = encode(msgspec.structs.replace(world.stamp(1, 0, 1, 1), run_id=5))
    assert counts(world.medium()) == {"ok": 16}


def test_old_copies_are_legal_where_files_are_not_overwritten_in_place() -> None:
    world = written(in_place=False, known_lbas=False)
    world.disk[1500] = encode(world.stamp(1, 0, 1, 1))
    assert counts(world.medium()) == {"ok": 16}


def test_an_old_copy_under_a_failed_first_write_is_legal_without_overwrite_in_place() -> None:
    world = World(in_place=False, known_lbas=False)
    world.write(1, 1)
    world.write(2, 1, WriteFailed(2, 2, 5), arrives=False)
    world.disk[B_LBA] = encode(world.stamp(1, 3, 1, 1))
    assert counts(world.medium()) == {"ok": 8, "indeterminate": 8}


# -- each class ---------------------------------------------------------------------------------


def test_an_acknowledged_write_that_is_not_there_is_lost() -> None:
    world = written()
    world.write(1, 2, arrives=False)
    for judgement in world.both():
        assert counts(judgement) == {"ok": 8, "lost": 8}
        (finding,) = judgement.findings
        assert (finding.lba, finding.count, finding.file) == (A_LBA, 8, "/a")
        assert finding.seen == "generation 1 (write 1)"
        assert finding.expected == "generation 2 (write 3)"


def test_a_write_older_than_the_one_before_is_stale() -> None:
    world = written()
    world.write(1, 2)
    world.write(1, 3, arrives=False)
    world.disk[A_LBA] = encode(world.stamp(1, 0, 1, 1))
    for judgement in world.both():
        assert counts(judgement) == {"ok": 8, "lost": 7, "stale": 1}


def test_a_torn_sector_is_torn_even_after_a_failed_write() -> None:
    world = written()
    world.write(1, 2, WriteFailed(1, 3, 5), arrives=False)
    new = encode(world.stamp(1, 0, 2, 3))
    world.disk[A_LBA] = new[:256] + world.disk[A_LBA][256:]
    for judgement in world.both():
        assert counts(judgement) == {"ok": 8, "indeterminate": 7, "torn": 1}
        assert "from byte 256" in judgement.findings[0].sentence


def test_a_swap_of_two_sectors_names_both_lbas() -> None:
    for known_lbas in (True, False):
        world = written(known_lbas=known_lbas)
        world.swap(A_LBA + 1, B_LBA + 2)
        for judgement in world.both():
            assert counts(judgement) == {"ok": 14, "misdirected": 2}
            pairs = {(f.lba, f.belongs_lba) for f in judgement.findings}
            assert pairs == {(A_LBA + 1, B_LBA + 2), (B_LBA + 2, A_LBA + 1)}
            assert all(f"LBA {A_LBA + 1}" in f.sentence for f in judgement.findings)
            assert all(f"LBA {B_LBA + 2}" in f.sentence for f in judgement.findings)


def test_a_write_that_landed_between_files_is_misdirected_and_lost() -> None:
    world = written()
    new = world.write(1, 2, arrives=False)
    world.disk[1500] = encode(world.stamp(1, 0, 2, new))
    judgement = world.medium()
    assert counts(judgement) == {"ok": 8, "lost": 8, "misdirected": 1}
    stray = next(f for f in judgement.findings if f.sector_class is SectorClass.MISDIRECTED)
    assert (stray.lba, stray.belongs_lba, stray.file) == (1500, A_LBA, "")


def test_bytes_without_a_stamp_over_acknowledged_data_are_foreign() -> None:
    world = written()
    world.disk[A_LBA] = FOREIGN
    for judgement in world.both():
        assert counts(judgement) == {"ok": 15, "foreign": 1}


def test_a_stamp_of_another_run_is_foreign() -> None:
    world = written()
    world.disk[A_LBA] = encode(msgspec.structs.replace(world.stamp(1, 0, 1, 1), run_id=5))
    for judgement in world.both():
        assert counts(judgement) == {"ok": 15, "foreign": 1}
        assert "another run (0x5)" in judgement.findings[0].sentence


def test_a_stamp_that_no_recorded_write_made_is_foreign_even_after_a_failed_write() -> None:
    world = written()
    world.write(1, 2, WriteFailed(1, 3, 5))
    world.disk[A_LBA] = encode(world.stamp(1, 0, 9, 99))
    for judgement in world.both():
        assert counts(judgement) == {"ok": 8, "indeterminate": 7, "foreign": 1}


def test_a_wrong_bit_is_corrupt() -> None:
    world = written()
    world.disk[A_LBA] = world.disk[A_LBA][:99] + b"\0" + world.disk[A_LBA][100:]
    for judgement in world.both():
        assert counts(judgement) == {"ok": 15, "corrupt": 1}


def test_zeros_instead_of_acknowledged_data_are_zeroed() -> None:
    world = written()
    del world.disk[A_LBA + 7]
    for judgement in world.both():
        assert counts(judgement) == {"ok": 15, "zeroed": 1}
        assert judgement.findings[0].lba == A_LBA + 7


def test_acknowledged_data_that_cannot_be_read_is_unreadable() -> None:
    judgement = written().oracle.judge_host(1, [Run(0, 8, SectorKind.UNREADABLE)])
    assert counts(judgement) == {"unreadable": 8}


# -- what no run covers -------------------------------------------------------------------------


def test_a_file_that_is_too_short_has_lost_what_is_missing() -> None:
    world = written()
    judgement = world.oracle.judge_host(1, world.file_runs(6))
    assert counts(judgement) == {"ok": 6, "lost": 2}
    assert judgement.findings[0].seen == "no such sector"


def test_holes_of_a_sparse_medium_are_zeros() -> None:
    world = written()
    judgement = world.oracle.judge_medium(world.observe(A_LBA, SECTORS))
    assert counts(judgement) == {"ok": 8, "zeroed": 8}


def test_acknowledged_data_that_lies_at_no_lba_is_lost_on_the_medium() -> None:
    world = written()
    world.ledger.apply_all([WriteStarted(3, 0, 2, 1, 1), WriteReturned(3, 1), Flushed(3)])
    assert counts(world.medium()) == {"ok": 16, "lost": 2}


# -- arrivals -----------------------------------------------------------------------------------


def test_writes_that_arrive_where_they_belong_are_ok() -> None:
    world = written()
    sectors = [world.disk[A_LBA + i] for i in range(3)]
    judgement = world.oracle.judge_arrivals([arrival(1, A_LBA, *sectors)])
    assert counts(judgement) == {"ok": 3}


def test_a_misdirected_arrival_is_found_although_it_was_repaired_later() -> None:
    for known_lbas in (True, False):
        world = written(known_lbas=known_lbas)
        a, b = world.disk[A_LBA], world.disk[B_LBA]
        judgement = world.oracle.judge_arrivals(
            [arrival(1, A_LBA, a), arrival(2, A_LBA, b), arrival(3, A_LBA, a)]
        )
        assert counts(judgement) == {"ok": 2, "misdirected": 1}
        (finding,) = judgement.findings
        assert (finding.lba, finding.belongs_lba, finding.arrival) == (A_LBA, B_LBA, 2)
        assert "write 2 of the journal" in finding.sentence


def test_an_arrival_off_by_one_lba_is_one_finding_with_its_length() -> None:
    world = written()
    sectors = [world.disk[A_LBA + i] for i in range(8)]
    judgement = world.oracle.judge_arrivals([arrival(1, A_LBA + 1, *sectors)])
    assert counts(judgement) == {"misdirected": 8}
    assert judgement.findings[0].lba == A_LBA + 1
    assert judgement.findings[0].belongs_lba == A_LBA


def test_an_arrival_between_files_by_its_own_word_is_misdirected() -> None:
    world = written()
    judgement = world.oracle.judge_arrivals([arrival(1, 1500, world.disk[A_LBA])])
    assert counts(judgement) == {"misdirected": 1}


def test_an_older_write_that_arrives_after_a_newer_one_is_stale() -> None:
    world = written()
    old = world.disk[A_LBA]
    world.write(1, 2)
    new = world.disk[A_LBA]
    arrivals = [arrival(i, A_LBA, data) for i, data in enumerate((old, new, old), 1)]
    judgement = world.oracle.judge_arrivals(arrivals)
    assert counts(judgement) == {"ok": 2, "stale": 1}
    assert judgement.findings[0].arrival == 3


def test_a_retried_write_may_arrive_twice() -> None:
    world = written()
    data = world.disk[A_LBA]
    arrivals = [arrival(1, A_LBA, data, errno=5), arrival(2, A_LBA, data)]
    assert counts(world.oracle.judge_arrivals(arrivals)) == {"ok": 2}


def test_zeros_or_foreign_bytes_that_arrive_over_a_stamp_are_findings() -> None:
    world = written()
    data = world.disk[A_LBA]
    arrivals = [
        arrival(1, A_LBA, ZERO),
        arrival(2, A_LBA, data),
        arrival(3, A_LBA, ZERO),
        arrival(4, A_LBA, FOREIGN),
    ]
    judgement = world.oracle.judge_arrivals(arrivals)
    assert counts(judgement) == {"ok": 1, "zeroed": 1, "foreign": 1}
    assert [f.arrival for f in judgement.findings] == [3, 4]


def test_a_torn_arrival_is_torn_wherever_it_lands() -> None:
    world = written()
    torn = world.disk[A_LBA][:256] + world.disk[B_LBA][256:]
    assert counts(world.oracle.judge_arrivals([arrival(1, 1500, torn)])) == {"torn": 1}


def test_metadata_between_files_arrives_unjudged() -> None:
    world = written()
    arrivals = [arrival(1, 1500, FOREIGN, ZERO)]
    assert counts(world.oracle.judge_arrivals(arrivals)) == {}


# -- findings -----------------------------------------------------------------------------------


def test_neighbours_join_in_one_finding_and_others_do_not() -> None:
    world = written()
    for sector in (1, 2, 3, 6):
        del world.disk[A_LBA + sector]
    findings = world.medium().findings
    assert [(f.lba, f.count) for f in findings] == [(A_LBA + 1, 3), (A_LBA + 6, 1)]
    assert findings[0].sentence == (
        "Medium view, LBAs 1001 to 1003 (/a, offset 512): zeroed: zeros are there, "
        "generation 1 (write 1) should be."
    )


def test_a_finding_goes_on_where_another_write_begins() -> None:
    world = written()
    first = world.write(1, 2)
    world.disk |= {A_LBA + i: encode(world.stamp(1, i, 1, 1)) for i in range(4)}
    shifted = [world.disk[A_LBA + i] for i in range(8)]
    world.disk |= {1500 + i: sector for i, sector in enumerate(shifted)}
    judgement = world.oracle.judge_medium(world.observe(1500, 8))
    stray = judgement.findings[0]
    assert (stray.lba, stray.belongs_lba, stray.count) == (1500, A_LBA, 8)
    assert stray.seen == "generation 1 (write 1) of /a, and others behind it"
    assert first == 3


def test_a_judgement_survives_json() -> None:
    world = written()
    world.swap(A_LBA, B_LBA)
    judgement = world.medium()
    assert msgspec.json.decode(msgspec.json.encode(judgement), type=Judgement) == judgement


def test_combining_adds_counts_and_keeps_findings() -> None:
    world = written()
    del world.disk[A_LBA]
    both = combine(world.both())
    assert counts(both) == {"ok": 30, "zeroed": 2}
    assert [f.view for f in both.findings] == [View.HOST, View.MEDIUM]
    assert both.failed


@given(st.permutations(range(2 * SECTORS)))
def test_any_permutation_of_sectors_is_found_exactly(order: list[int]) -> None:
    world = written()
    lbas = [*range(A_LBA, A_LBA + SECTORS), *range(B_LBA, B_LBA + SECTORS)]
    was = dict(world.disk)
    for at, source in zip(lbas, order, strict=True):
        world.disk[at] = was[lbas[source]]
    moved = {(at, lbas[s]) for at, s in zip(lbas, order, strict=True) if at != lbas[s]}
    for judgement in world.both():
        found = {
            (f.lba + i, f.belongs_lba + i)
            for f in judgement.findings
            for i in range(f.count)
            if f.lba is not None and f.belongs_lba is not None
        }
        assert found == moved
        assert judgement.counts[SectorClass.MISDIRECTED] == len(moved)
