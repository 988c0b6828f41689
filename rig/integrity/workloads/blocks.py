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

from rig.integrity.filemap import Extent, MappedFile
from rig.integrity.filesystems import FileSystem
from rig.integrity.ledger import Event, WriteFailed, WriteReturned
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.access import Handle, handle_for
from rig.integrity.workloads.pen import Span, Stopped, flush_end
from rig.integrity.workloads.table import Access, Order
from rig.integrity.workloads.writing import Settings, Writing, sync_directory


class Blocks(Writing):
    """Blocks of few files, on a mounted file system or on the raw device.  See `Writing`."""

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
        super().__init__(
            settings,
            row=row,
            directory=directory,
            start_lba=start_lba,
            tell=tell,
            progress=progress,
        )
        self._access = Access.DIRECT if row.raw else settings.access
        if row.raw:
            self.paths = dict.fromkeys(settings.ids, directory)
            first = settings.first_block * settings.block_sectors
            self.part = (first, settings.blocks_each * settings.block_sectors)
        self._handles: dict[int, Handle] = {}
        self._done_blocks = 0

    def mapped(self) -> list[MappedFile]:
        """See `Writing`."""
        if not self._row.raw:
            return super().mapped()
        first, count = self.part
        extent = Extent(first, self._start_lba + first, count or 0)
        size = (extent.file_sector + extent.count) * SECTOR_BYTES
        return [MappedFile(n, str(path), size, True, [extent]) for n, path in self.paths.items()]

    def _write_passes(self, passes: int, create: int) -> None:
        self._done_blocks = 0
        try:
            self._create(create)
            for number in range(1, passes + 1):
                self._pass(number)
        finally:
            for handle in self._handles.values():
                handle.close()
            self._handles.clear()

    def _create(self, flags: int) -> None:
        try:
            for number, path in self.paths.items():
                self._handles[number] = self._open(path, flags)
            if not self._row.raw:
                sync_directory(self._directory)
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
