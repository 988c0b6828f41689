"""Writes stamped blocks, and tells what it did: an edge, on the machine that mounted.

Pass 1 writes every file; each later pass overwrites part of it, chosen by the seed.  Every few
blocks are confirmed by a flush.  What fails is told, and written again with a new generation, a
bounded number of times: an error is an observation here, not an exception.

Stamps carry their LBA as soon as it is known and will stay: after fallocate where that settles it,
else from pass 2 on, and never where the file system does not overwrite in place.  On the raw device
it is known from the beginning.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from rig.errors import MachineError, UserError
from rig.integrity.extents import file_extents
from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.filesystems import FileSystem
from rig.integrity.ledger import Event, WriteFailed, WriteReturned
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.access import Handle, handle_for
from rig.integrity.workloads.pen import Outcome, Pen, Span, Stopped, flush_end
from rig.integrity.workloads.table import PAGE_BYTES, Access, Order

__all__ = ["Outcome", "Settings", "Workload", "Writing", "map_files"]


Part = tuple[int, int | None]
"""Sectors of a file that a workload writes: the first, and how many; None for all to the end."""
WHOLE: Part = (0, None)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to write.

    Attributes:
        run_id: For the stamps.
        seed: Of the choice of blocks, and of their order.
        first_file_id: The files are numbered from here; never 0.
        files: How many files.
        bytes_total: All files together.
        block_bytes: One write call; whole pages, for a page's rest would be zeros that no write
            call made.
        flush_bytes: One flush per so many.
        passes: 1: write only; each further one overwrites.
        attempts: How often a write is tried before it is given up.
        writer: For the stamps.
        again: A further pass overwrites one block of so many.
        order: Of the first pass.
        access: How bytes get into the files.
        first_block: Where in the file the first block is; for the raw device.
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
    again: int = 4
    order: Order = Order.ASCENDING
    access: Access = Access.CACHED
    first_block: int = 0

    @property
    def blocks_each(self) -> int:
        """Blocks of one file."""
        return self.bytes_total // self.files // self.block_bytes

    @property
    def bytes_of_file(self) -> int:
        """The length of one file."""
        return self.blocks_each * self.block_bytes

    @property
    def block_sectors(self) -> int:
        """Sectors of one block."""
        return self.block_bytes // SECTOR_BYTES

    @property
    def ids(self) -> range:
        """The ids of the files."""
        return range(self.first_file_id, self.first_file_id + self.files)

    def validate(self) -> None:
        """Refuse what cannot be written.

        Raises:
            UserError: A number is out of its range.
        """
        if min(self.files, self.passes, self.attempts, self.first_file_id, self.again) < 1:
            raise UserError("Files, passes, attempts and the first file's id must be 1 or more.")
        if self.block_bytes < 1 or self.block_bytes % PAGE_BYTES:
            raise UserError(f"A block of {self.block_bytes} bytes is not whole pages of 4096.")
        if self.blocks_each < 1 or self.bytes_total % (self.files * self.block_bytes):
            raise UserError(
                f"{self.bytes_total} bytes do not divide into {self.files} files of whole "
                f"blocks of {self.block_bytes} bytes."
            )


class Writing(Protocol):
    """One workload on one file system.

    Attributes:
        paths: Its files, by id.
        known: Where they lie, as far as it was asked already.
        part: What it writes of each.
    """

    paths: dict[int, Path]
    known: list[MappedFile]
    part: Part

    def run(self) -> Outcome:
        """Write everything; files that could not be created are why it stopped."""

    def run_again(self) -> Outcome:
        """Write everything once more, where it is by now.

        After a run that was cut short by a disk that went away and came back.
        """

    def mapped(self) -> list[MappedFile]:
        """Say where the files lie; one that is not there lies nowhere.

        Raises:
            MachineError: The file system cannot tell.
            OSError: A file cannot be opened or asked.
        """


class Workload:
    """Blocks of few files, on a mounted file system or on the raw device.

    Args:
        settings: What to write.
        row: The file system's properties.
        directory: Where it is mounted; of the raw device its node.
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
        self._progress = progress
        self._access = Access.DIRECT if row.raw else settings.access
        self.paths = {
            number: directory if row.raw else directory / f"stamped-{number}"
            for number in settings.ids
        }
        self.known: list[MappedFile] = []
        first = settings.first_block * settings.block_sectors
        self.part = (first, settings.blocks_each * settings.block_sectors) if row.raw else WHOLE
        self._handles: dict[int, Handle] = {}
        self._pen = Pen(settings.run_id, tell)
        self._done_blocks = 0

    def run(self) -> Outcome:
        """See `Writing`."""
        return self._run(range(1, self._settings.passes + 1))

    def run_again(self) -> Outcome:
        """See `Writing`."""
        self._done_blocks = 0
        self._pen.begin_anew()
        self.known = []
        return self._run(range(1, 2), os.O_CREAT)

    def mapped(self) -> list[MappedFile]:
        """See `Writing`."""
        if not self._row.raw:
            there = {number: path for number, path in self.paths.items() if path.exists()}
            return map_files(there, self._row, self._start_lba)
        first, count = self.part
        extent = Extent(first, self._start_lba + first, count or 0)
        size = (extent.file_sector + extent.count) * SECTOR_BYTES
        return [MappedFile(n, str(path), size, True, [extent]) for n, path in self.paths.items()]

    def _run(self, passes: range, create: int = os.O_CREAT | os.O_TRUNC) -> Outcome:
        stopped = ""
        try:
            self._create(create)
            for number in passes:
                self._pass(number)
        except Stopped as reason:
            stopped = str(reason)
        finally:
            for handle in self._handles.values():
                handle.close()
            self._handles.clear()
        return self._pen.outcome(self.paths, stopped)

    def _create(self, flags: int) -> None:
        try:
            for number, path in self.paths.items():
                self._handles[number] = self._open(path, flags)
            if not self._row.raw:
                sync_directory(self.paths[self._settings.first_file_id].parent)
        except OSError as error:
            self._pen.failed("create", 0, error)
            raise Stopped(f"The files could not be created: {error.strerror}.") from error

    def _open(self, path: Path, flags: int) -> Handle:
        size, block = self._settings.bytes_of_file, self._settings.block_bytes
        if self._row.raw:
            descriptor = os.open(path, os.O_RDWR | os.O_DIRECT)
            return handle_for(self._access, descriptor, size, block)
        descriptor = os.open(path, os.O_RDWR | flags, 0o644)
        try:
            if self._row.preallocates:
                os.posix_fallocate(descriptor, 0, size)
            elif self._access is Access.MMAP:
                os.ftruncate(descriptor, size)  # behind a file's end there is nothing to map
            os.fsync(descriptor)
            return handle_for(self._access, descriptor, size, block)
        except OSError:
            os.close(descriptor)
            raise

    def _pass(self, number: int) -> None:
        settings = self._settings
        generation = self._pen.next_generation()
        if self._row.in_place and (number > 1 or self._row.preallocates or self._row.raw):
            self._learn_places()
        batch = max(1, settings.flush_bytes // settings.block_bytes)
        for file_id in self.paths:
            blocks = self._choose(number, file_id)
            for at in range(0, len(blocks), batch):
                self._confirm(file_id, blocks[at : at + batch], generation)
                self._done_blocks += len(blocks[at : at + batch])
                self._progress(self._done_blocks * settings.block_bytes, self._total_bytes())

    def _choose(self, number: int, file_id: int) -> list[int]:
        settings = self._settings
        every = settings.blocks_each
        if number == 1 and settings.order is Order.ASCENDING:
            return list(range(every))
        chance = random.Random(f"{settings.seed}/{number}/{file_id}")  # noqa: S311
        return chance.sample(range(every), every if number == 1 else self._part_of(every))

    def _part_of(self, every: int) -> int:
        return max(1, every // self._settings.again)

    def _total_bytes(self) -> int:
        settings = self._settings
        part = self._part_of(settings.blocks_each)
        blocks = settings.files * (settings.blocks_each + (settings.passes - 1) * part)
        return blocks * settings.block_bytes

    def _learn_places(self) -> None:
        """Map the files.  If that fails, stamps go without LBAs: the oracle has its own map."""
        try:
            self.known = self.mapped()
            self._pen.map = FileMap(self.known)
        except (OSError, MachineError):
            self._pen.map = FileMap([])

    def _confirm(self, file_id: int, blocks: list[int], generation: int) -> None:
        """Write blocks until a flush confirms them all, or the attempts are used up."""
        for attempt in range(self._settings.attempts):
            if attempt:
                self._pen.count(retries=1)
                generation = self._pen.next_generation()
            blocks = self._attempt(file_id, blocks, generation)
            if not blocks:
                return
        self._pen.count(given_up=len(blocks))

    def _attempt(self, file_id: int, blocks: list[int], generation: int) -> list[int]:
        """Write and flush blocks once; return those that are not confirmed."""
        pen, settings = self._pen, self._settings
        sectors, first = settings.block_sectors, settings.first_block
        parts = [((first + block) * sectors, sectors) for block in blocks]
        direct = self._access is Access.DIRECT
        ends: list[Event] = []
        failed = []
        for span, block in zip(
            pen.start(file_id, parts, generation, direct=direct), blocks, strict=True
        ):
            code = self._write(span)
            if code:
                failed.append(block)
                ends.append(WriteFailed(file_id, span.sequence, code))
            else:
                ends.append(WriteReturned(file_id, span.sequence))
        call = "msync" if self._access is Access.MMAP else "fsync"
        code = pen.attempt(call, file_id, self._handles[file_id].flush)
        pen.tell([*ends, flush_end(file_id, code)])
        unconfirmed = blocks if code else failed
        if unconfirmed:
            try:
                pen.stop_if_hopeless()
            except Stopped:
                pen.count(given_up=len(unconfirmed))
                raise
        return unconfirmed

    def _write(self, span: Span) -> int:
        """Write one block; return 0 or the errno."""
        data = self._pen.stamped(span, self._settings.writer)
        handle = self._handles[span.file_id]
        code = self._pen.attempt(
            "write", span.file_id, lambda: handle.write(data, span.sector * SECTOR_BYTES)
        )
        if not code:
            self._pen.count(written_bytes=len(data))
        return code


def sync_directory(directory: Path) -> None:
    """Confirm the names in a directory.

    Raises:
        OSError: The kernel cannot say that they are safe.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def map_files(
    paths: dict[int, Path], row: FileSystem, start_lba: int, *, moves: bool = False
) -> list[MappedFile]:
    """Ask the file system where files lie.

    Args:
        paths: By file id.
        row: The file system's properties.
        start_lba: Where its partition begins.
        moves: The workload gives files new places, even where the file system does not.

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
        in_place = row.in_place and not moves
        mapped.append(MappedFile(number, str(path), size, in_place, extents))
    return mapped
