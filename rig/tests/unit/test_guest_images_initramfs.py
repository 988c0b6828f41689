"""The initramfs: the archive's octets, and the order of modules."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.guest_images.initramfs import Member, load_order, members, pack

HEADER_BYTES = 110
TRAILER = "TRAILER!!!"


def unpack(archive: bytes) -> list[Member]:
    """Read a newc archive by the book, without the code under test."""
    found: list[Member] = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_start = at + HEADER_BYTES
        name = archive[name_start : name_start + fields[11] - 1].decode()
        assert archive[name_start + fields[11] - 1] == 0
        data_start = (name_start + fields[11] + 3) // 4 * 4
        if name == TRAILER:
            return found
        data = archive[data_start : data_start + fields[6]]
        found.append(Member(name, fields[1], data, (fields[9], fields[10])))
        at = (data_start + fields[6] + 3) // 4 * 4


NAMES = st.text("abcdefghij/._-", min_size=1, max_size=40)
MEMBERS = st.builds(
    Member,
    NAMES,
    st.integers(0, 0o177777),
    st.binary(max_size=200),
    st.tuples(st.integers(0, 255), st.integers(0, 255)),
)


@given(st.lists(MEMBERS, max_size=6))
def test_an_archive_gives_back_its_members(given_members: list[Member]) -> None:
    assert unpack(pack(given_members)) == given_members


def test_an_archive_has_the_octets_of_the_format() -> None:
    archive = pack([Member("a", stat.S_IFREG | 0o644, b"hi")])
    head = b"070701" + b"00000001" + b"000081A4" + b"00000000" * 2 + b"00000001" + b"00000000"
    head += b"00000002" + b"00000000" * 4 + b"00000002" + b"00000000"
    assert archive.startswith(head + b"a\0" + b"hi\0\0")


def test_an_archive_ends_on_a_word_so_that_another_may_follow() -> None:
    archive = pack([Member("odd", stat.S_IFREG | 0o644, b"12345")])
    assert len(archive) % 4 == 0


def test_a_parent_comes_before_what_is_in_it() -> None:
    names = [member.name for member in members(b"", b"", {})]
    for name in names:
        if "/" in name:
            assert names.index(name.rpartition("/")[0]) < names.index(name)


def test_the_order_of_loading_is_written_down_for_the_script() -> None:
    made = {member.name: member for member in members(b"", b"", {"b.ko": b"B", "a.ko": b"A"})}
    assert made["modules/order"].data == b"b.ko\na.ko\n"
    assert made["modules/b.ko"].data == b"B"


def test_init_may_be_executed() -> None:
    made = {member.name: member for member in members(b"#!", b"elf", {})}
    assert made["init"].mode & 0o111
    assert made["bin/busybox"].mode & 0o111


DEP = """\
kernel/a/user.ko: kernel/b/middle.ko kernel/c/deep-one.ko
kernel/b/middle.ko: kernel/c/deep-one.ko
kernel/c/deep-one.ko:
kernel/d/other.ko:
"""


def test_a_module_loads_after_what_it_needs() -> None:
    order = load_order(DEP, ["user"])
    assert order == ["kernel/c/deep-one.ko", "kernel/b/middle.ko", "kernel/a/user.ko"]


def test_no_module_loads_twice() -> None:
    order = load_order(DEP, ["middle", "user", "deep_one"])
    assert len(order) == len(set(order)) == 3


def test_what_is_not_wanted_is_not_loaded() -> None:
    assert "kernel/d/other.ko" not in load_order(DEP, ["user"])


def test_a_builtin_module_needs_no_loading() -> None:
    assert load_order(DEP, ["fancy_bus"], "kernel/x/fancy-bus.ko\n") == []


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        load_order(DEP, ["nowhere"])
