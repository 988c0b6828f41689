"""Stamps by the column: the same octets, and the same word on them, as sector by sector."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError
from rig.integrity import bulk
from rig.integrity.scan import scan
from rig.integrity.stamp import SECTOR_BYTES, UNKNOWN_LBA, Stamp, encode, encode_run

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
LAST = 2**64 - 512 * 64
STAMPS = st.builds(
    Stamp,
    run_id=U64,
    file_id=U32,
    offset=st.integers(0, LAST),
    lba=st.integers(0, LAST) | st.just(UNKNOWN_LBA),
    generation=U32,
    writer=U32,
    sequence=U64,
)
RUNS = st.lists(st.tuples(STAMPS, st.integers(1, 5)), max_size=6)
ONE = Stamp(run_id=7, file_id=3, offset=4096, lba=2056, generation=1, writer=0, sequence=12)
MANY = [
    (msgspec.structs.replace(ONE, offset=4096 * n, lba=8 * n, sequence=n), 8) for n in range(300)
]


def octets(runs: list[tuple[Stamp, int]]) -> bytes:
    return b"".join(encode_run(first, count) for first, count in runs)


@given(RUNS)
def test_both_make_the_same_octets(runs: list[tuple[Stamp, int]]) -> None:
    assert bytes(bulk.encode(bulk.columns_of(runs))) == octets(runs)


@given(RUNS)
def test_both_see_the_same_runs(runs: list[tuple[Stamp, int]]) -> None:
    data = octets(runs)
    assert bulk.scan(data, 5) == scan(data, 5)


PARTS = st.sampled_from(
    [
        encode(ONE),
        encode(ONE.advanced(1)),
        encode(ONE.advanced(2)),
        bytes(512),
        b"\x5a" * 512,
        encode(ONE)[:256] + bytes(256),
        encode(ONE)[:300] + encode(MANY[7][0])[300:],
        b"\1" + encode(ONE)[1:],
        encode(ONE)[:511] + b"\0",
        encode(msgspec.structs.replace(ONE, offset=2**64 - 512)),
        encode(msgspec.structs.replace(ONE, offset=0)),
    ]
)


@given(st.lists(PARTS, max_size=12))
def test_both_see_the_same_damage(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert bulk.scan(data, 9) == scan(data, 9)


def test_runs_continue_over_the_chunks_in_which_they_are_compared() -> None:
    runs = [*MANY, (ONE, 3000)]
    data = octets(runs)
    assert bytes(bulk.encode(bulk.columns_of(runs))) == data
    assert bulk.scan(data, 0) == scan(data, 0)
    assert len(bulk.scan(data, 0)) == 301


def test_nothing_is_made_or_seen_of_nothing() -> None:
    assert bulk.encode(bulk.columns_of([])) == b""
    assert bulk.scan(b"", 0) == []


def test_bytes_that_are_no_whole_sectors_are_refused() -> None:
    with pytest.raises(ApiViolationError, match="513 bytes"):
        bulk.scan(bytes(513), 0)


def test_a_buffer_of_another_size_is_refused() -> None:
    with pytest.raises(ApiViolationError, match="A buffer of 512 bytes"):
        bulk.encode_into(bytearray(SECTOR_BYTES), bulk.columns_of([(ONE, 2)]))
