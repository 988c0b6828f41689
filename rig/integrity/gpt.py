"""A partition table, as octets for a disk's beginning and its end.  Pure.

The GUID Partition Table of the UEFI specification 2.10, section 5.3, for blocks of 512 bytes: a
protective MBR (table 5-3), the header (table 5-5) and 128 entries (table 5-6) at the beginning, and
entries and header once more at the end.

sgdisk would do the same, and sleeps for seconds meanwhile.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

BLOCK_BYTES = 512
ENTRIES = 128
ENTRY_BYTES = 128
ENTRY_BLOCKS = ENTRIES * ENTRY_BYTES // BLOCK_BYTES
FIRST_USABLE_LBA = 2 + ENTRY_BLOCKS
BLOCKS_AT_END = 1 + ENTRY_BLOCKS
LINUX_DATA = bytes.fromhex("af3dc60f 8384 7247 8e79 3d69d8477de4")
"""The type of a partition that Linux uses, as it is on the disk: the first three fields of
0fc63daf-8483-4772-8e79-3d69d8477de4 are little-endian."""

_SIGNATURE = b"EFI PART"
_REVISION = 0x00010000
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_MBR_RECORD = struct.Struct("<B3sB3sII")
_PROTECTIVE = 0xEE
_MBR_RECORDS_AT = 446
_MBR_END = b"\x55\xaa"


class Extent(NamedTuple):
    """Where a partition lies.

    Attributes:
        first_lba: Its first block.
        blocks: How many it has.
        guid: Its own name, as it is on the disk.
    """

    first_lba: int
    blocks: int
    guid: bytes


class Table(NamedTuple):
    """What is written where.

    Attributes:
        head: From LBA 0 on.
        tail: Up to the disk's last block.
    """

    head: bytes
    tail: bytes


def partition_table(disk_blocks: int, extents: Sequence[Extent], guid: bytes) -> Table:
    """Make the table of a disk.

    Args:
        disk_blocks: The disk's size in blocks.
        extents: The partitions, in order; they lie between the two copies of the table.
        guid: The disk's own name, likewise.
    """
    last_lba = disk_blocks - 1
    entries = b"".join(_entry(extent) for extent in extents).ljust(ENTRIES * ENTRY_BYTES, b"\0")
    copy_lba = last_lba - ENTRY_BLOCKS

    def header(own_lba: int, other_lba: int, entries_lba: int) -> bytes:
        def packed(checksum: int) -> bytes:
            return _HEADER.pack(
                _SIGNATURE,
                _REVISION,
                _HEADER.size,
                checksum,
                0,
                own_lba,
                other_lba,
                FIRST_USABLE_LBA,
                copy_lba - 1,
                guid,
                entries_lba,
                ENTRIES,
                ENTRY_BYTES,
                crc32(entries),
            )

        return packed(crc32(packed(0))).ljust(BLOCK_BYTES, b"\0")

    return Table(
        _protective_mbr(disk_blocks) + header(1, last_lba, 2) + entries,
        entries + header(last_lba, 1, copy_lba),
    )


def _entry(extent: Extent) -> bytes:
    last_lba = extent.first_lba + extent.blocks - 1
    name = bytes(72)
    return _ENTRY.pack(LINUX_DATA, extent.guid, extent.first_lba, last_lba, 0, name)


def _protective_mbr(disk_blocks: int) -> bytes:
    """Have whoever knows no GPT take the disk for full."""
    covered = min(disk_blocks - 1, 0xFFFFFFFF)
    record = _MBR_RECORD.pack(0, b"\x00\x02\x00", _PROTECTIVE, b"\xff\xff\xff", 1, covered)
    records = record.ljust(BLOCK_BYTES - _MBR_RECORDS_AT - len(_MBR_END), b"\0")
    return bytes(_MBR_RECORDS_AT) + records + _MBR_END
