"""The file map: both ways, and exactly at the edges of extents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError
from rig.integrity.filemap import Extent, FileMap, MappedFile, Place

A = MappedFile(1, "/a", 8192, True, [Extent(0, 100, 4), Extent(8, 90, 8)])
B = MappedFile(2, "/b", 4096, False, [Extent(0, 104, 8)])
MAP = FileMap([A, B])


@pytest.mark.parametrize(
    ("file_id", "sector", "lba"),
    [(1, 0, 100), (1, 3, 103), (1, 4, None), (1, 8, 90), (1, 15, 97), (1, 16, None), (2, 7, 111)],
)
def test_a_files_sector_lies_where_its_extent_says(
    file_id: int, sector: int, lba: int | None
) -> None:
    assert MAP.lba_of(file_id, sector) == lba


@pytest.mark.parametrize(
    ("lba", "place"),
    [(89, None), (90, (1, 8)), (98, None), (103, (1, 3)), (104, (2, 0)), (112, None)],
)
def test_an_lba_holds_what_its_extent_says(lba: int, place: tuple[int, int] | None) -> None:
    assert MAP.place_of(lba) == (None if place is None else Place(*place))


def test_an_unknown_file_lies_nowhere() -> None:
    assert MAP.lba_of(9, 0) is None
    assert not MAP.in_place(9)
    assert MAP.path(9) == "file 9"
    assert MAP.path(0) == "the raw disk"


def test_ranges_are_in_order_of_lbas() -> None:
    assert MAP.ranges == [(90, 8), (100, 4), (104, 8)]


def test_a_range_of_the_disk_is_cut_where_extents_begin_and_end() -> None:
    assert list(MAP.split_disk(88, 30)) == [
        (88, 2, None),
        (90, 8, Place(1, 8)),
        (98, 2, None),
        (100, 4, Place(1, 0)),
        (104, 8, Place(2, 0)),
        (112, 6, None),
    ]


def test_a_range_of_a_file_is_cut_where_extents_begin_and_end() -> None:
    assert list(MAP.split_file(1, 2, 16)) == [
        (2, 2, 102),
        (4, 4, None),
        (8, 8, 90),
        (16, 2, None),
    ]


@given(st.integers(80, 120), st.integers(0, 40))
def test_the_cuts_cover_the_range_and_agree_with_single_look_ups(lba: int, count: int) -> None:
    cuts = list(MAP.split_disk(lba, count))
    seen = [
        (at + i, place and Place(place.file_id, place.sector + i))
        for at, size, place in cuts
        for i in range(size)
    ]
    assert seen == [(at, MAP.place_of(at)) for at in range(lba, lba + count)]


def test_two_files_cannot_claim_one_lba() -> None:
    thief = MappedFile(3, "/c", 512, True, [Extent(0, 103, 1)])
    with pytest.raises(ApiViolationError, match="LBA 103"):
        FileMap([A, thief])


def test_a_file_cannot_be_mapped_twice() -> None:
    with pytest.raises(ApiViolationError, match="File 1"):
        FileMap([A, A])
