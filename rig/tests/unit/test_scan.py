"""Scanning: runs say exactly what the bytes say, however the bytes were cut."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError
from rig.integrity.scan import Run, Scanner, scan
from rig.integrity.stamp import (
    SECTOR_BYTES,
    UNKNOWN_LBA,
    SectorKind,
    Stamp,
    decode,
    encode,
    encode_run,
)

A = Stamp(run_id=1, file_id=1, offset=0, lba=100, generation=1, writer=0, sequence=1)
B = msgspec.structs.replace(A, generation=2, sequence=2, lba=UNKNOWN_LBA)
FOREIGN = b"\x5a" * SECTOR_BYTES
CORRUPT = encode(A)[:300] + b"\xff" + encode(A)[301:]
SECTORS = st.sampled_from(
    [*(encode(A.advanced(i)) for i in range(4)), encode(B), bytes(512), FOREIGN, CORRUPT]
)


def expanded(runs: list[Run]) -> list[tuple[int, SectorKind, Stamp | None]]:
    rows = []
    for run in runs:
        for i in range(run.count):
            stamp = run.stamp
            if stamp is not None and run.kind is SectorKind.STAMP:
                stamp = stamp.advanced(i)
            rows.append((run.sector + i, run.kind, stamp))
    return rows


def test_stamps_that_continue_one_another_are_one_run() -> None:
    assert scan(encode_run(A, 9), 100) == [Run(100, 9, SectorKind.STAMP, A)]


def test_stamps_with_unknown_lbas_continue_by_their_offsets() -> None:
    assert scan(encode_run(B, 9), 5) == [Run(5, 9, SectorKind.STAMP, B)]


def test_another_write_begins_another_run() -> None:
    rewritten = msgspec.structs.replace(A.advanced(2), generation=2, sequence=7)
    data = encode_run(A, 2) + encode_run(rewritten, 1) + encode_run(A.advanced(3), 2)
    assert [(r.sector, r.count) for r in scan(data, 0)] == [(0, 2), (2, 1), (3, 2)]


def test_the_same_stamp_twice_is_two_runs() -> None:
    assert [r.count for r in scan(encode(A) * 2, 0)] == [1, 1]


def test_zeros_and_foreign_sectors_join() -> None:
    data = bytes(300 * 512) + FOREIGN * 3 + bytes(512)
    kinds = [(r.sector, r.count, r.kind) for r in scan(data, 0)]
    assert kinds == [
        (0, 300, SectorKind.ZERO),
        (300, 3, SectorKind.FOREIGN),
        (303, 1, SectorKind.ZERO),
    ]


@given(st.lists(SECTORS, max_size=30), st.integers(1, 7))
def test_runs_say_what_each_sector_says_however_chunks_are_cut(
    sectors: list[bytes], chunk: int
) -> None:
    scanner = Scanner(50)
    for at in range(0, len(sectors), chunk):
        scanner.feed(b"".join(sectors[at : at + chunk]))
    runs = scanner.finish()
    seen = [decode(sector) for sector in sectors]
    assert runs == scan(b"".join(sectors), 50)
    assert expanded(runs) == [
        (50 + i, SectorKind.STAMP, s) if isinstance(s, Stamp) else (50 + i, s.kind, s.head)
        for i, s in enumerate(seen)
    ]


def test_unreadable_sectors_take_their_place() -> None:
    scanner = Scanner(0)
    scanner.feed(encode(A))
    scanner.feed_unreadable(8)
    scanner.feed_unreadable(8)
    scanner.feed(encode(A.advanced(17)))
    kinds = [(r.sector, r.count, r.kind) for r in scanner.finish()]
    assert kinds == [
        (0, 1, SectorKind.STAMP),
        (1, 16, SectorKind.UNREADABLE),
        (17, 1, SectorKind.STAMP),
    ]


def test_a_part_of_a_sector_is_refused() -> None:
    with pytest.raises(ApiViolationError, match="513 bytes"):
        scan(bytes(513), 0)


@given(st.lists(SECTORS, max_size=10))
def test_runs_survive_json(sectors: list[bytes]) -> None:
    runs = scan(b"".join(sectors), 3)
    assert msgspec.json.decode(msgspec.json.encode(runs), type=list[Run]) == runs


def test_what_lies_behind_a_stamp_of_the_last_offset_continues_nothing() -> None:
    last = Stamp(1, 1, 2**64 - SECTOR_BYTES, 7, 1, 0, 1)
    data = encode(last) + encode(msgspec.structs.replace(last, offset=0, lba=8))
    assert [run.count for run in scan(data, 7)] == [1, 1]
