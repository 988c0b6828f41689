"""Several writers at once: threads, each with a file of its own, and one file that they share.

An edge.  Each writer has its own descriptor of the shared file: the kernel tells a write-back error
once to each open file (Documentation/filesystems/vfs.rst), so that no writer's fsync can return 0
because another one's took the error.  What an fsync promises is what had returned before it began,
whoever wrote it: each is told when it begins, too.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

from rig.errors import UserError
from rig.integrity.filesystems import FileSystem
from rig.integrity.ledger import Event, WriteFailed, WriteReturned
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.access import Cached
from rig.integrity.workloads.pen import Span, Stopped, flush_end
from rig.integrity.workloads.writing import Settings, Writing, sync_directory


class Writers(Writing):
    """Writers at once.  See `Writing`.

    The settings' files are one of each writer, and the last is shared.

    Raises:
        UserError: There is no file to share.
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
        super().__init__(
            settings,
            row=row,
            directory=directory,
            start_lba=start_lba,
            tell=tell,
            progress=progress,
        )
        if settings.files < 3:
            raise UserError("Two writers need three files: one each, and one that they share.")
        self._progress_lock = threading.Lock()
        self._done = self._total = 0
        self._stops: list[Stopped] = []
        self._bugs: list[BaseException] = []

    @property
    def writers(self) -> int:
        """How many."""
        return self._settings.files - 1

    def _write_passes(self, passes: int, create: int) -> None:
        work = [
            [self._choose(number, writer) for writer in range(self.writers)]
            for number in range(1, passes + 1)
        ]
        size = self._settings.block_bytes
        self._total = size * sum(len(blocks) for one in work for blocks in one)
        self._done = 0
        self._create(create)
        for number, blocks in enumerate(work, 1):
            self._pass(number, blocks)

    def _choose(self, number: int, writer: int) -> list[tuple[int, int]]:
        """What one writer writes in one pass: (file_id, block), its own and shared ones mixed."""
        settings = self._settings
        own, shared = settings.ids[writer], settings.ids[-1]
        blocks = [(own, block) for block in range(settings.blocks_each)]
        blocks += [
            (shared, block)
            for block in range(settings.blocks_each)
            if block % self.writers == writer
        ]
        chance = random.Random(f"{settings.seed}/{number}/{writer}")  # noqa: S311
        count = len(blocks) if number == 1 else max(1, len(blocks) // settings.again)
        return chance.sample(blocks, count)

    def _create(self, flags: int) -> None:
        try:
            for path in self.paths.values():
                descriptor = os.open(path, os.O_RDWR | flags, 0o644)
                try:
                    if self._row.preallocates:
                        os.posix_fallocate(descriptor, 0, self._settings.bytes_of_file)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            sync_directory(self._directory)
        except OSError as error:
            self._pen.failed("create", 0, error)
            raise Stopped(f"The files could not be created: {error.strerror}.") from error

    def _pass(self, number: int, work: list[list[tuple[int, int]]]) -> None:
        """Have all writers write at once."""
        if self._row.in_place and (number > 1 or self._row.preallocates):
            self._learn_places()
        threads = [
            threading.Thread(target=self._write_all, args=(writer, blocks), name=f"writer-{writer}")
            for writer, blocks in enumerate(work)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._bugs:
            raise self._bugs[0]
        if self._stops:
            raise self._stops.pop()

    def _write_all(self, writer: int, blocks: list[tuple[int, int]]) -> None:
        """One writer's part of one pass; runs in a thread."""
        settings = self._settings
        handles: dict[int, Cached] = {}
        batch = max(1, settings.flush_bytes // settings.block_bytes)
        try:
            for file_id in (settings.ids[writer], settings.ids[-1]):
                handles[file_id] = Cached(os.open(self.paths[file_id], os.O_RDWR))
            for at in range(0, len(blocks), batch):
                part = blocks[at : at + batch]
                for file_id, handle in handles.items():
                    chosen = [block for number, block in part if number == file_id]
                    self._confirm(writer, file_id, handle, chosen)
                with self._progress_lock:
                    self._done += len(part) * settings.block_bytes
                    self._progress(self._done, self._total)
        except Stopped as reason:
            self._stops.append(reason)
        except OSError as error:
            self._pen.failed("open", 0, error)
            self._stops.append(Stopped(f"A file could not be opened: {error.strerror}."))
        except BaseException as error:
            self._bugs.append(error)
        finally:
            for handle in handles.values():
                handle.close()

    def _confirm(self, writer: int, file_id: int, handle: Cached, blocks: list[int]) -> None:
        """Write blocks until an fsync confirms them all, or the attempts are used up."""
        for attempt in range(self._settings.attempts):
            if not blocks:
                return
            self._pen.count(retries=attempt > 0)
            blocks = self._attempt(writer, file_id, handle, blocks)
            if blocks:
                self._pen.stop_if_hopeless()
        self._pen.count(given_up=len(blocks))

    def _attempt(self, writer: int, file_id: int, handle: Cached, blocks: list[int]) -> list[int]:
        """Write and flush blocks once; return those that are not confirmed."""
        pen, sectors = self._pen, self._settings.block_sectors
        parts = [(block * sectors, sectors) for block in blocks]
        spans = pen.start(file_id, parts, pen.next_generation())
        failed = []
        for span, block in zip(spans, blocks, strict=True):
            code = self._write(writer, handle, span)
            if code:
                failed.append(block)
            # At once, so that another writer's fsync may promise it.
            pen.tell(
                [
                    WriteFailed(file_id, span.sequence, code)
                    if code
                    else WriteReturned(file_id, span.sequence)
                ]
            )
        number = pen.start_flush(file_id)
        code = pen.attempt("fsync", file_id, handle.flush)
        pen.tell([flush_end(file_id, code, number)])
        return blocks if code else failed

    def _write(self, writer: int, handle: Cached, span: Span) -> int:
        """Write one block; return 0 or the errno."""
        data = self._pen.stamped(span, writer)
        code = self._pen.attempt(
            "write", span.file_id, lambda: handle.write(data, span.sector * SECTOR_BYTES)
        )
        self._pen.count(written_bytes=0 if code else len(data))
        return code
