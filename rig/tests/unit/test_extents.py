"""Extents: what the kernel's answers mean.  The ioctls are played from fiemap.h and fs.h."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.errors import MachineError
from rig.integrity.extents import fibmap, file_extents
from rig.integrity.filemap import Extent

FIEMAP, FIBMAP, FIGETBSZ = 0xC020660B, 1, 2
LAST, DELALLOC, INLINE, UNWRITTEN = 0x1, 0x4, 0x200, 0x800
Row = tuple[int, int, int, int]  # logical, physical, length, flags


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    number = os.open(path, os.O_RDONLY)
    yield number
    os.close(number)


def play_fiemap(monkeypatch: pytest.MonkeyPatch, rows: list[Row], at_most: int = 256) -> None:
    def ioctl(_: int, request: int, buffer: bytearray) -> int:
        assert request == FIEMAP
        start, _, _, _, room, _ = struct.unpack_from("<QQIIII", buffer)
        answer = [row for row in rows if row[0] + row[2] > start][: min(room, at_most)]
        struct.pack_into("<I", buffer, 20, len(answer))
        for i, (logical, physical, length, flags) in enumerate(answer):
            row = struct.pack("<QQQQQIIII", logical, physical, length, 0, 0, flags, 0, 0, 0)
            buffer[32 + i * 56 : 32 + (i + 1) * 56] = row
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)


def play_fibmap(monkeypatch: pytest.MonkeyPatch, block_of: Callable[[int], int]) -> list[int]:
    asked: list[int] = []

    def ioctl(_: int, request: int, argument: bytes | bytearray) -> bytes:
        if request == FIEMAP:
            raise OSError(errno.EOPNOTSUPP, "no FIEMAP")
        if request == FIGETBSZ:
            return struct.pack("<i", 512)
        (block,) = struct.unpack("<i", argument)
        asked.append(block)
        return struct.pack("<i", block_of(block))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return asked


def test_an_extent_is_told_in_lbas_of_the_whole_disk(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    play_fiemap(monkeypatch, [(4096, 8192, 65536, LAST)])
    assert file_extents(descriptor, 2048) == [Extent(8, 2048 + 16, 128)]


def test_neighbouring_extents_join(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    rows = [(0, 8192, 4096, 0), (4096, 12288, 4096, UNWRITTEN), (8192, 4096, 4096, LAST)]
    play_fiemap(monkeypatch, rows)
    assert file_extents(descriptor, 0) == [Extent(0, 16, 16), Extent(16, 8, 8)]


def test_bytes_that_lie_nowhere_are_left_out(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    play_fiemap(monkeypatch, [(0, 0, 4096, DELALLOC), (4096, 0, 4096, INLINE | LAST)])
    assert file_extents(descriptor, 0) == []


def test_a_file_with_many_extents_is_asked_for_in_portions(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    rows = [(i * 4096, (i * 2 + 1) * 4096, 4096, LAST if i == 9 else 0) for i in range(10)]
    play_fiemap(monkeypatch, rows, at_most=3)
    assert len(file_extents(descriptor, 0)) == 10


def test_an_empty_file_has_no_extents(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    play_fiemap(monkeypatch, [])
    assert file_extents(descriptor, 0) == []


def test_what_lies_behind_the_files_end_is_left_out(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    play_fiemap(monkeypatch, [(0, 8192, 4 << 20, LAST)])
    assert file_extents(descriptor, 0) == [Extent(0, 16, 2048)]


def test_without_fiemap_the_file_is_asked_for_cluster_by_cluster(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    step = os.fstat(descriptor).st_blksize // 512
    asked = play_fibmap(monkeypatch, lambda block: 100 + block)
    assert file_extents(descriptor, 2048) == [Extent(0, 2148, 2048)]
    assert asked == list(range(0, 2048, step))


def test_a_hole_answers_block_0(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    play_fibmap(monkeypatch, lambda block: 0 if block < 1024 else block)
    assert file_extents(descriptor, 0) == [Extent(1024, 1024, 1024)]


def test_a_file_system_that_answers_neither_is_named_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    def ioctl(*_: object) -> int:
        raise OSError(errno.ENOTTY, "no such ioctl")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    with pytest.raises(MachineError, match=r"neither by FIEMAP nor by FIBMAP"):
        file_extents(descriptor, 0)


def test_a_medium_error_stays_an_os_error(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    def ioctl(*_: object) -> int:
        raise OSError(errno.EIO, "cannot read the map")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    with pytest.raises(OSError, match="cannot read the map"):
        file_extents(descriptor, 0)
    with pytest.raises(OSError, match="cannot read the map"):
        fibmap(descriptor, 512)
