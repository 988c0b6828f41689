"""Files that are replaced by rename, cut, and grown again.  An edge.

What is promised, and when (rename(2), fsync(2), and each file system's documentation):

* *replace*: the new content is written to another file, which is confirmed and then given the old
  one's name.  Until the fsync of the directory has returned the file may be the old or the new one,
  so all writes of the new content are told as in flight until then.  Where a rename is not atomic
  (vfat, exfat) the file may also be gone, which is told as zeros before the new content;
* *cut*: a truncate is a write of zeros over what it cuts off, promised by the file's fsync;
* *grow*: what was cut off is written again.

Files get new places by this, whatever the file system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rig.integrity.ledger import ZEROS, Event, Flushed, WriteFailed, WriteReturned
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.access import Cached
from rig.integrity.workloads.pen import Span, flush_end
from rig.integrity.workloads.writing import Writing, sync_directory


class TruncateRename(Writing):
    """Replaces, cuts and grows files.  See `Writing`."""

    file_name = "replaced"
    moves = True

    def _write_passes(self, passes: int, create: int) -> None:  # noqa: ARG002 - makes each anew
        steps = [step for _ in range(passes) for step in (self._replace, self._cut, self._grow)]
        each, done = self._settings.bytes_of_file, 0
        total = len(steps) * len(self.paths) * each
        for step in steps:
            for file_id in self.paths:
                self._confirm(step, file_id)
                done += each
                self._progress(done, total)

    def _confirm(self, step: Callable[[int], int], file_id: int) -> None:
        """Take a step until it is promised, or the attempts are used up."""
        for attempt in range(self._settings.attempts):
            self._pen.count(retries=attempt > 0)
            if not step(file_id):
                return
            self._pen.stop_if_hopeless()
        self._pen.count(given_up=self._settings.blocks_each)

    def _replace(self, file_id: int) -> int:
        """Give a file new content by rename; return 0 or the errno."""
        path = self.paths[file_id]
        other = path.with_suffix(".new")
        if not self._row.atomic_rename and path.exists():
            (gone,) = self._pen.start(file_id, [self._sectors()], ZEROS)
            self._pen.tell([WriteReturned(file_id, gone.sequence)])
        spans = self._start(file_id, 0)

        def replace() -> None:
            with self._opened(other, os.O_CREAT | os.O_TRUNC) as handle:
                self._write(handle, spans)
                handle.flush()
            other.replace(path)
            sync_directory(self._directory)

        code = self._pen.attempt("replace", file_id, replace)
        self._tell_ends(file_id, spans, code)
        return code

    def _cut(self, file_id: int) -> int:
        """Take the second half off a file; return 0 or the errno."""
        first, count = self._sectors(self._middle)
        spans = self._pen.start(file_id, [(first, count)], ZEROS)

        def cut() -> None:
            with self._opened(self.paths[file_id]) as handle:
                os.ftruncate(handle.descriptor, first * SECTOR_BYTES)
                handle.flush()

        code = self._pen.attempt("truncate", file_id, cut)
        self._tell_ends(file_id, spans, code)
        return code

    def _grow(self, file_id: int) -> int:
        """Write the second half again; return 0 or the errno."""
        spans = self._start(file_id, self._middle)

        def grow() -> None:
            with self._opened(self.paths[file_id]) as handle:
                self._write(handle, spans)
                handle.flush()

        code = self._pen.attempt("write", file_id, grow)
        self._tell_ends(file_id, spans, code)
        return code

    @property
    def _middle(self) -> int:
        return self._settings.blocks_each // 2

    def _sectors(self, first_block: int = 0) -> tuple[int, int]:
        """All sectors from a block on: (first, how many)."""
        size = self._settings.block_sectors
        return first_block * size, (self._settings.blocks_each - first_block) * size

    def _start(self, file_id: int, first_block: int) -> list[Span]:
        size = self._settings.block_sectors
        blocks = range(first_block, self._settings.blocks_each)
        parts = [(block * size, size) for block in blocks]
        return self._pen.start(file_id, parts, self._pen.next_generation())

    @contextmanager
    def _opened(self, path: Path, flags: int = 0) -> Iterator[Cached]:
        handle = Cached(os.open(path, os.O_RDWR | flags, 0o644))
        try:
            yield handle
        finally:
            handle.close()

    def _write(self, handle: Cached, spans: list[Span]) -> None:
        for span in spans:
            data = self._pen.stamped(span, self._settings.writer)
            handle.write(data, span.sector * SECTOR_BYTES)
            self._pen.count(written_bytes=len(data))

    def _tell_ends(self, file_id: int, spans: list[Span], code: int) -> None:
        """Tell that a step is promised in whole, or not at all."""
        if code:
            ends: list[Event] = [WriteFailed(file_id, span.sequence, code) for span in spans]
            self._pen.tell([*ends, flush_end(file_id, code)])
        else:
            ends = [WriteReturned(file_id, span.sequence) for span in spans]
            self._pen.tell([*ends, Flushed(file_id)])
