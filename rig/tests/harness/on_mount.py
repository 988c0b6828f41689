"""Runs *on a machine of the lab*, copied there: a file on a mounted disk, stamped by its LBAs.

    on_mount.py write FILE BYTES RUN_ID    preallocate, stamp each sector with its LBA, fsync
    on_mount.py read FILE                  read it past the page cache

Both print the content's SHA-256, and how long the transfer took in s.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import time

from rig.integrity.extents import file_extents
from rig.integrity.stamp import SECTOR_BYTES, Stamp, encode_run

CHUNK_BYTES = 1 << 20


def stamped(descriptor: int, run_id: int) -> bytes:
    """What belongs into a preallocated file on a disk without partitions."""
    parts = [
        encode_run(
            Stamp(
                run_id=run_id,
                file_id=1,
                offset=extent.file_sector * SECTOR_BYTES,
                lba=extent.lba,
                generation=1,
                writer=0,
                sequence=1,
            ),
            extent.count,
        )
        for extent in file_extents(descriptor, 0)
    ]
    return b"".join(parts)


def write(path: str, size_bytes: str, run_id: str) -> tuple[str, float]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, int(size_bytes))
        os.fsync(descriptor)
        data = stamped(descriptor, int(run_id))
        assert len(data) == int(size_bytes)
        began = time.monotonic()
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written : written + CHUNK_BYTES], written)
        os.fsync(descriptor)
        return hashlib.sha256(data).hexdigest(), time.monotonic() - began
    finally:
        os.close(descriptor)


def read(path: str) -> tuple[str, float]:
    digest, page = hashlib.sha256(), mmap.mmap(-1, CHUNK_BYTES)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        began = time.monotonic()
        while count := os.readv(descriptor, [page]):
            digest.update(memoryview(page)[:count])
        return digest.hexdigest(), time.monotonic() - began
    finally:
        os.close(descriptor)


def main() -> None:
    do, path, *words = sys.argv[1:]
    digest, took_s = write(path, *words) if do == "write" else read(path)
    print(digest, f"{took_s:.3f}")


if __name__ == "__main__":
    main()
