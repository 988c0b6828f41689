"""In which order a benchmark measures, and where its requests go."""

from __future__ import annotations

from collections import Counter

import pytest

from rig.experiments.bench.plan import KIB, LONG, MIB, QUICK, Part, Row, rotated, rows
from rig.lab.paths import PathName

DISK_BYTES = 32 * MIB


def test_each_round_measures_every_row_once_over_each_path() -> None:
    part = Part(rows(1, 1), rounds=3)
    for number in range(part.rounds):
        counted = Counter(part.turns(number))
        assert set(counted.values()) == {1}
        assert len(counted) == len(part.rows) * len(PathName)


def test_the_paths_of_a_row_follow_one_another() -> None:
    part = Part(rows(1, 1), rounds=1)
    names = [row.name for row, _ in part.turns(0)]
    assert names == sorted(names, key=[row.name for row in part.rows].index)


def test_no_path_is_always_the_first() -> None:
    part = Part(rows(1, 1), rounds=3)
    firsts = [next(iter(part.turns(number)))[1] for number in range(3)]
    assert set(firsts) == set(PathName)


def test_rotation_keeps_the_cyclic_order() -> None:
    order = (PathName.DIRECT, PathName.USBIP, PathName.SPLIT)
    assert rotated(order, 4) == [PathName.USBIP, PathName.SPLIT, PathName.DIRECT]


def test_a_slow_link_is_not_measured_directly() -> None:
    assert all(PathName.DIRECT not in row.paths for row in rows(1, 1, delay_ms=20))
    assert all(PathName.DIRECT in row.paths for row in rows(1, 1))


@pytest.mark.parametrize("row", [row for part in (*QUICK, *LONG) for row in part.rows])
def test_requests_are_aligned_and_on_the_disk(row: Row) -> None:
    for number in range(40):
        offsets = row.offsets(DISK_BYTES, number)
        assert len(offsets) == row.requests
        for offset in offsets:
            assert offset % (4 * KIB) == 0
            assert 0 <= offset <= DISK_BYTES - row.request_bytes


def test_random_requests_are_alike_for_all_paths_and_differ_by_round() -> None:
    row = rows(1, 16)[2]
    assert row.offsets(DISK_BYTES, 1) == row.offsets(DISK_BYTES, 1)
    assert row.offsets(DISK_BYTES, 1) != row.offsets(DISK_BYTES, 2)


def test_sequential_requests_go_on_where_the_last_round_ended() -> None:
    row = rows(4, 1)[0]
    ends = row.offsets(DISK_BYTES, 0)[-1] + row.request_bytes
    assert row.offsets(DISK_BYTES, 1)[0] == ends
    assert row.offsets(DISK_BYTES, 8)[0] == 0
