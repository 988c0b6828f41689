"""A second look: what it is asked for, and what it changes."""

from __future__ import annotations

import msgspec
import pytest

from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.judgement import Finding, Reread, SectorClass, View
from rig.integrity.ledger import Flushed, WriteFailed, WriteReturned, WriteStarted
from rig.integrity.looks import FileLook, SecondLook
from rig.integrity.model import Model
from rig.integrity.oracle import Oracle
from rig.integrity.reread import Settled, settle, wanted
from rig.integrity.scan import Run
from rig.integrity.stamp import SectorKind, Stamp

RUN_ID, LBA, SECTORS = 4, 100, 8


def right(first: int, count: int, at: int) -> Run:
    stamp = Stamp(RUN_ID, 1, first * 512, LBA + first, 1, 0, 1)
    return Run(at, count, SectorKind.STAMP, stamp)


def in_file(*kinds: SectorKind | None) -> list[Run]:
    """What a file shows: None is right data."""
    return [right(n, 1, n) if kind is None else Run(n, 1, kind) for n, kind in enumerate(kinds)]


def on_disk(*kinds: SectorKind | None) -> list[Run]:
    return [msgspec.structs.replace(run, sector=LBA + run.sector) for run in in_file(*kinds)]


BAD, GONE = SectorKind.FOREIGN, SectorKind.UNREADABLE
ALL_RIGHT = [None] * SECTORS


@pytest.fixture
def oracle() -> Oracle:
    model = Model()
    model.apply_all([WriteStarted(1, 0, SECTORS, 1, 1), WriteReturned(1, 1), Flushed(1)])
    files = [MappedFile(1, "/f", SECTORS * 512, True, [Extent(0, LBA, SECTORS)])]
    return Oracle(model, FileMap(files), RUN_ID)


def settled(
    oracle: Oracle,
    first: list[Run],
    again: list[Run],
    disk: list[Run] | None = None,
    medium: list[Run] | None = None,
) -> Settled:
    look = SecondLook([FileLook(1, again)], disk or [])
    return settle(oracle, oracle.judge_host(1, first), look, medium or [])


def words(findings: list[Finding]) -> list[tuple[str, int | None, int, Reread | None]]:
    return [(f.sector_class.value, f.lba, f.count, f.reread) for f in findings]


def test_what_looked_wrong_is_wanted_again_with_its_lba(oracle: Oracle) -> None:
    kinds = [None, BAD, BAD, None, GONE, None, None, None]
    judgement = oracle.judge_host(1, in_file(*kinds))
    assert [tuple(msgspec.to_builtins(one)) for one in wanted(judgement)] == [
        (1, "/f", 1, 2, LBA + 1),
        (1, "/f", 4, 1, LBA + 4),
    ]


def test_no_more_is_wanted_than_the_limit(oracle: Oracle) -> None:
    judgement = oracle.judge_host(1, in_file(BAD, BAD, BAD, None, BAD, BAD, None, None))
    assert [one.count for one in wanted(judgement, 4)] == [3, 1]


def test_findings_of_other_views_are_not_wanted(oracle: Oracle) -> None:
    assert wanted(oracle.judge_medium(on_disk(BAD))) == []


def test_wrong_data_that_is_right_again_was_a_transient_bad_read(oracle: Oracle) -> None:
    outcome = settled(oracle, in_file(BAD, *ALL_RIGHT[1:]), in_file(*ALL_RIGHT))
    assert words(outcome.judgement.findings) == [("foreign", LBA, 1, Reread.TRANSIENT)]
    assert outcome.judgement.failed
    assert outcome.forgiven == []


def test_a_sector_that_could_not_be_read_and_is_right_again_is_forgiven(oracle: Oracle) -> None:
    outcome = settled(oracle, in_file(GONE, GONE, *ALL_RIGHT[2:]), in_file(*ALL_RIGHT))
    assert words(outcome.forgiven) == [("unreadable", LBA, 2, Reread.TRANSIENT)]
    assert outcome.judgement.findings == []
    assert outcome.judgement.counts[SectorClass.OK] == SECTORS
    assert outcome.judgement.counts[SectorClass.UNREADABLE] == 0


@pytest.mark.parametrize(
    ("disk", "medium", "reread"),
    [
        (None, None, Reread.FILE_ONLY),
        (BAD, None, Reread.DISK_TOO),
        (BAD, BAD, Reread.MEDIUM_TOO),
    ],
)
def test_the_raw_disk_and_the_medium_tell_where_a_bad_read_comes_about(
    oracle: Oracle, disk: SectorKind | None, medium: SectorKind | None, reread: Reread
) -> None:
    file = in_file(BAD, *ALL_RIGHT[1:])
    outcome = settled(
        oracle, file, file, on_disk(disk, *ALL_RIGHT[1:]), on_disk(medium, *ALL_RIGHT[1:])
    )
    assert words(outcome.judgement.findings) == [("foreign", LBA, 1, reread)]


def test_a_finding_is_cut_where_the_second_look_differs(oracle: Oracle) -> None:
    outcome = settled(
        oracle,
        in_file(GONE, GONE, GONE, *ALL_RIGHT[3:]),
        in_file(None, GONE, GONE, *ALL_RIGHT[3:]),
        on_disk(None, None, GONE),
    )
    assert words(outcome.judgement.findings) == [
        ("unreadable", LBA + 1, 1, Reread.FILE_ONLY),
        ("unreadable", LBA + 2, 1, Reread.DISK_TOO),
    ]
    assert words(outcome.forgiven) == [("unreadable", LBA, 1, Reread.TRANSIENT)]


def test_of_what_was_not_read_again_nothing_is_said(oracle: Oracle) -> None:
    outcome = settled(oracle, in_file(BAD, BAD, *ALL_RIGHT[2:]), in_file(None))
    assert words(outcome.judgement.findings) == [
        ("foreign", LBA, 1, Reread.TRANSIENT),
        ("foreign", LBA + 1, 1, None),
    ]


def test_what_is_left_of_a_failed_write_may_be_unreadable_both_times() -> None:
    model = Model()
    model.apply_all([WriteStarted(1, 0, 1, 1, 1), WriteFailed(1, 1, 5)])
    oracle = Oracle(model, FileMap([]), RUN_ID)
    outcome = settled(oracle, in_file(GONE), in_file(GONE))
    assert outcome.judgement.counts[SectorClass.INDETERMINATE] == 1


def test_findings_of_other_views_stay_as_they_are(oracle: Oracle) -> None:
    first = oracle.judge_medium(on_disk(BAD), partial=True)
    outcome = settle(oracle, first, SecondLook([FileLook(1, in_file(*ALL_RIGHT))], []))
    assert outcome.judgement.findings == first.findings
    assert first.findings[0].view is View.MEDIUM
