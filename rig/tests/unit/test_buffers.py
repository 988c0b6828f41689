from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.buffers import ReceiveBuffer


def put(buffer: ReceiveBuffer, octets: bytes) -> None:
    """Receive octets in as many pieces as the space asks for."""
    while octets:
        space = buffer.space()
        assert space
        count = min(len(space), len(octets))
        space[:count] = octets[:count]
        buffer.received(count)
        octets = octets[count:]


def test_what_was_received_is_seen_until_it_is_taken() -> None:
    buffer = ReceiveBuffer(16)
    put(buffer, b"abcdef")
    assert bytes(buffer.peek(3) or b"") == b"abc"
    assert bytes(buffer.peek(3) or b"") == b"abc"
    buffer.take(3)
    assert (bytes(buffer.peek(3) or b""), len(buffer)) == (b"def", 3)


def test_what_is_not_complete_is_not_seen() -> None:
    buffer = ReceiveBuffer(16)
    put(buffer, b"ab")
    assert buffer.peek(3) is None


def test_a_full_buffer_makes_room() -> None:
    buffer = ReceiveBuffer(4)
    put(buffer, b"abcd")
    assert len(buffer.space()) > 0
    assert bytes(buffer.peek(4) or b"") == b"abcd"


def test_a_record_larger_than_a_buffer_is_seen_in_one_piece() -> None:
    buffer = ReceiveBuffer(4)
    record = bytes(range(100))
    assert buffer.peek(100) is None
    put(buffer, record)
    assert bytes(buffer.peek(100) or b"") == record


def test_a_record_that_still_fits_is_not_moved() -> None:
    buffer = ReceiveBuffer(16)
    put(buffer, b"abcd")
    before = buffer.space()
    assert buffer.peek(8) is None
    assert buffer.space().obj is before.obj


def test_room_is_made_for_the_whole_record_before_it_is_received() -> None:
    buffer = ReceiveBuffer(4)
    put(buffer, b"ab")
    assert buffer.peek(64) is None
    assert len(buffer.space()) >= 62


def test_views_outlive_what_is_received_later() -> None:
    buffer = ReceiveBuffer(8)
    put(buffer, b"abcdefgh")
    view = buffer.peek(8)
    buffer.take(8)
    put(buffer, b"12345678")
    assert view is not None
    assert bytes(view) == b"abcdefgh"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20), st.integers(1, 32))
def test_records_come_out_as_they_went_in(records: list[bytes], chunk_bytes: int) -> None:
    buffer = ReceiveBuffer(chunk_bytes)
    kept = []
    for record in records:
        assert buffer.peek(len(record)) is None
        put(buffer, record)
        view = buffer.peek(len(record))
        assert view is not None
        buffer.take(len(record))
        kept.append(view)
    assert [bytes(view) for view in kept] == records
    assert len(buffer) == 0


@given(st.lists(st.binary(max_size=100), max_size=20), st.integers(1, 32))
def test_what_was_received_elsewhere_is_seen_behind_the_rest(
    parts: list[bytes], chunk_bytes: int
) -> None:
    buffer = ReceiveBuffer(chunk_bytes)
    whole = b""
    for number, part in enumerate(parts):
        whole += part
        if number % 2:
            buffer.put(part)
        else:
            put(buffer, part)
    assert len(buffer) == len(whole)
    assert bytes(buffer.peek(len(whole)) or b"") == whole


def test_much_that_was_received_elsewhere_is_moved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    renewals = []
    renew = ReceiveBuffer._renew

    def counted(self: ReceiveBuffer, size_bytes: int) -> None:
        renewals.append(size_bytes)
        renew(self, size_bytes)

    monkeypatch.setattr(ReceiveBuffer, "_renew", counted)
    buffer = ReceiveBuffer(16)
    buffer.put(b"held")
    buffer.put(bytes(1000))
    assert len(renewals) == 1
    assert bytes(buffer.peek(1004) or b"") == b"held" + bytes(1000)
