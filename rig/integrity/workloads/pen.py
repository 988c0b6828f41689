"""What all workloads share: stamps, numbers of write calls, what is told, and which errors came.

What fails is told: an error is an observation here, not an exception.  Of several threads each may
use the same pen.
"""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from rig.integrity.filemap import FileMap
from rig.integrity.ledger import Event, Flushed, FlushFailed, FlushStarted, WriteStarted
from rig.integrity.stamp import SECTOR_BYTES, UNKNOWN_LBA, Stamp, encode_run

FATAL = {
    errno.EROFS: "the file system became read-only",
    errno.ENODEV: "the device is gone",
    errno.ENXIO: "the device is gone",
    errno.ESHUTDOWN: "the file system was shut down",
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "no space is left",
    errno.EFBIG: "the file system has no files as long as that",
    errno.EUCLEAN: "the file system calls itself damaged",
}
"""After these no retry can succeed: the workload ends, and says why."""


class Outcome(msgspec.Struct, frozen=True):
    """How a workload went.

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


class Stopped(Exception):  # noqa: N818 - the end of a workload, not an error
    """No further write can succeed."""


class Span(NamedTuple):
    """Sectors that one write call is about to write.

    Attributes:
        file_id: Of which file.
        sector: The first one, in the file.
        count: How many.
        generation: Of their stamps.
        sequence: Number of the write call.
    """

    file_id: int
    sector: int
    sectors: int
    generation: int
    sequence: int


class Pen:
    """Stamps and tells.

    Args:
        run_id: For the stamps.
        tell: Receives batches of ledger events; the starts of writes before they begin.
    """

    def __init__(self, run_id: int, tell: Callable[[list[Event]], None]) -> None:
        self._run_id = run_id
        self._tell = tell
        self._lock = threading.Lock()
        self._sequence = 0
        self._flushes = 0
        self._generation = 0
        self._errors: Counter[tuple[str, int, int]] = Counter()
        self.map = FileMap([])
        self.written_bytes = 0
        self.retries = 0
        self.given_up = 0

    def begin_anew(self) -> None:
        """Forget errors, and places: what was not confirmed may have been put elsewhere."""
        self.given_up = 0
        self._errors.clear()
        self.map = FileMap([])

    def next_generation(self) -> int:
        """Return a generation that no stamp has yet."""
        with self._lock:
            self._generation += 1
            return self._generation

    def start(
        self,
        file_id: int,
        parts: Iterable[tuple[int, int]],
        generation: int,
        *,
        direct: bool = False,
    ) -> list[Span]:
        """Tell that writes are about to begin.

        Args:
            file_id: Of which file.
            parts: Of each write call the first sector and how many.
            generation: That their stamps will carry, or `rig.integrity.ledger.ZEROS`.
            direct: See `rig.integrity.ledger.WriteStarted`.
        """
        with self._lock:  # numbers must be told in order
            spans = [
                Span(file_id, sector, count, generation, number)
                for number, (sector, count) in enumerate(parts, self._sequence + 1)
            ]
            self._sequence += len(spans)
            self._tell([WriteStarted(*span, direct) for span in spans])
        return spans

    def tell(self, events: list[Event]) -> None:
        """Tell how writes and flushes ended."""
        with self._lock:
            self._tell(events)

    def start_flush(self, file_id: int) -> int:
        """Tell that a flush is about to begin; return its number."""
        with self._lock:
            self._flushes += 1
            self._tell([FlushStarted(file_id, self._flushes)])
            return self._flushes

    def stamped(self, span: Span, writer: int = 0) -> bytes:
        """Make the bytes of a write call; they carry LBAs where the map knows them."""
        parts = []
        for sector, count, lba in self.map.split_file(span.file_id, span.sector, span.sectors):
            stamp = Stamp(
                self._run_id,
                span.file_id,
                sector * SECTOR_BYTES,
                UNKNOWN_LBA if lba is None else lba,
                span.generation,
                writer,
                span.sequence,
            )
            parts.append(encode_run(stamp, count))
        return b"".join(parts)

    def count(self, *, written_bytes: int = 0, retries: int = 0, given_up: int = 0) -> None:
        """Add to what the outcome tells."""
        with self._lock:
            self.written_bytes += written_bytes
            self.retries += retries
            self.given_up += given_up

    def failed(self, call: str, file_id: int, error: OSError) -> int:
        """Count a call that failed; return its errno."""
        number = error.errno or errno.EIO
        with self._lock:
            self._errors[call, file_id, number] += 1
        return number

    def attempt(self, call: str, file_id: int, do: Callable[[], object]) -> int:
        """Do something that may fail; return 0 or the errno, which is counted."""
        try:
            do()
        except OSError as error:
            return self.failed(call, file_id, error)
        return 0

    def stop_if_hopeless(self) -> None:
        """End the workload if an error came after which no write can succeed.

        Raises:
            Stopped: There was one.
        """
        with self._lock:
            fatal = [number for _, _, number in self._errors if number in FATAL]
        if fatal:
            raise Stopped(f"Writing ended early: {FATAL[fatal[0]]}.")

    def outcome(self, files: Iterable[int], stopped: str) -> Outcome:
        """Return how it went."""
        with self._lock:
            errors = [(*error, count) for error, count in self._errors.items()]
        return Outcome(
            list(files), self.written_bytes, errors, self.retries, self.given_up, stopped
        )


def flush_end(file_id: int, code: int, number: int = 0) -> Event:
    """Return how a flush ended, for the ledger."""
    return FlushFailed(file_id, code, number) if code else Flushed(file_id, number)
