"""Many small files: what is promised of each is its data and its name.  An edge.

A file is promised when its own fsync and that of its directory have returned 0; then it is told as
flushed, not before (fsync(2): the file's own does not vouch for its name).
"""

from __future__ import annotations

import os
import random

from rig.integrity.ledger import Event, FlushFailed, WriteFailed, WriteReturned
from rig.integrity.workloads.pen import Span, flush_end
from rig.integrity.workloads.writing import Writing, sync_directory

BATCH_FILES = 16
"""So many share one fsync of their directory."""


class SmallFiles(Writing):
    """Files of one block each.  See `Writing`."""

    file_name = "small"

    def _write_passes(self, passes: int, create: int) -> None:  # noqa: ARG002 - makes each anew
        chosen = [self._choose(number) for number in range(1, passes + 1)]
        size, done = self._settings.bytes_of_file, 0
        for ids in chosen:
            for at in range(0, len(ids), BATCH_FILES):
                batch = ids[at : at + BATCH_FILES]
                self._confirm(batch)
                done += len(batch) * size
                self._progress(done, sum(map(len, chosen)) * size)

    def _choose(self, number: int) -> list[int]:
        ids, settings = list(self.paths), self._settings
        if number == 1:
            return ids
        chance = random.Random(f"{settings.seed}/{number}")  # noqa: S311
        return chance.sample(ids, max(1, len(ids) // settings.again))

    def _confirm(self, ids: list[int]) -> None:
        """Write files until all are promised, or the attempts are used up."""
        for attempt in range(self._settings.attempts):
            self._pen.count(retries=attempt > 0)
            ids = self._attempt(ids)
            if not ids:
                return
            self._pen.stop_if_hopeless()
        self._pen.count(given_up=len(ids))

    def _attempt(self, ids: list[int]) -> list[int]:
        """Write files once; return those that are not promised."""
        pen, settings = self._pen, self._settings
        generation = pen.next_generation()
        whole = [(0, settings.bytes_of_file // 512)]
        spans = [span for number in ids for span in pen.start(number, whole, generation)]
        codes = [self._write(span) for span in spans]
        names = pen.attempt("fsync of the directory", 0, lambda: sync_directory(self._directory))
        unconfirmed = []
        for span, code in zip(spans, codes, strict=True):
            if code or names:
                unconfirmed.append(span.file_id)
            pen.tell([*_ends(span, code), flush_end(span.file_id, names or code)])
        return unconfirmed

    def _write(self, span: Span) -> int:
        """Write one file and fsync it; return 0 or the errno."""
        data = self._pen.stamped(span)

        def write() -> None:
            path = self.paths[span.file_id]
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                done = 0
                while done < len(data):
                    done += os.pwrite(descriptor, memoryview(data)[done:], done)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

        code = self._pen.attempt("write", span.file_id, write)
        self._pen.count(written_bytes=0 if code else len(data))
        return code


def _ends(span: Span, code: int) -> list[Event]:
    if code:
        # Whether the write or the fsync failed is the same to the model.
        return [WriteFailed(span.file_id, span.sequence, code), FlushFailed(span.file_id, code)]
    return [WriteReturned(span.file_id, span.sequence)]
