"""The partition table that is written, as others read it."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from uuid import UUID, uuid4
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from rig.integrity.gpt import (
    BLOCK_BYTES,
    BLOCKS_AT_END,
    FIRST_USABLE_LBA,
    Extent,
    partition_table,
)

DISK_BLOCKS = 65536
EXTENTS = [Extent(2048, 8192, UUID(int=1).bytes_le), Extent(10240, 4096, UUID(int=2).bytes_le)]


def image(path: Path, *, without_head: bool = False) -> Path:
    """A disk with the table."""
    table = partition_table(DISK_BLOCKS, EXTENTS, UUID(int=3).bytes_le)
    middle = bytes(DISK_BLOCKS * BLOCK_BYTES - len(table.head) - len(table.tail))
    # What was overwritten by accident: the header, and not the MBR before it.
    head = table.head[:BLOCK_BYTES].ljust(len(table.head), b"\0") if without_head else table.head
    path.write_bytes(head + middle + table.tail)
    return path


def read_by_util_linux(path: Path) -> list[tuple[int, int, str, str]]:
    argv = ["partx", "--raw", "--noheadings", "--output", "START,SECTORS,UUID,TYPE"]
    said = subprocess.run([*argv, "-", str(path)], check=True, capture_output=True, text=True)
    rows = [line.split() for line in said.stdout.splitlines()]
    return [(int(start), int(blocks), guid, kind) for start, blocks, guid, kind in rows]


WANTED = [
    (2048, 8192, str(UUID(int=1)), "0fc63daf-8483-4772-8e79-3d69d8477de4"),
    (10240, 4096, str(UUID(int=2)), "0fc63daf-8483-4772-8e79-3d69d8477de4"),
]


def test_util_linux_reads_the_partitions(tmp_path: Path) -> None:
    assert read_by_util_linux(image(tmp_path / "disk")) == WANTED


def test_the_copy_at_the_end_is_as_good(tmp_path: Path) -> None:
    assert read_by_util_linux(image(tmp_path / "disk", without_head=True)) == WANTED


@given(disk_blocks=st.integers(2 * FIRST_USABLE_LBA + 8, 1 << 40), count=st.integers(0, 6))
def test_both_copies_agree_and_their_checksums_hold(disk_blocks: int, count: int) -> None:
    extents = [Extent(FIRST_USABLE_LBA + number, 1, uuid4().bytes_le) for number in range(count)]
    table = partition_table(disk_blocks, extents, uuid4().bytes_le)
    entries, copy = table.head[2 * BLOCK_BYTES :], table.tail[:-BLOCK_BYTES]
    assert entries == copy
    assert len(table.head) == FIRST_USABLE_LBA * BLOCK_BYTES
    assert len(table.tail) == BLOCKS_AT_END * BLOCK_BYTES
    headers = table.head[BLOCK_BYTES : 2 * BLOCK_BYTES], table.tail[-BLOCK_BYTES:]
    own, other = (struct.unpack_from("<QQQQ", header, 24) for header in headers)
    assert own == (1, disk_blocks - 1, FIRST_USABLE_LBA, disk_blocks - BLOCKS_AT_END - 1)
    assert other == (disk_blocks - 1, 1, *own[2:])
    for header, entries_lba in zip(headers, (2, disk_blocks - BLOCKS_AT_END), strict=True):
        assert struct.unpack_from("<Q", header, 72) == (entries_lba,)
        assert struct.unpack_from("<I", header, 88) == (crc32(entries),)
        told = struct.unpack_from("<I", header, 16)
        assert told == (crc32(header[:16] + bytes(4) + header[20:92]),)
