"""Reads files past the page cache, and says what is there.  An edge, as root."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

from rig.integrity.scan import Run, Scanner
from rig.integrity.stamp import SECTOR_BYTES

CHUNK_BYTES = 1 << 20
_RETRY_BYTES = 4096
"""After an error the chunk is read again in pieces of this size, to find what is readable."""
_READ_ERRORS = frozenset({errno.EIO, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENODATA, errno.EILSEQ})
"""What a medium, or a file system that found a wrong checksum, answers; data for the oracle."""


def drop_caches() -> None:
    """Write back everything, then forget all clean pages, dentries and inodes.

    Source: Documentation/admin-guide/sysctl/vm.rst, ``drop_caches``.
    """
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def read_back(path: Path) -> list[Run]:
    """Read a file with O_DIRECT.

    Args:
        path: On a mounted file system; its size is a multiple of 512.

    Returns:
        What is there, by sectors of the file.  Where the read ended in an I/O error even by
        pieces of 4 KiB, the runs are ``unreadable``.

    Raises:
        OSError: The file cannot be opened, or read in a way that is no medium's fault.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, CHUNK_BYTES) as buffer:  # page-aligned, as O_DIRECT wants it
            return _read_all(descriptor, buffer)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, buffer: mmap.mmap) -> list[Run]:
    size = os.fstat(descriptor).st_size
    scanner = Scanner(0)
    for start, length in _pieces(0, size, CHUNK_BYTES):
        if _read_piece(descriptor, buffer, scanner, start, length):
            continue
        for small, small_length in _pieces(start, length, _RETRY_BYTES):
            if not _read_piece(descriptor, buffer, scanner, small, small_length):
                scanner.feed_unreadable(small_length // SECTOR_BYTES)
    return scanner.finish()


def _pieces(start: int, length: int, step: int) -> list[tuple[int, int]]:
    end = start + length
    return [(at, min(step, end - at)) for at in range(start, end, step)]


def _read_piece(
    descriptor: int, buffer: mmap.mmap, scanner: Scanner, start: int, length: int
) -> bool:
    """Read and scan one piece; False if it could not be read whole."""
    with memoryview(buffer) as whole, whole[:length] as view:
        try:
            got = os.preadv(descriptor, [view], start)
        except OSError as error:
            if error.errno not in _READ_ERRORS:
                raise
            return False
        if got != length:
            return False
        scanner.feed(bytes(view))
    return True
