"""The medium behind the gadget's LUN: a sparse file, its journal, and its faults.

No FUSE here: `rig.gadget.fusefs` serves a `Store` to the kernel.  An access first meets the
fault plan, then the medium, then the journal, and is answered last; an injected error leaves the
medium untouched.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rig.errors import MachineError, UserError
from rig.faults.rules.medium import MediumAccess, MediumEffect, MediumOp
from rig.faults.triggers import Fired, MediumInjector
from rig.gadget.journal import Damage, JournalReader, Op, Record, encode_header

BLOCK_BYTES = 512
"""A logical block: what f_mass_storage uses for a backing file."""
LOCK_DEADLINE_S = 10.0
"""A store that was killed needs a moment to let go of its medium."""
_PIECE_BYTES = 1 << 20


class Answer(NamedTuple):
    """How an access ended.

    Attributes:
        error: 0, or an errno.
        data: What a read found, cut off at the end of the medium.
    """

    error: int
    data: bytes = b""


class FaultReport(NamedTuple):
    """An injected error of an access.

    Attributes:
        fired: The rule, the match, the effect.
        access: What it was asked about.
        sequence: Of the journal's record.
    """

    fired: Fired[MediumEffect]
    access: MediumAccess
    sequence: int


class Store:
    """One medium of a fixed size.

    Args:
        medium: The backing file; made, sparse, if there is none.
        journal: The journal; a former one is continued.
        size_bytes: A multiple of `BLOCK_BYTES`.
        injector: Of the medium layer.
        on_fault: Told of every injected error, before the access is answered.
        clock_ns: Unix time in nanoseconds.

    Raises:
        UserError: The size does not fit, or another store has the medium open.
        OSError: A file cannot be made or opened.
    """

    def __init__(
        self,
        medium: Path,
        journal: Path,
        size_bytes: int,
        injector: MediumInjector,
        *,
        on_fault: Callable[[FaultReport], None] = lambda _report: None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if size_bytes < BLOCK_BYTES or size_bytes % BLOCK_BYTES:
            raise UserError(
                f"A medium of {size_bytes} bytes cannot be made.",
                hint=f"The size must be a multiple of {BLOCK_BYTES} bytes, and not 0.",
            )
        self.size_bytes = size_bytes
        self.injector = injector
        self.accesses = dict.fromkeys(Op, 0)
        self._on_fault = on_fault
        self._clock_ns = clock_ns
        self._medium = _open_medium(medium, size_bytes)
        self._journal = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._sequence, self.journal_damage = _next_sequence(self._journal)

    def close(self) -> None:
        """Let go of the files; the medium may then be opened by another store."""
        os.close(self._medium)
        os.close(self._journal)

    @property
    def sequence(self) -> int:
        """The number of the next access."""
        return self._sequence

    def read(self, offset_bytes: int, length_bytes: int) -> Answer:
        """Read from the medium.

        Raises:
            MachineError: The journal cannot be written: nothing more may be answered.
        """
        now, error = self._clock_ns(), 0
        data = b""
        fired = self._ask(MediumOp.READ, offset_bytes, length_bytes)
        if fired:
            error = fired.errno
        else:
            wanted = max(0, min(length_bytes, self.size_bytes - offset_bytes))
            error, data = self._on_medium(lambda: os.pread(self._medium, wanted, offset_bytes))
        self._record(Record(self._sequence, now, Op.READ, error, offset_bytes, length_bytes))
        return Answer(error, data)

    def write(self, offset_bytes: int, data: bytes) -> Answer:
        """Write to the medium, all of `data` or nothing.

        Raises:
            MachineError: See `read`.
        """
        now, error = self._clock_ns(), 0
        fired = self._ask(MediumOp.WRITE, offset_bytes, len(data))
        if fired:
            error = fired.errno
        elif offset_bytes + len(data) > self.size_bytes:
            error = errno.ENOSPC
        else:
            error, _ = self._on_medium(lambda: self._write_all(offset_bytes, data))
        self._record(
            Record(self._sequence, now, Op.WRITE, error, offset_bytes, len(data), bytes(data))
        )
        return Answer(error)

    def flush(self) -> Answer:
        """Bring all written data to the medium's file system.

        Raises:
            MachineError: See `read`.
        """
        now = self._clock_ns()
        error, _ = self._on_medium(self._sync)
        self._record(Record(self._sequence, now, Op.FLUSH, error, 0, 0))
        return Answer(error)

    def _ask(self, op: MediumOp, offset_bytes: int, length_bytes: int) -> MediumEffect | None:
        if length_bytes <= 0:
            return None
        lba = offset_bytes // BLOCK_BYTES
        end = -(-(offset_bytes + length_bytes) // BLOCK_BYTES)
        access = MediumAccess(op, lba, end - lba)
        fired = self.injector.ask(access)
        if fired is None:
            return None
        self._on_fault(FaultReport(fired, access, self._sequence))
        return fired.effect

    def _on_medium(self, do: Callable[[], bytes]) -> tuple[int, bytes]:
        try:
            return 0, do()
        except OSError as error:  # a real error of the disk below: it, too, is an answer
            return error.errno or errno.EIO, b""

    def _write_all(self, offset_bytes: int, data: bytes) -> bytes:
        done = os.pwrite(self._medium, data, offset_bytes)
        if done != len(data):
            raise OSError(errno.ENOSPC, "short write")
        return b""

    def _sync(self) -> bytes:
        os.fdatasync(self._medium)
        return b""

    def _record(self, record: Record) -> None:
        header = encode_header(record)
        try:
            done = os.writev(self._journal, [header, record.payload])
        except OSError as error:
            raise MachineError(f"The journal cannot be written: {error.strerror}.") from error
        if done != len(header) + len(record.payload):
            raise MachineError("The journal cannot be written: its disk is full.")
        self._sequence += 1
        self.accesses[record.op] += 1


def _open_medium(path: Path, size_bytes: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with _deadline(LOCK_DEADLINE_S):
            fcntl.flock(fd, fcntl.LOCK_EX)
        present = os.fstat(fd).st_size
        if present not in (0, size_bytes):
            raise UserError(
                f"Medium '{path}' has {present} bytes, not {size_bytes}.",
                hint="Remove it, or ask for the size it has.",
            )
        os.ftruncate(fd, size_bytes)
    except TimeoutError as error:
        os.close(fd)
        raise UserError(
            f"Medium '{path}' is in use by another store.", hint="Stop that one first."
        ) from error
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End a blocking system call with TimeoutError; for the main thread."""

    def expired(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _next_sequence(journal: int) -> tuple[int, list[Damage]]:
    """Where to go on in a journal, and what in it is no record."""
    reader, position, sequence = JournalReader(), 0, 0
    damages: list[Damage] = []
    while True:
        piece = os.pread(journal, _PIECE_BYTES, position)
        position += len(piece)
        for item in reader.feed(piece) if piece else reader.finish():
            if isinstance(item, Damage):
                damages.append(item)
            else:
                sequence = item.sequence + 1
        if not piece:
            return sequence, damages
