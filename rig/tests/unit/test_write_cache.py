"""The volatile cache: what is read is what was written last; what is safe is what was flushed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rig.gadget.write_cache import BLOCK_BYTES, WriteCache

SIZE = 16 * BLOCK_BYTES


class Medium:
    """Bytes behind a cache."""

    def __init__(self, capacity_bytes: int = SIZE) -> None:
        self.data = bytearray(SIZE)
        self.writes: list[tuple[int, int]] = []
        self.cache = WriteCache(self._read, self._write, capacity_bytes)

    def _read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def _write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data
        self.writes.append((offset, len(data)))


def test_a_write_is_read_back_and_is_not_on_the_medium() -> None:
    medium = Medium()
    medium.cache.write(512, b"a" * 512)
    assert medium.cache.read(0, 1536) == bytes(512) + b"a" * 512 + bytes(512)
    assert medium.data == bytes(SIZE)
    assert medium.cache.dirty_bytes == 512


def test_a_flush_writes_neighbours_in_one_go() -> None:
    medium = Medium()
    for block in (3, 1, 2, 7):
        medium.cache.write(block * 512, bytes([block]) * 512)
    medium.cache.flush()
    assert medium.writes == [(512, 1536), (3584, 512)]
    assert medium.cache.dirty_bytes == 0


def test_what_is_dropped_is_gone_and_what_was_flushed_is_not() -> None:
    medium = Medium()
    medium.cache.write(0, b"a" * 512)
    medium.cache.flush()
    medium.cache.write(0, b"b" * 1024)
    assert medium.cache.drop() == 1024
    assert medium.cache.read(0, 1024) == b"a" * 512 + bytes(512)


def test_a_full_cache_pushes_out_the_oldest() -> None:
    medium = Medium(capacity_bytes=1024)
    for block in range(3):
        medium.cache.write(block * 512, bytes([block + 1]) * 512)
    assert medium.data[:1536] == b"\1" * 512 + bytes(1024)


def test_a_block_that_cannot_be_written_out_stays_in_the_cache() -> None:
    def full(_offset: int, _data: bytes) -> None:
        raise OSError

    cache = WriteCache(lambda _offset, length: bytes(length), full)
    cache.write(0, b"a" * 512)
    try:
        cache.flush()
    except OSError:
        assert cache.read(0, 512) == b"a" * 512
    else:
        raise AssertionError


_actions = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, SIZE - 1), st.integers(1, 2048)),
        st.tuples(st.just("flush"), st.just(0), st.just(0)),
        st.tuples(st.just("drop"), st.just(0), st.just(0)),
    )
)


@given(actions=_actions)
def test_it_behaves_as_two_media_of_which_one_is_behind(
    actions: list[tuple[str, int, int]],
) -> None:
    medium, now, safe = Medium(), bytearray(SIZE), bytearray(SIZE)
    for number, (action, offset, length) in enumerate(actions, start=1):
        if action == "write":
            data = bytes([number % 256]) * min(length, SIZE - offset)
            medium.cache.write(offset, data)
            now[offset : offset + len(data)] = data
        elif action == "flush":
            medium.cache.flush()
            safe[:] = now
        else:
            medium.cache.drop()
            now[:] = safe
        assert medium.cache.read(0, SIZE) == now
        assert medium.data == safe
