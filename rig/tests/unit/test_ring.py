"""The ring in shared memory: octets come out in order, whatever the writer's and reader's pace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.splitdriver.transport.ring import CONTROL_BYTES, Ring

SIZE = 64


def ring() -> tuple[Ring, Ring]:
    """The writer's and the reader's view of one ring."""
    memory = memoryview(bytearray(CONTROL_BYTES + SIZE))
    return Ring(memory), Ring(memory)


def read(reader: Ring, most: int = SIZE) -> bytes:
    buffer = memoryview(bytearray(most))
    return bytes(buffer[: reader.read_into(buffer)])


@given(st.lists(st.tuples(st.lists(st.binary(max_size=SIZE), max_size=3), st.integers(1, SIZE))))
def test_what_is_taken_in_comes_out_in_order(turns: list[tuple[list[bytes], int]]) -> None:
    writer, reader = ring()
    taken, came = b"", b""
    for parts, most in turns:
        count = writer.write(parts)
        taken += b"".join(parts)[:count]
        came += read(reader, most)
    while reader.readable:
        came += read(reader)
    assert came == taken


def test_a_full_ring_takes_nothing_until_it_is_read() -> None:
    writer, reader = ring()
    assert writer.write([bytes(SIZE), b"more"]) == SIZE
    assert writer.write([b"more"]) == 0
    read(reader, 3)
    assert writer.write([b"more"]) == 3


def test_a_reader_that_sleeps_is_woken_once() -> None:
    writer, reader = ring()
    assert reader.sleep()
    writer.write([b"a"])
    assert [writer.wake_reader(), writer.wake_reader()] == [True, False]


def test_a_reader_does_not_sleep_on_what_is_there() -> None:
    writer, reader = ring()
    writer.write([b"a"])
    assert not reader.sleep()
    assert not writer.wake_reader()


def test_a_reader_that_something_else_has_woken_need_not_be() -> None:
    writer, reader = ring()
    reader.sleep()
    reader.rise()
    writer.write([b"a"])
    assert not writer.wake_reader()


def test_a_writer_that_waits_for_room_is_woken_once() -> None:
    writer, reader = ring()
    writer.write([bytes(SIZE)])
    assert writer.await_room()
    read(reader, 1)
    assert [reader.wake_writer(), reader.wake_writer()] == [True, False]


def test_a_writer_does_not_wait_where_there_is_room() -> None:
    writer, reader = ring()
    writer.write([bytes(SIZE - 1)])
    assert not writer.await_room()
    read(reader)
    assert not reader.wake_writer()


def test_a_writer_that_does_not_keep_to_the_rules_is_found_out() -> None:
    memory = memoryview(bytearray(CONTROL_BYTES + SIZE))
    memory.cast("Q")[0] = SIZE + 1
    with pytest.raises(ValueError, match="65 octets in a ring of 64"):
        read(Ring(memory))


def test_a_cleared_ring_is_empty() -> None:
    writer, reader = ring()
    writer.write([b"left over"])
    writer.clear()
    assert not reader.readable
