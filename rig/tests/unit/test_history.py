"""Former contents are found in the journal, block by block."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rig.gadget.history import History, Piece

BLOCK = 512


def test_what_was_never_written_was_zero() -> None:
    assert History().before(0, 1024, 1) == [Piece(None, 1024)]


def test_the_first_write_replaced_zeros_and_the_second_the_first() -> None:
    history = History()
    history.add(0, 1024, 60)
    assert history.before(0, 1024, 1) == [Piece(None, 1024)]
    history.add(0, 1024, 5000)
    assert history.before(0, 1024, 1) == [Piece(60, 1024)]
    assert history.before(512, 512, 1) == [Piece(572, 512)]


def test_a_write_of_a_part_of_a_block_is_no_version_of_it() -> None:
    history = History()
    history.add(0, 512, 60)
    history.add(0, 512, 700)
    history.add(100, 200, 9000)
    assert history.before(0, 512, 1) == [Piece(60, 512)]


_writes = st.lists(st.tuples(st.integers(0, 15), st.integers(1, 8)), max_size=12)


@given(writes=_writes, first=st.integers(0, 15), count=st.integers(1, 8), back=st.integers(1, 3))
def test_it_finds_what_a_list_of_all_versions_has(
    writes: list[tuple[int, int]], first: int, count: int, back: int
) -> None:
    history = History()
    versions: dict[int, list[int]] = {}
    journal = b""
    for number, (lba, blocks) in enumerate(writes, start=1):
        history.add(lba * BLOCK, blocks * BLOCK, len(journal))
        journal += bytes([number]) * (blocks * BLOCK)
        for block in range(lba, lba + blocks):
            versions.setdefault(block, [0]).append(number)
    pieces = history.before(first * BLOCK, count * BLOCK, back)
    found = b"".join(
        bytes(p.length_bytes)
        if p.position is None
        else journal[p.position : p.position + p.length_bytes]
        for p in pieces
    )
    wanted = []
    for block in range(first, first + count):
        known = versions.get(block, [0])
        wanted.append(known[-1 - back] if len(known) > back else 0)
    assert found == b"".join(bytes([number]) * BLOCK for number in wanted)
