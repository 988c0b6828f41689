"""The stamp: what is written comes back, and nothing else passes for it."""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.integrity.stamp import (
    SECTOR_BYTES,
    UNKNOWN_LBA,
    Damage,
    SectorKind,
    Stamp,
    count_run,
    decode,
    encode,
    encode_run,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
STAMPS = st.builds(
    Stamp,
    run_id=U64,
    file_id=U32,
    offset=U64,
    lba=U64,
    generation=U32,
    writer=U32,
    sequence=U64,
)
ONE = Stamp(run_id=7, file_id=3, offset=4096, lba=2056, generation=1, writer=0, sequence=12)
OTHERS = [
    msgspec.structs.replace(ONE, generation=2, sequence=99),
    Stamp(run_id=7, file_id=4, offset=0x12345 * 512, lba=99999, generation=5, writer=1, sequence=3),
    msgspec.structs.replace(ONE, offset=8192, lba=UNKNOWN_LBA),
]


def kind_of(sector: bytes) -> SectorKind:
    seen = decode(sector)
    return SectorKind.STAMP if isinstance(seen, Stamp) else seen.kind


@given(STAMPS)
def test_a_stamp_comes_back_as_it_was_written(stamp: Stamp) -> None:
    assert decode(encode(stamp)) == stamp


def test_the_layout_is_the_documented_one() -> None:
    head = struct.pack("<8sHHIQQIIQQ", b"RIGSTAMP", 1, 0, 0, 7, 12, 3, 1, 4096, 2056)
    crc = crc32(head)
    # The generator's state after n steps, in closed form.
    a, c, m = 6364136223846793005, 1442695040888963407, 2**64
    key = crc & 0xFFFF
    words = [
        (c * (pow(a, n, m * (a - 1)) - 1) // (a - 1)) % m >> 32
        for n in range(key // 4 + 1, key // 4 + 110)
    ]
    filler = struct.pack("<109I", *words)[key % 4 :][:424]
    tail = struct.pack("<4sQQII", b"PMTS", 4096, 2056, 1, crc)
    assert encode(ONE) == head + struct.pack("<I", crc) + filler + tail


@given(st.integers(1, 40))
def test_a_run_is_its_sectors_one_after_the_other(count: int) -> None:
    run = encode_run(ONE, count)
    assert run == b"".join(encode(ONE.advanced(i)) for i in range(count))
    assert count_run(ONE, run, 0) == count


def test_an_unknown_lba_stays_unknown_along_a_run() -> None:
    first = msgspec.structs.replace(ONE, lba=UNKNOWN_LBA)
    last = decode(encode_run(first, 3)[-SECTOR_BYTES:])
    assert isinstance(last, Stamp)
    assert (last.lba, last.offset) == (UNKNOWN_LBA, 4096 + 2 * 512)


def test_counting_a_run_stops_at_the_first_sector_that_differs() -> None:
    data = encode_run(ONE, 5) + encode(OTHERS[0])
    assert count_run(ONE, data, 0) == 5
    assert count_run(ONE.advanced(2), data, 2 * SECTOR_BYTES) == 3


def test_counting_a_run_ends_at_the_last_offset_there_is() -> None:
    last = msgspec.structs.replace(ONE, offset=2**64 - 512)
    assert count_run(last, encode(last) * 2, 0) == 1


@pytest.mark.parametrize("other", [*map(encode, OTHERS), bytes(512), b"\xa5" * 512])
def test_a_tear_at_any_byte_is_detected(other: bytes) -> None:
    one = encode(ONE)
    for head, tail in ((one, other), (other, one)):
        for at in range(1, SECTOR_BYTES):
            sector = head[:at] + tail[at:]
            whole = sector in (head, tail)
            assert (kind_of(sector) in {SectorKind.STAMP, SectorKind.ZERO}) <= whole


@pytest.mark.parametrize("other", [encode(stamp) for stamp in OTHERS])
def test_a_tear_between_two_stamps_is_called_torn_wherever_both_can_be_told(other: bytes) -> None:
    one = encode(ONE)
    for head, tail in ((one, other), (other, one)):
        assert {kind_of(head[:at] + tail[at:]) for at in range(60, 505)} == {SectorKind.TORN}


def test_a_tear_names_the_head_the_place_and_the_other_tail() -> None:
    seen = decode(encode(ONE)[:256] + encode(OTHERS[1])[256:])
    assert isinstance(seen, Damage)
    assert seen.head == ONE
    assert "generation 5 for LBA 99999" in seen.note
    assert "from byte 256" in seen.note


def test_a_tail_of_zeros_is_a_tear() -> None:
    assert kind_of(encode(ONE)[:100] + bytes(412)) is SectorKind.TORN


def test_another_stamps_filler_in_the_middle_is_a_tear() -> None:
    one, other = encode(ONE), encode(OTHERS[1])
    assert kind_of(one[:128] + other[128:256] + one[256:]) is SectorKind.TORN


def test_any_single_flipped_bit_is_corruption() -> None:
    one = encode(ONE)
    for bit in range(SECTOR_BYTES * 8):
        sector = bytearray(one)
        sector[bit >> 3] ^= 1 << (bit & 7)
        assert kind_of(bytes(sector)) is SectorKind.CORRUPT


def test_zeros_are_zero() -> None:
    assert decode(bytes(512)) == Damage(SectorKind.ZERO)


@given(st.binary(min_size=512, max_size=512).filter(any))
def test_bytes_without_a_stamp_are_foreign(sector: bytes) -> None:
    assert kind_of(sector) is SectorKind.FOREIGN


def test_a_stamp_shifted_by_some_bytes_is_no_stamp() -> None:
    one = encode(ONE)
    for by in range(1, 512):
        assert kind_of(one[by:] + one[:by]) is not SectorKind.STAMP
