"""The store's journal: every access of the medium, in order, as it arrived.

A journal is a sequence of records; each is a header of 60 bytes, little-endian, and for a write
the data that the gadget handed over, before any fault::

     0 +----------------------+----------------------+
       | magic "RIJ2"         | header_crc32     u32 |
     8 +----------------------+----------------------+
       | sequence                                u64 |
    16 +---------------------------------------------+
       | time_ns                                 u64 |
    24 +-----+-----+-----+----+----------------------+
       | op  | inj | vol | 0  | error            i32 |
    32 +-----+----------------+----------------------+
       | offset_bytes                            u64 |
    40 +----------------------+----------------------+
       | length_bytes     u32 | payload_bytes    u32 |
    48 +----------------------+----------------------+
       | payload_crc32    u32 | value            i64
    56 +----------------------+----------------------+
                              | payload ...
       +----------------------+

``inj`` says what an injected fault did (`Injected`) and ``value`` how much or where, so that both
the medium as it should be and the medium as it became can be made from a journal alone
(`rig.gadget.rebuild`).  ``vol`` is 1 for an access of a medium with a volatile cache.

The header's CRC covers everything behind it in the header.  A record goes to the file in one
system call, before the access is answered, so what was answered is in the journal however the
store ended; what it had begun may be torn.  The reader never skips such bytes silently.

Pure: `rig.gadget.store` writes the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import IntEnum

import msgspec

from rig.errors import ApiViolationError
from rig.faults.rules.medium import MAX_ACCESS_BYTES

MAGIC = b"RIJ2"
_PREFIX = struct.Struct("<4sI")
_FIELDS = struct.Struct("<QQBBBxiQIIIq")
HEADER_BYTES = _PREFIX.size + _FIELDS.size
MAX_PAYLOAD_BYTES = MAX_ACCESS_BYTES
"""No access is larger.  A larger number is damage."""


class Op(IntEnum):
    """What was done to the medium."""

    READ = 1
    WRITE = 2
    FLUSH = 3
    POWER_CUT = 4
    """No access: the volatile cache was lost.  `Record.value` says how many bytes."""


class Injected(IntEnum):
    """What an injected fault did to an access; in brackets what `Record.value` is then."""

    NONE = 0
    """Nothing."""
    ERROR = 1
    """It failed; the medium was not touched."""
    DELAY = 2
    """It was done, and answered late [milliseconds]."""
    HANG = 3
    """It was done, and answered when it was released, at the latest after [milliseconds]."""
    TORN = 4
    """So many bytes of a write were stored [bytes]."""
    LOST = 5
    """A write was not stored."""
    MISDIRECTED = 6
    """A write was stored, or a read was served, from elsewhere [offset in bytes]."""
    FLIPPED = 7
    """One bit of what was stored or read was turned over [number of the bit in the data]."""
    STALE = 8
    """A read was served with what was there before the last writes [how many of them]."""
    LIED = 9
    """A flush was answered, and nothing was flushed."""


_FURTHEST = 2**63 - 1
"""No file's offset is larger."""
_OPS = frozenset(Op)
_INJECTED = frozenset(Injected)


class Record(msgspec.Struct, frozen=True):
    """One access.

    Attributes:
        sequence: 0 for the first access of a journal, then gapless.
        time_ns: When it arrived, in nanoseconds of Unix time.
        op: What was asked for.
        error: 0, or the errno that it was answered with.
        offset_bytes: Where on the medium; 0 for a flush.
        length_bytes: How much was asked for; 0 for a flush.
        payload: A write's data as it arrived; else empty.
        injected: What an injected fault did to it.
        value: See `Injected`.
        volatile: The medium had a volatile cache: a write is safe only after a flush.
    """

    sequence: int
    time_ns: int
    op: Op
    error: int
    offset_bytes: int
    length_bytes: int
    payload: bytes = b""
    injected: Injected = Injected.NONE
    value: int = 0
    volatile: bool = False


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a journal that are no record.

    Attributes:
        position: Of the first such byte.
        length_bytes: How many until the next record, or the end.
        reason: One sentence.
        torn_tail: It is the beginning of a record that the journal's end cuts off: what a killed
            store leaves.  Everything before it is whole.
    """

    position: int
    length_bytes: int
    reason: str
    torn_tail: bool = False


def _problem_of_header(head: bytes) -> str:
    """Why these bytes are no record's header, nor the beginning of one; else empty."""
    if not head.startswith(MAGIC[: len(head)]):
        return "A record's magic is missing."
    if len(head) < HEADER_BYTES:
        return ""
    if _PREFIX.unpack_from(head)[1] != zlib.crc32(head[_PREFIX.size :]):
        return "A record's header fails its checksum."
    fields = _FIELDS.unpack_from(head, _PREFIX.size)
    _, _, op, injected, _, _, offset, length, payload_bytes, _, _ = fields
    known = op in _OPS and injected in _INJECTED
    if not known or payload_bytes > MAX_PAYLOAD_BYTES or offset + length > _FURTHEST:
        return "A record's header holds values that no store writes."
    return ""


def encode_header(record: Record) -> bytes:
    """The header of a record; its payload is to follow it immediately.

    Raises:
        ApiViolationError: The payload is longer than `MAX_PAYLOAD_BYTES`.
    """
    if len(record.payload) > MAX_PAYLOAD_BYTES:
        raise ApiViolationError(f"A journal record of {len(record.payload)} bytes is too long.")
    fields = _FIELDS.pack(
        record.sequence,
        record.time_ns,
        record.op,
        record.injected,
        record.volatile,
        record.error,
        record.offset_bytes,
        record.length_bytes,
        len(record.payload),
        zlib.crc32(record.payload),
        record.value,
    )
    return _PREFIX.pack(MAGIC, zlib.crc32(fields)) + fields


def encode(record: Record) -> bytes:
    """A whole record as it is in the file."""
    return encode_header(record) + record.payload


class JournalReader:
    """Turns a journal's bytes, in pieces of any size, into records and damages.

    Memory is bounded by one record and one piece, except that bytes which are no record are
    remembered by position and length only.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # position in the journal of the buffer's first byte
        self._last = -1  # the last record's sequence
        self._bad_from: int | None = None
        self._reason = ""
        self._cut_off = False  # the damage began as a record that the end cuts off

    def feed(self, data: bytes) -> list[Record | Damage]:
        """Take the next piece; return what is now complete."""
        self._buffer += data
        return self._drain(at_end=False)

    def finish(self) -> list[Record | Damage]:
        """Tell the reader that the journal ends here; return what was left, at most damage."""
        found = self._drain(at_end=True)
        self._start += len(self._buffer)
        self._buffer = bytearray()
        if self._bad_from is not None:
            found.append(self._damage(self._start, torn_tail=self._cut_off))
        return found

    def _drain(self, *, at_end: bool) -> list[Record | Damage]:
        found: list[Record | Damage] = []
        position = 0
        while position < len(self._buffer):
            step = self._parse(position)
            if isinstance(step, Record):
                if self._bad_from is not None:
                    found.append(self._damage(self._start + position, torn_tail=False))
                found.append(step)
                self._last = step.sequence
                position += HEADER_BYTES + len(step.payload)
                continue
            if not step and not at_end:
                break
            # At the end, too: what a killed store began may be followed by a later store's records.
            if self._bad_from is None:
                self._bad_from = self._start + position
                self._reason = step or "The journal ends within a record."
                self._cut_off = not step
            position = self._next_magic(position + 1)
        del self._buffer[:position]
        self._start += position
        return found

    def _parse(self, position: int) -> Record | str:
        """The record at a position of the buffer, why there is none, or "" for: need more."""
        head = bytes(self._buffer[position : position + HEADER_BYTES])
        problem = _problem_of_header(head)
        if problem or len(head) < HEADER_BYTES:
            return problem
        sequence, time_ns, op, injected, volatile, error, offset, length, size, crc, value = (
            _FIELDS.unpack_from(head, _PREFIX.size)
        )
        begin = position + HEADER_BYTES
        if begin + size > len(self._buffer):
            return ""
        payload = bytes(self._buffer[begin : begin + size])
        if zlib.crc32(payload) != crc:
            return "A record's payload fails its checksum."
        if self._bad_from is not None and sequence <= self._last:
            # Data on the medium may itself look like a journal.
            return "A record is older than the one before it."
        told = (Injected(injected), value, bool(volatile))
        return Record(sequence, time_ns, Op(op), error, offset, length, payload, *told)

    def _next_magic(self, position: int) -> int:
        """Where the next record may begin: a magic, or what may be the start of one."""
        found = self._buffer.find(MAGIC, position)
        if found >= 0:
            return found
        end = len(self._buffer)
        for size in range(len(MAGIC) - 1, 0, -1):
            if end - size >= position and self._buffer.endswith(MAGIC[:size]):
                return end - size
        return end

    def _damage(self, end: int, *, torn_tail: bool) -> Damage:
        assert self._bad_from is not None
        damage = Damage(self._bad_from, end - self._bad_from, self._reason, torn_tail)
        self._bad_from = None
        return damage


def read_journal(pieces: Iterable[bytes]) -> Iterator[Record | Damage]:
    """Read a whole journal, given in pieces of any size, in order."""
    reader = JournalReader()
    for piece in pieces:
        yield from reader.feed(piece)
    yield from reader.finish()
