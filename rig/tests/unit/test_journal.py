"""The journal: every record comes back, and no damage goes by in silence."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError
from rig.gadget.journal import (
    HEADER_BYTES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    Damage,
    Injected,
    JournalReader,
    Op,
    Record,
    encode,
    read_journal,
)

WRITE = Record(
    7, 1_700_000_000_000_000_000, Op.WRITE, 5, 1 << 33, 4, b"data", Injected.MISDIRECTED, -9, True
)


def records(count: int) -> list[Record]:
    return [Record(i, 1000 + i, Op.WRITE, 0, i * 512, 8, b"%08d" % i) for i in range(count)]


def journal(items: list[Record]) -> bytes:
    return b"".join(map(encode, items))


def test_a_record_has_the_documented_octets() -> None:
    fields = struct.pack(
        "<QQBBBxiQIIIq",
        7,
        1_700_000_000_000_000_000,
        2,
        6,
        1,
        5,
        1 << 33,
        4,
        4,
        zlib.crc32(b"data"),
        -9,
    )
    assert encode(WRITE) == b"RIJ2" + struct.pack("<I", zlib.crc32(fields)) + fields + b"data"
    assert HEADER_BYTES == 60


def test_a_payload_that_no_request_can_have_is_refused() -> None:
    with pytest.raises(ApiViolationError):
        encode(Record(0, 0, Op.WRITE, 0, 0, 0, bytes(MAX_PAYLOAD_BYTES + 1)))


_records = st.builds(
    Record,
    sequence=st.integers(0, 2**64 - 1),
    time_ns=st.integers(0, 2**64 - 1),
    op=st.sampled_from(Op),
    error=st.integers(0, 200),
    offset_bytes=st.integers(0, 2**63 - 2**32),  # no store writes beyond: a file has no such place
    length_bytes=st.integers(0, 2**32 - 1),
    payload=st.one_of(st.binary(max_size=64), st.just(MAGIC * 3)),
    injected=st.sampled_from(Injected),
    value=st.integers(-(2**63), 2**63 - 1),
    volatile=st.booleans(),
)


@given(items=st.lists(_records, max_size=5), piece=st.integers(1, 200))
def test_records_come_back_in_order_however_the_bytes_are_cut(
    items: list[Record], piece: int
) -> None:
    data = journal(items)
    assert list(read_journal(data[i : i + piece] for i in range(0, len(data), piece))) == items


@pytest.mark.parametrize("cut", range(1, len(encode(WRITE))))
def test_a_torn_tail_is_told_wherever_it_is_torn(cut: int) -> None:
    whole = journal(records(2))
    *found, damage = read_journal([whole + encode(WRITE)[:cut]])
    assert found == records(2)
    assert damage == Damage(len(whole), cut, "The journal ends within a record.", torn_tail=True)


@pytest.mark.parametrize("cut", range(1, len(encode(WRITE))))
def test_records_behind_a_torn_one_are_found_and_the_gap_is_told(cut: int) -> None:
    before, behind = records(9)[:1], records(9)[8:]
    torn = encode(WRITE)[:cut]
    found = list(read_journal([journal(before) + torn + journal(behind)]))
    assert found[0] == before[0]
    assert isinstance(found[1], Damage)
    assert (found[1].position, found[1].length_bytes) == (len(journal(before)), cut)
    assert not found[1].torn_tail
    assert found[2:] == behind


@pytest.mark.parametrize("position", range(len(encode(records(3)[1]))))
def test_a_flipped_bit_anywhere_in_a_record_costs_that_record_only(position: int) -> None:
    size = len(encode(records(1)[0]))
    data = bytearray(journal(records(3)))
    data[size + position] ^= 0x40
    first, damage, last = read_journal([bytes(data)])
    assert (first, last) == (records(3)[0], records(3)[2])
    assert isinstance(damage, Damage)
    assert (damage.position, damage.length_bytes) == (size, size)


def test_data_that_looks_like_an_older_record_is_not_taken_for_one() -> None:
    inner = encode(Record(3, 0, Op.FLUSH, 0, 0, 0))
    torn = encode(Record(8, 0, Op.WRITE, 0, 0, 4096, inner.ljust(4096)))[:-1]
    found = list(read_journal([journal(records(8)) + torn]))
    assert found[:-1] == records(8)
    assert isinstance(found[-1], Damage)
    assert found[-1].torn_tail


@given(noise=st.binary(max_size=300), behind=st.integers(0, 3))
def test_every_byte_of_noise_is_accounted_for(noise: bytes, behind: int) -> None:
    data = noise + journal(records(behind))
    sizes = [
        item.length_bytes if isinstance(item, Damage) else HEADER_BYTES + len(item.payload)
        for item in read_journal([data])
    ]
    assert sum(sizes) == len(data)


def test_an_empty_journal_holds_nothing() -> None:
    assert list(read_journal([])) == []


def test_a_record_is_returned_as_soon_as_its_last_byte_is_there() -> None:
    reader, data = JournalReader(), encode(WRITE)
    assert reader.feed(data[:-1]) == []
    assert reader.feed(data[-1:]) == [WRITE]
    assert reader.finish() == []
