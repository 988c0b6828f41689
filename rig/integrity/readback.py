"""Reads files past the page cache, and says what is there.  An edge, as root."""

from __future__ import annotations

import errno
import mmap
import os
import threading
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


def read_back(path: Path, first_sector: int = 0, count: int | None = None) -> list[Run]:
    """Read a file, or a disk, with O_DIRECT.

    Args:
        path: On a mounted file system, of a multiple of 512 bytes; or a disk's node.
        first_sector: Where to begin.
        count: How many sectors; None for all to the end.

    Returns:
        What is there, by sectors of the file; of a part also what lies beside it in its blocks of
        4 KiB, since some file systems read whole blocks only.  Where the read ended in an I/O
        error even by pieces of 4 KiB, the runs are ``unreadable``.

    Raises:
        OSError: The file cannot be opened, or read in a way that is no medium's fault.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        # Page-aligned, as O_DIRECT wants it; two, so that the disk fills one while the other is
        # looked at.
        with mmap.mmap(-1, CHUNK_BYTES) as one, mmap.mmap(-1, CHUNK_BYTES) as other:
            size = os.lseek(descriptor, 0, os.SEEK_END)  # which a disk tells, too
            start = first_sector * SECTOR_BYTES // _RETRY_BYTES * _RETRY_BYTES
            end = size
            if count is not None:
                end = -(-(first_sector + count) * SECTOR_BYTES // _RETRY_BYTES) * _RETRY_BYTES
            return _read_all(descriptor, (one, other), start, min(end, size))
    finally:
        os.close(descriptor)


class _Reading:
    """A piece that is being read by a thread of its own."""

    def __init__(self, descriptor: int, buffer: mmap.mmap, start: int, length: int) -> None:
        self.buffer, self.length = buffer, length
        self._descriptor, self._start = descriptor, start
        self._whole = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def finished(self) -> bool:
        """Wait for the end; return whether the piece is in the buffer, whole.

        Raises:
            OSError: It ended in a way that is no medium's fault.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._whole

    def join(self) -> None:
        """Wait for the end, whatever it is."""
        self._thread.join()

    def _read(self) -> None:
        try:
            self._whole = _read_piece(self._descriptor, self.buffer, self._start, self.length)
        except OSError as error:
            self._error = error


def _read_all(
    descriptor: int, buffers: tuple[mmap.mmap, mmap.mmap], start: int, end: int
) -> list[Run]:
    scanner = Scanner(start // SECTOR_BYTES)
    pieces = _pieces(start, end - start, CHUNK_BYTES)
    ahead = _Reading(descriptor, buffers[0], *pieces[0]) if pieces else None
    try:
        for number, here in enumerate(pieces, 1):
            assert ahead is not None
            done, whole = ahead, ahead.finished()
            if number < len(pieces):
                ahead = _Reading(descriptor, buffers[number % 2], *pieces[number])
            if whole:
                scanner.feed(done.buffer[: done.length])
            else:
                _read_in_small(descriptor, done.buffer, scanner, here)
    finally:
        if ahead is not None:
            ahead.join()  # it has a buffer, which is about to go
    return scanner.finish()


def _read_in_small(
    descriptor: int, buffer: mmap.mmap, scanner: Scanner, failed: tuple[int, int]
) -> None:
    """Find out what of a piece is readable."""
    for start, length in _pieces(*failed, _RETRY_BYTES):
        if _read_piece(descriptor, buffer, start, length):
            scanner.feed(buffer[:length])
        else:
            scanner.feed_unreadable(length // SECTOR_BYTES)


def _pieces(start: int, length: int, step: int) -> list[tuple[int, int]]:
    end = start + length
    return [(at, min(step, end - at)) for at in range(start, end, step)]


def _read_piece(descriptor: int, buffer: mmap.mmap, start: int, length: int) -> bool:
    """Read one piece; False if it could not be read whole."""
    with memoryview(buffer) as whole, whole[:length] as view:
        try:
            return os.preadv(descriptor, [view], start) == length
        except OSError as error:
            if error.errno not in _READ_ERRORS:
                raise
            return False
