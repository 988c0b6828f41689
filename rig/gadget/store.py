"""The medium behind the gadget's LUN: a sparse file, its journal, and its faults.

No FUSE here: `rig.gadget.fusefs` serves a `Store` to the kernel.  An access first meets the
fault plan, then the medium, then the journal, and is answered last.  The journal has a write as it
arrived, and what was done to it; so the data that the medium should hold is never lost
(`rig.gadget.rebuild`).
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from rig.errors import UserError
from rig.faults.rules.medium import (
    VOLATILE_KINDS,
    MediumAccess,
    MediumFault,
    MediumKind,
    MediumOp,
)
from rig.faults.triggers import MediumInjector
from rig.gadget.answers import Answer, FaultReport, Hold
from rig.gadget.journal import Damage, Injected, Op, Record
from rig.gadget.journal_file import JournalFile
from rig.gadget.medium_effects import AS_ASKED, Deed, deed_of, flipped, stored
from rig.gadget.medium_file import open_medium, write_all
from rig.gadget.write_cache import BLOCK_BYTES, WriteCache


class Store:
    """One medium of a fixed size.

    Args:
        medium: The backing file; made, sparse, if there is none.
        journal: The journal; a former one is continued.
        size_bytes: A multiple of `BLOCK_BYTES`.
        injector: Of the medium layer.
        on_fault: Told of every injected fault, before the access is answered.
        clock_ns: Unix time in nanoseconds.
        volatile_cache: Keep a write cache that a power cut empties, even if no rule needs one.

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
        volatile_cache: bool = False,
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
        self._medium = open_medium(medium, size_bytes)
        self._journal = JournalFile(journal)
        self._cache: WriteCache | None = None
        if volatile_cache or any(needs_cache(rule) for rule in injector.rules):
            self.use_cache()
        if self._journal.unflushed_bytes:
            # A former store that was killed has lost it, whatever this one's plan says of caches.
            self._lose(self._journal.unflushed_bytes)

    def close(self) -> None:
        """Let go of the files; the medium may then be opened by another store.

        An end in order is no power cut: what the volatile cache holds is written out before.
        """
        if self._cache is not None and self._cache.dirty_bytes:
            self._flush(AS_ASKED, self._clock_ns())
        os.close(self._medium)
        self._journal.close()

    @property
    def sequence(self) -> int:
        """The number of the next access."""
        return self._journal.sequence

    @property
    def journal_damage(self) -> list[Damage]:
        """What in a former journal is no record."""
        return self._journal.damage

    @property
    def cached_bytes(self) -> int | None:
        """How much a power cut would cost; None without a volatile cache."""
        return None if self._cache is None else self._cache.dirty_bytes

    def use_cache(self) -> None:
        """Keep a volatile cache from now on."""
        if self._cache is None:
            self._cache = WriteCache(self._read_medium, self._write_medium)

    def power_cut(self) -> int:
        """Lose what was not flushed.

        Returns:
            How many bytes are lost.

        Raises:
            MachineError: See `read`.
        """
        return self._lose(0 if self._cache is None else self._cache.drop())

    def pass_time(self) -> float:
        """Do what the plan wants by the clock alone.

        Returns:
            When to call this again, by the injector's clock; infinity: not before its rules or its
            phase change.

        Raises:
            MachineError: See `read`.
        """
        for fired in self.injector.due():
            sequence, lost = self.sequence, self.power_cut()
            self._on_fault(FaultReport(fired, None, sequence, Deed(value=lost)))
        due_s = self.injector.next_due_s()
        return math.inf if due_s is None else due_s

    def read(self, offset_bytes: int, length_bytes: int) -> Answer:
        """Read from the medium.

        Raises:
            MachineError: The journal cannot be written: nothing more may be answered.
        """
        now = self._clock_ns()
        deed, hold = self._meet(MediumOp.READ, offset_bytes, length_bytes)
        error, data = deed.error, b""
        if not error:
            wanted = max(0, min(length_bytes, self.size_bytes - offset_bytes))
            error, data = _tried(lambda: self._fetch(deed, offset_bytes, wanted))
        self._record(
            Op.READ, now, deed, error, offset_bytes=offset_bytes, length_bytes=length_bytes
        )
        return Answer(error, data, hold)

    def write(self, offset_bytes: int, data: bytes) -> Answer:
        """Write to the medium, all of `data` or nothing, unless a fault says otherwise.

        Raises:
            MachineError: See `read`.
        """
        now = self._clock_ns()
        if offset_bytes + len(data) > self.size_bytes:
            deed, hold = Deed(error=errno.ENOSPC), None
        else:
            deed, hold = self._meet(MediumOp.WRITE, offset_bytes, len(data))
        place, part = stored(deed.injected, deed.value, offset_bytes, data)
        error = deed.error
        if part and (not error or deed.injected is Injected.TORN):
            failed, _ = _tried(lambda: self._put(place, part))
            error = error or failed
        self._record(
            Op.WRITE,
            now,
            deed,
            error,
            offset_bytes=offset_bytes,
            length_bytes=len(data),
            payload=data,
        )
        return Answer(error, hold=hold)

    def flush(self) -> Answer:
        """Bring all written data to the medium's file system.

        Raises:
            MachineError: See `read`.
        """
        now = self._clock_ns()
        deed, hold = self._meet(MediumOp.FLUSH, 0, 0)
        return Answer(self._flush(deed, now), hold=hold)

    def _lose(self, lost_bytes: int) -> int:
        self._record(Op.POWER_CUT, self._clock_ns(), Deed(value=lost_bytes), 0)
        return lost_bytes

    def _flush(self, deed: Deed, now_ns: int) -> int:
        error = deed.error
        if not error and deed.injected is not Injected.LIED:
            error, _ = _tried(self._sync)
        self._record(Op.FLUSH, now_ns, deed, error)
        return error

    def _meet(self, op: MediumOp, offset_bytes: int, length_bytes: int) -> tuple[Deed, Hold | None]:
        """Ask the fault plan about an access."""
        if op is not MediumOp.FLUSH and length_bytes <= 0:
            return AS_ASKED, None
        lba = offset_bytes // BLOCK_BYTES
        end = -(-(offset_bytes + length_bytes) // BLOCK_BYTES)
        access = MediumAccess(op, lba, end - lba)
        fired = self.injector.ask(access)
        if fired is None:
            return AS_ASKED, None
        effect = fired.effect
        if effect.kind is MediumKind.POWER_CUT:
            self.power_cut()
        deed = deed_of(effect, offset_bytes, length_bytes, self.size_bytes)
        self._on_fault(FaultReport(fired, access, self.sequence, deed))
        if not deed.hold_s:
            return deed, None
        hangs = effect.kind is MediumKind.HANG
        return deed, Hold(deed.hold_s, hangs, fired.rule_name, self.sequence)

    def _fetch(self, deed: Deed, offset_bytes: int, length_bytes: int) -> bytes:
        match deed.injected:
            case Injected.STALE:
                return self._journal.before(offset_bytes, length_bytes, deed.value)
            case Injected.MISDIRECTED:
                return self._get(deed.value, length_bytes)
            case Injected.FLIPPED:
                return flipped(self._get(offset_bytes, length_bytes), deed.value)
        return self._get(offset_bytes, length_bytes)

    def _get(self, offset_bytes: int, length_bytes: int) -> bytes:
        read = self._read_medium if self._cache is None else self._cache.read
        return read(offset_bytes, length_bytes)

    def _put(self, offset_bytes: int, data: bytes) -> bytes:
        write = self._write_medium if self._cache is None else self._cache.write
        write(offset_bytes, data)
        return b""

    def _read_medium(self, offset_bytes: int, length_bytes: int) -> bytes:
        return os.pread(self._medium, length_bytes, offset_bytes)

    def _write_medium(self, offset_bytes: int, data: bytes) -> None:
        write_all(self._medium, offset_bytes, data)

    def _sync(self) -> bytes:
        if self._cache is not None:
            self._cache.flush()
        os.fdatasync(self._medium)
        return b""

    def _record(
        self,
        op: Op,
        time_ns: int,
        deed: Deed,
        error: int,
        *,
        offset_bytes: int = 0,
        length_bytes: int = 0,
        payload: bytes = b"",
    ) -> None:
        self._journal.append(
            Record(
                self.sequence,
                time_ns,
                op,
                error,
                offset_bytes,
                length_bytes,
                payload,
                deed.injected,
                deed.value,
                self._cache is not None,
            )
        )
        self.accesses[op] += 1


def needs_cache(rule: object) -> bool:
    """Whether a rule's effect shows only where there is a volatile cache."""
    return isinstance(rule, MediumFault) and rule.kind in VOLATILE_KINDS


def _tried(do: Callable[[], bytes]) -> tuple[int, bytes]:
    try:
        return 0, do()
    except OSError as error:  # a real error of the disk below: it, too, is an answer
        return error.errno or errno.EIO, b""
