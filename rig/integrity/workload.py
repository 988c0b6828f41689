"""Writes stamped files, and tells what it did: an edge, on the machine that mounted.

Pass 1 writes every file from end to end; each later pass overwrites a random quarter.  Writes go
through the page cache and are confirmed by fsync, every few MiB.  What fails is told, and
written again with a new generation, a bounded number of times: an error is an observation here,
not an exception.

Stamps carry their LBA as soon as it is known and will stay: after fallocate where that settles it,
else from pass 2 on, and never where the file system does not overwrite in place.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from rig.errors import MachineError, UserError
from rig.integrity.extents import file_extents
from rig.integrity.filemap import FileMap, MappedFile
from rig.integrity.filesystems import FileSystem
from rig.integrity.ledger import (
    Event,
    Flushed,
    FlushFailed,
    WriteFailed,
    WriteReturned,
    WriteStarted,
)
from rig.integrity.stamp import SECTOR_BYTES, UNKNOWN_LBA, Stamp, encode_run

PAGE_BYTES = 4096
"""Writes are whole pages: a page's rest would be zeros that no write call made."""
_FATAL = {
    errno.EROFS: "the file system became read-only",
    errno.ENODEV: "the device is gone",
    errno.ENXIO: "the device is gone",
    errno.ESHUTDOWN: "the file system was shut down",
    errno.ENOSPC: "no space is left",
}
"""After these no retry can succeed: the workload ends, and says why."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to write.

    Attributes:
        run_id: For the stamps.
        seed: Of the choice of the quarters.
        first_file_id: The files are numbered from here; never 0.
        files: How many files.
        bytes_total: All files together.
        block_bytes: One write call.
        flush_bytes: One fsync per so many.
        passes: 1: write only; each further one overwrites a quarter.
        attempts: How often a write is tried before it is given up.
        writer: For the stamps.
    """

    run_id: int
    seed: int
    first_file_id: int = 1
    files: int = 4
    bytes_total: int = 16 << 20
    block_bytes: int = 16 << 10
    flush_bytes: int = 1 << 20
    passes: int = 2
    attempts: int = 5
    writer: int = 0

    @property
    def blocks_each(self) -> int:
        """Blocks of one file."""
        return self.bytes_total // self.files // self.block_bytes

    def validate(self) -> None:
        """Refuse what cannot be written.

        Raises:
            UserError: A number is out of its range.
        """
        if min(self.files, self.passes, self.attempts, self.first_file_id) < 1:
            raise UserError("Files, passes, attempts and the first file's id must be 1 or more.")
        if self.block_bytes < 1 or self.block_bytes % PAGE_BYTES:
            raise UserError(f"A block of {self.block_bytes} bytes is not whole pages of 4096.")
        if self.blocks_each < 1 or self.bytes_total % (self.files * self.block_bytes):
            raise UserError(
                f"{self.bytes_total} bytes do not divide into {self.files} files of whole "
                f"blocks of {self.block_bytes} bytes."
            )


class Outcome(msgspec.Struct, frozen=True):
    """How the workload went.

    Attributes:
        files: The ids of its files.
        written_bytes: Handed to write calls that returned, retries included.
        errors: Failed write and fsync calls: (call, file_id, errno, how many).
        retries: Batches that were written again.
        given_up_blocks: Blocks of which no attempt was confirmed.
        stopped: Why it ended early, in words; empty if it did not.
    """

    files: list[int]
    written_bytes: int
    errors: list[tuple[str, int, int, int]]
    retries: int
    given_up_blocks: int
    stopped: str


class _Stopped(Exception):  # noqa: N818 - the end of a pass, not an error
    """No further write can succeed."""


class Workload:
    """One workload on one mounted file system.

    Args:
        settings: What to write.
        row: The file system's properties.
        directory: Where it is mounted.
        start_lba: Where its partition begins.
        tell: Receives batches of ledger events; the starts of writes before they begin.
        progress: Receives bytes done and bytes in all.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        row: FileSystem,
        directory: Path,
        start_lba: int,
        tell: Callable[[list[Event]], None],
        progress: Callable[[int, int], None],
    ) -> None:
        settings.validate()
        self._settings = settings
        self._row = row
        self._start_lba = start_lba
        self._tell = tell
        self._progress = progress
        ids = range(settings.first_file_id, settings.first_file_id + settings.files)
        self.paths = {number: directory / f"stamped-{number}" for number in ids}
        self._descriptors: dict[int, int] = {}
        self._map = FileMap([])
        self._generation = 0
        self._sequence = 0
        self._written_bytes = 0
        self._errors: Counter[tuple[str, int, int]] = Counter()
        self._retries = 0
        self._given_up = 0
        self._done_blocks = 0

    def run(self) -> Outcome:
        """Write everything; files that could not be created are why it stopped."""
        return self._run(range(1, self._settings.passes + 1))

    def run_again(self) -> Outcome:
        """Write every file from end to end once more, where it is by now.

        After a run that was cut short by a disk that went away and came back.
        """
        self._given_up = self._done_blocks = 0
        self._errors.clear()
        self._map = FileMap([])  # what was not confirmed may have been put elsewhere
        return self._run(range(1, 2), os.O_CREAT)

    def _run(self, passes: range, create: int = os.O_CREAT | os.O_TRUNC) -> Outcome:
        stopped = ""
        try:
            self._create(self.paths[self._settings.first_file_id].parent, create)
            for number in passes:
                self._pass(number)
        except _Stopped as reason:
            stopped = str(reason)
        finally:
            for descriptor in self._descriptors.values():
                os.close(descriptor)
            self._descriptors.clear()
        return Outcome(
            list(self.paths),
            self._written_bytes,
            [(*error, count) for error, count in self._errors.items()],
            self._retries,
            self._given_up,
            stopped,
        )

    def _create(self, directory: Path, flags: int) -> None:
        try:
            self._create_each(directory, flags)
        except OSError as error:
            self._failed("create", 0, error)
            raise _Stopped(f"The files could not be created: {error.strerror}.") from error

    def _create_each(self, directory: Path, flags: int) -> None:
        size = self._settings.blocks_each * self._settings.block_bytes
        for number, path in self.paths.items():
            descriptor = os.open(path, os.O_RDWR | flags, 0o644)
            self._descriptors[number] = descriptor
            if self._row.preallocates:
                os.posix_fallocate(descriptor, 0, size)
            os.fsync(descriptor)
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def _pass(self, number: int) -> None:
        settings = self._settings
        self._generation += 1
        generation = self._generation
        if self._row.in_place and (number > 1 or self._row.preallocates):
            self._learn_places()
        batch = max(1, settings.flush_bytes // settings.block_bytes)
        for file_id in self.paths:
            blocks = self._choose(number, file_id)
            for at in range(0, len(blocks), batch):
                self._confirm(file_id, blocks[at : at + batch], generation)
                self._done_blocks += len(blocks[at : at + batch])
                self._progress(self._done_blocks * settings.block_bytes, self._total_bytes())

    def _choose(self, number: int, file_id: int) -> list[int]:
        every = self._settings.blocks_each
        if number == 1:
            return list(range(every))
        chance = random.Random(f"{self._settings.seed}/{number}/{file_id}")  # noqa: S311
        return chance.sample(range(every), max(1, every // 4))

    def _total_bytes(self) -> int:
        settings = self._settings
        quarter = max(1, settings.blocks_each // 4)
        blocks = settings.files * (settings.blocks_each + (settings.passes - 1) * quarter)
        return blocks * settings.block_bytes

    def _learn_places(self) -> None:
        """Map the files.  If that fails, stamps go without LBAs: the oracle has its own map."""
        try:
            self._map = FileMap(map_files(self.paths, self._row, self._start_lba))
        except (OSError, MachineError):
            self._map = FileMap([])

    def _confirm(self, file_id: int, blocks: list[int], generation: int) -> None:
        """Write blocks until an fsync confirms them all, or the attempts are used up."""
        for attempt in range(self._settings.attempts):
            if attempt:
                self._retries += 1
                self._generation += 1
                generation = self._generation
            blocks = self._attempt(file_id, blocks, generation)
            if not blocks:
                return
        self._given_up += len(blocks)

    def _attempt(self, file_id: int, blocks: list[int], generation: int) -> list[int]:
        """Write and flush blocks once; return those that are not confirmed."""
        sectors = self._settings.block_bytes // SECTOR_BYTES
        first = self._sequence + 1
        self._sequence += len(blocks)
        numbered = list(enumerate(blocks, first))
        self._tell(
            [WriteStarted(file_id, b * sectors, sectors, generation, n) for n, b in numbered]
        )
        ends: list[Event] = []
        failed = []
        for sequence, block in numbered:
            code = self._write(file_id, block, generation, sequence)
            if code:
                failed.append(block)
                ends.append(WriteFailed(file_id, sequence, code))
            else:
                ends.append(WriteReturned(file_id, sequence))
        code = self._flush(file_id)
        self._tell([*ends, FlushFailed(file_id, code) if code else Flushed(file_id)])
        unconfirmed = blocks if code else failed
        # No error before this batch was fatal, or it would have been the last.
        fatal = [number for _, _, number in self._errors if number in _FATAL]
        if unconfirmed and fatal:
            self._given_up += len(unconfirmed)
            raise _Stopped(f"Writing ended early: {_FATAL[fatal[0]]}.")
        return unconfirmed

    def _write(self, file_id: int, block: int, generation: int, sequence: int) -> int:
        """Write one block; return 0 or the errno."""
        data = memoryview(self._stamped(file_id, block, generation, sequence))
        at = block * self._settings.block_bytes
        try:
            while data:
                count = os.pwrite(self._descriptors[file_id], data, at)
                data, at = data[count:], at + count
        except OSError as error:
            return self._failed("write", file_id, error)
        size = self._settings.block_bytes
        self._written_bytes += size
        # Write-back begins now, so that the disk writes while the next block is stamped
        # (generic_fadvise, mm/fadvise.c).
        descriptor = self._descriptors[file_id]
        os.posix_fadvise(descriptor, block * size, size, os.POSIX_FADV_DONTNEED)
        return 0

    def _flush(self, file_id: int) -> int:
        """Fsync; return 0 or the errno."""
        try:
            os.fsync(self._descriptors[file_id])
        except OSError as error:
            return self._failed("fsync", file_id, error)
        return 0

    def _failed(self, call: str, file_id: int, error: OSError) -> int:
        number = error.errno or errno.EIO
        self._errors[call, file_id, number] += 1
        return number

    def _stamped(self, file_id: int, block: int, generation: int, sequence: int) -> bytes:
        settings = self._settings
        sectors = settings.block_bytes // SECTOR_BYTES
        parts = []
        for sector, count, lba in self._map.split_file(file_id, block * sectors, sectors):
            place = UNKNOWN_LBA if lba is None else lba
            offset = sector * SECTOR_BYTES
            stamp = Stamp(
                settings.run_id, file_id, offset, place, generation, settings.writer, sequence
            )
            parts.append(encode_run(stamp, count))
        return b"".join(parts)


def map_files(paths: dict[int, Path], row: FileSystem, start_lba: int) -> list[MappedFile]:
    """Ask the file system where files lie.

    Args:
        paths: By file id.
        row: The file system's properties.
        start_lba: Where its partition begins.

    Raises:
        MachineError: It cannot tell.
        OSError: A file cannot be opened or asked.
    """
    mapped = []
    for number, path in paths.items():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            extents = file_extents(descriptor, start_lba)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        mapped.append(MappedFile(number, str(path), size, row.in_place, extents))
    return mapped
