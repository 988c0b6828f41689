"""Ways to get bytes into a file: through the page cache, past it, and by stores into a mapping.

An edge.  All of them raise OSError alone, whatever becomes of the disk: a store into a mapping
whose page cannot be had would be a SIGBUS, so the kernel is asked to do the store.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import Protocol

from rig.integrity.workloads.table import Access

_MS_SYNC = 4  # include/uapi/asm-generic/mman-common.h


class Handle(Protocol):
    """An open file that is written to."""

    descriptor: int

    def write(self, data: bytes, at: int) -> None:
        """Write all bytes.

        Raises:
            OSError: The kernel did not take them all.
        """

    def flush(self) -> None:
        """Return when all that was written is where a power cut does not reach it.

        Raises:
            OSError: The kernel cannot say so.
        """

    def close(self) -> None:
        """Close it."""


class Cached:
    """write(2) and fsync(2).

    Args:
        descriptor: Of the file, which is closed with this.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write(self, data: bytes, at: int) -> None:
        """See `Handle`."""
        start, size = at, len(data)
        view = memoryview(data)
        while view:
            count = os.pwrite(self.descriptor, view, at)
            view, at = view[count:], at + count
        # Write-back begins now, so that the disk writes while the next block is stamped
        # (generic_fadvise, mm/fadvise.c).
        os.posix_fadvise(self.descriptor, start, size, os.POSIX_FADV_DONTNEED)

    def flush(self) -> None:
        """See `Handle`."""
        os.fsync(self.descriptor)

    def close(self) -> None:
        """See `Handle`."""
        os.close(self.descriptor)


class Direct:
    """write(2) of a file or disk that was opened with O_DIRECT, and fsync(2).

    Args:
        descriptor: Of the file, which is closed with this.
        most_bytes: The longest write.
    """

    def __init__(self, descriptor: int, most_bytes: int) -> None:
        self.descriptor = descriptor
        self._buffer = mmap.mmap(-1, most_bytes)  # page-aligned, as O_DIRECT wants it

    def write(self, data: bytes, at: int) -> None:
        """See `Handle`."""
        self._buffer[: len(data)] = data
        with memoryview(self._buffer) as whole, whole[: len(data)] as view:
            done = 0
            while done < len(view):
                with view[done:] as rest:
                    done += os.pwrite(self.descriptor, rest, at + done)

    def flush(self) -> None:
        """See `Handle`."""
        os.fsync(self.descriptor)

    def close(self) -> None:
        """See `Handle`."""
        self._buffer.close()
        os.close(self.descriptor)


class Mapped:
    """Stores into a shared mapping, and msync(2).

    The bytes are read from a file in memory straight into the mapping: the kernel stores them, an
    interpreter lock is not held while a page is waited for, and a page that cannot be had is EFAULT
    instead of a signal.

    Args:
        descriptor: Of the file, which is closed with this, and has its final length.
        size_bytes: That length.
    """

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        # Mapped only here, and costly to import under emulation.
        import ctypes  # noqa: PLC0415

        self.descriptor = descriptor
        self._size_bytes = size_bytes
        self._mapping = mmap.mmap(descriptor, size_bytes)
        self._staging = os.memfd_create("stamps")
        self._errno = ctypes.get_errno
        self._msync = ctypes.CDLL(None, use_errno=True).msync
        self._msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        whole = ctypes.c_char.from_buffer(self._mapping)
        self._address = ctypes.addressof(whole)
        del whole  # or the mapping could not be closed

    def write(self, data: bytes, at: int) -> None:
        """See `Handle`."""
        os.pwrite(self._staging, data, 0)
        with memoryview(self._mapping) as whole, whole[at : at + len(data)] as view:
            done = 0
            while done < len(view):
                with view[done:] as rest:
                    done += self._store(rest, done)

    def _store(self, rest: memoryview, done: int) -> int:
        try:
            return os.preadv(self._staging, [rest], done)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            raise OSError(errno.EIO, "a page of the mapping cannot be had") from error

    def flush(self) -> None:
        """See `Handle`."""
        if self._msync(self._address, self._size_bytes, _MS_SYNC):
            number = self._errno()
            raise OSError(number, os.strerror(number))

    def close(self) -> None:
        """See `Handle`."""
        self._mapping.close()
        os.close(self._staging)
        os.close(self.descriptor)


def handle_for(access: Access, descriptor: int, size_bytes: int, block_bytes: int) -> Handle:
    """Return the handle that writes in one way.

    Args:
        access: Which way.
        descriptor: Of the open file.
        size_bytes: Its final length, which it has already.
        block_bytes: The longest write.
    """
    match access:
        case Access.DIRECT:
            return Direct(descriptor, block_bytes)
        case Access.MMAP:
            return Mapped(descriptor, size_bytes)
    return Cached(descriptor)
