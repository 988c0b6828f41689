"""Where a mounted file's bytes lie on the whole disk.

FIEMAP (Documentation/filesystems/fiemap.rst, include/uapi/linux/fiemap.h) where the file system has
it, else FIBMAP (include/uapi/linux/fs.h), which vfat and exfat answer.  Both count from the
partition's start; sysfs tells where that is.  An edge: it asks the kernel, as root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import NamedTuple

from rig.errors import MachineError
from rig.integrity.filemap import Extent
from rig.integrity.stamp import SECTOR_BYTES

_FS_IOC_FIEMAP = 0xC020660B  # _IOWR('f', 11, struct fiemap)
_FIBMAP = 1  # _IO(0x00, 1): in and out an int
_FIGETBSZ = 2  # _IO(0x00, 2)
_HEADER = struct.Struct("<QQIIII")  # start length flags mapped_extents extent_count reserved
_EXTENT = struct.Struct("<QQQ16xI12x")  # logical physical length flags
_BLOCK = struct.Struct("<i")
_EXTENTS_A_CALL = 256
_FLAG_SYNC = 0x1
_EXTENT_LAST = 0x1
# UNKNOWN, DELALLOC, ENCODED, DATA_ENCRYPTED, NOT_ALIGNED, DATA_INLINE, DATA_TAIL: no sectors that
# hold the file's bytes as they are.
_EXTENT_NOWHERE = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400


class ByteExtent(NamedTuple):
    """Consecutive bytes, counted from the partition's start."""

    logical: int
    physical: int
    length: int


def file_extents(descriptor: int, start_lba: int) -> list[Extent]:
    """Map an open file.

    Args:
        descriptor: Of a regular file on a mounted file system.
        start_lba: Where the file system's partition begins on the disk.

    Returns:
        The file's extents in LBAs of the whole disk, neighbours joined; holes, and bytes that lie
        nowhere as they are (inline, compressed, not yet allocated), are left out.

    Raises:
        MachineError: The file system answers neither FIEMAP nor FIBMAP.
        OSError: The ioctl failed otherwise.
    """
    size = os.fstat(descriptor).st_size
    try:
        found = _fiemap(descriptor)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
            raise
        found = fibmap(descriptor, size)
    extents: list[Extent] = []
    for piece in found:
        sector, length = piece.logical // SECTOR_BYTES, min(piece.length, size - piece.logical)
        count = -(-length // SECTOR_BYTES)
        if count <= 0:
            continue
        lba = start_lba + piece.physical // SECTOR_BYTES
        last = extents[-1] if extents else None
        if last and (sector, lba) == (last.file_sector + last.count, last.lba + last.count):
            extents[-1] = Extent(last.file_sector, last.lba, last.count + count)
        else:
            extents.append(Extent(sector, lba, count))
    return extents


def _fiemap(descriptor: int) -> list[ByteExtent]:
    """Ask in portions until the extent that calls itself the last."""
    found: list[ByteExtent] = []
    start = 0
    while True:
        buffer = bytearray(_HEADER.size + _EXTENTS_A_CALL * _EXTENT.size)
        _HEADER.pack_into(buffer, 0, start, 2**64 - 1 - start, _FLAG_SYNC, 0, _EXTENTS_A_CALL, 0)
        fcntl.ioctl(descriptor, _FS_IOC_FIEMAP, buffer)
        mapped = _HEADER.unpack_from(buffer)[3]
        flags = _EXTENT_LAST
        for row in range(mapped):
            at = _HEADER.size + row * _EXTENT.size
            logical, physical, length, flags = _EXTENT.unpack_from(buffer, at)
            start = logical + length
            if not flags & _EXTENT_NOWHERE:
                found.append(ByteExtent(logical, physical, length))
        if flags & _EXTENT_LAST:
            return found


def fibmap(descriptor: int, size_bytes: int) -> list[ByteExtent]:
    """Map a file block by block, for file systems without FIEMAP: vfat and exfat.

    Only the first block of each cluster (``st_blksize`` on both) is asked for: a cluster lies
    in one piece.

    Args:
        descriptor: Of the file.
        size_bytes: Its size; what lies behind is not asked for.

    Raises:
        MachineError: The file system does not answer FIBMAP.
    """
    block_bytes = _ask(descriptor, _FIGETBSZ, 0)
    step = max(1, os.fstat(descriptor).st_blksize // block_bytes)
    blocks = -(-size_bytes // block_bytes)
    found: list[ByteExtent] = []
    for block in range(0, blocks, step):
        physical = _ask(descriptor, _FIBMAP, block)
        if physical:  # 0 is a hole
            length = min(step, blocks - block) * block_bytes
            found.append(ByteExtent(block * block_bytes, physical * block_bytes, length))
    return found


def _ask(descriptor: int, request: int, value: int) -> int:
    try:
        answer = fcntl.ioctl(descriptor, request, _BLOCK.pack(value))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY):
            raise MachineError(
                "The file system tells neither by FIEMAP nor by FIBMAP where its files lie."
            ) from error
        raise
    number: int = _BLOCK.unpack(answer)[0]
    return number
