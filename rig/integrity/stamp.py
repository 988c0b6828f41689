"""The stamp: 512 bytes that say where they belong, and which write put them there.

A stamped sector is a function of its fields alone, so it is checked by making it again and
comparing all 512 bytes: no byte can differ unseen.  Little-endian::

    0    8   magic "RIGSTAMP"
    8    2   version (1)
    10   2   zero
    12   4   writer
    16   8   run_id
    24   8   sequence
    32   4   file_id
    36   4   generation
    40   8   offset, in bytes, in the file
    48   8   lba of the whole disk; 2**64-1: not known when written
    56   4   CRC-32 (zlib's) of bytes 0 to 55
    60   424 filler: TABLE[k:k+424], k = the CRC's low 16 bits
    484  4   tail's magic "PMTS"
    488  8   offset again
    496  8   lba again
    504  4   generation again
    508  4   the CRC again

TABLE is the high halves of Knuth's MMIX generator, started at 0 (see `_table`).  Head and tail each
name their stamp, and the filler between them shows by position where one ends and the other begins:
a tear inside a sector is seen, and located.

Pure: no I/O, clock or randomness.  Fast, because machines run it in plain Python under emulation.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from zlib import crc32

import msgspec

SECTOR_BYTES = 512
UNKNOWN_LBA = 2**64 - 1
"""The LBA of a stamp whose writer did not know where its bytes would lie."""
RAW_DEVICE = 0
"""The file_id of the raw disk."""

MAGIC = b"RIGSTAMP"
TAIL_MAGIC = b"PMTS"
VERSION = 1
ZERO_SECTOR = bytes(SECTOR_BYTES)


def _table(size_bytes: int) -> bytes:
    """Bytes without a pattern, the same everywhere.

    Not from hashlib: that loads OpenSSL, which costs more than the rest of a daemon's start under
    emulation.  D. E. Knuth, MMIXware (1999): the linear congruential generator modulo 2**64.
    """
    words, state = [], 0
    for _ in range(size_bytes // 4):
        state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        words.append(state >> 32)
    return struct.pack(f"<{len(words)}I", *words)


_PREFIX = struct.Struct("<8sHHIQQII")
_PLACE = struct.Struct("<QQ")
_SECTOR = struct.Struct("<40s16sI424s4s16sII")
_FILLER_AT, _TAIL_AT, FILLER_BYTES = 60, 484, 424
KEY_MASK = 0xFFFF
TABLE = _table(KEY_MASK + 1 + FILLER_BYTES)
_FEW_BITS = 8
"""Fewer wrong bits than this are a flip, not another sector's bytes."""
_WITNESS_BYTES = 8
"""So many bytes of the table do not come about by chance."""


class SectorKind(StrEnum):
    """What one sector looks like, before anybody asks what it should be."""

    STAMP = "stamp"
    ZERO = "zero"
    TORN = "torn"
    """Parts of two stamps, or of a stamp and of something else."""
    CORRUPT = "corrupt"
    """A stamp with wrong bits."""
    FOREIGN = "foreign"
    """Neither zero nor anything of ours."""
    UNREADABLE = "unreadable"
    """The read ended in an error.  Never the answer of `decode`."""


class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a stamped sector says.

    Attributes:
        run_id: Of the run that wrote it (u64).
        file_id: Of the file (u32); `RAW_DEVICE` is the disk itself.
        offset: Where in the file, in bytes (u64).
        lba: Where on the whole disk (u64), or `UNKNOWN_LBA`.
        generation: Grows with every rewrite (u32).
        writer: Which writer, if there are several (u32).
        sequence: Number of the write call (u64).
    """

    run_id: int
    file_id: int
    offset: int
    lba: int
    generation: int
    writer: int
    sequence: int

    def advanced(self, sectors: int) -> Stamp:
        """The stamp of the sector that lies ``sectors`` further on in the same write."""
        if not sectors:
            return self
        lba = self.lba if self.lba == UNKNOWN_LBA else self.lba + sectors
        return Stamp(
            self.run_id,
            self.file_id,
            self.offset + sectors * SECTOR_BYTES,
            lba,
            self.generation,
            self.writer,
            self.sequence,
        )


class Damage(msgspec.Struct, frozen=True):
    """A sector that is no whole stamp.

    Attributes:
        kind: Any but ``stamp`` and ``unreadable``.
        head: The stamp that its first bytes name, if they still can.
        note: What was seen, in words, for a finding's sentence.
    """

    kind: SectorKind
    head: Stamp | None = None
    note: str = ""


def encode(stamp: Stamp) -> bytes:
    """Make the 512 bytes of one sector."""
    return encode_run(stamp, 1)


def encode_run(first: Stamp, count: int) -> bytes:
    """Make ``count`` consecutive sectors of one write.

    Args:
        first: Of the first sector; offset and a known LBA grow with each further one.
        count: How many sectors.

    Returns:
        ``count * 512`` bytes.
    """
    prefix, seed = _prefix(first)
    generation, offset, lba = first.generation, first.offset, first.lba
    step = 0 if lba == UNKNOWN_LBA else 1
    # Local names: this loop writes every byte of a workload, on emulated processors.
    place_of, sector_of, table = _PLACE.pack, _SECTOR.pack, TABLE
    sectors = []
    for _ in range(count):
        place = place_of(offset, lba)
        crc = crc32(place, seed)
        key = crc & KEY_MASK
        filler = table[key : key + FILLER_BYTES]
        sectors.append(sector_of(prefix, place, crc, filler, TAIL_MAGIC, place, generation, crc))
        offset += SECTOR_BYTES
        lba += step
    return b"".join(sectors)


def count_run(first: Stamp, data: bytes, start: int) -> int:
    """Count the sectors of ``data``, from byte ``start`` on, that are ``first`` and its followers.

    Returns:
        How many whole sectors match, to the first that does not.
    """
    prefix, seed = _prefix(first)
    generation, offset, lba = first.generation, first.offset, first.lba
    step = 0 if lba == UNKNOWN_LBA else 1
    place_of, sector_of, table = _PLACE.pack, _SECTOR.pack, TABLE
    at = start
    for at in range(start, len(data), SECTOR_BYTES):
        if lba > UNKNOWN_LBA or offset > UNKNOWN_LBA:  # nothing lies behind the last address
            return (at - start) // SECTOR_BYTES
        place = place_of(offset, lba)
        crc = crc32(place, seed)
        key = crc & KEY_MASK
        filler = table[key : key + FILLER_BYTES]
        sector = sector_of(prefix, place, crc, filler, TAIL_MAGIC, place, generation, crc)
        if sector != data[at : at + SECTOR_BYTES]:
            return (at - start) // SECTOR_BYTES
        offset += SECTOR_BYTES
        lba += step
    return (len(data) - start) // SECTOR_BYTES


def decode(sector: bytes) -> Stamp | Damage:
    """Read one sector.

    Args:
        sector: Exactly 512 bytes.

    Returns:
        The stamp, if every byte is right; else what is the matter.
    """
    if sector == ZERO_SECTOR:
        return Damage(SectorKind.ZERO)
    head = _head(sector)
    if head is not None:
        made = encode(head)
        return head if made == sector else _damaged_behind_head(head, made, sector)
    if _bits(sector[:8], MAGIC) < _FEW_BITS:
        return _damaged_head(sector)
    if _tail_stands(sector):
        return Damage(SectorKind.TORN, None, f"another's head, then {_tail_words(sector)}")
    return Damage(SectorKind.FOREIGN)


def _prefix(stamp: Stamp) -> tuple[bytes, int]:
    """The bytes that a write's sectors share, and their CRC to start from."""
    prefix = _PREFIX.pack(
        MAGIC,
        VERSION,
        0,
        stamp.writer,
        stamp.run_id,
        stamp.sequence,
        stamp.file_id,
        stamp.generation,
    )
    return prefix, crc32(prefix)


def _head(sector: bytes) -> Stamp | None:
    magic, version, zero, writer, run_id, sequence, file_id, generation = _PREFIX.unpack_from(
        sector
    )
    if magic != MAGIC or version != VERSION or zero != 0:
        return None
    if crc32(sector[:56]) != int.from_bytes(sector[56:60], "little"):
        return None
    offset, lba = _PLACE.unpack_from(sector, 40)
    return Stamp(run_id, file_id, offset, lba, generation, writer, sequence)


def _tail_stands(sector: bytes) -> bool:
    """Whether the last bytes are the end of a stamp, by their magic and by the filler's end."""
    key = int.from_bytes(sector[508:], "little") & KEY_MASK
    end = TABLE[key + FILLER_BYTES - _WITNESS_BYTES : key + FILLER_BYTES]
    return sector[_TAIL_AT:488] == TAIL_MAGIC and sector[_TAIL_AT - _WITNESS_BYTES : 484] == end


def _tail_words(sector: bytes) -> str:
    offset, lba = _PLACE.unpack_from(sector, 488)
    generation = int.from_bytes(sector[504:508], "little")
    place = "an unknown LBA" if lba == UNKNOWN_LBA else f"LBA {lba}"
    return f"the tail of generation {generation} for {place} (offset {offset})"


def _bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).bit_count()


def _damaged_behind_head(head: Stamp, made: bytes, sector: bytes) -> Damage:
    """Tell a tear from wrong bits, when the head is whole."""
    # As one number, since a medium may be damaged all over: its lowest set bit is the first byte.
    wrong = int.from_bytes(made, "little") ^ int.from_bytes(sector, "little")
    first, last = ((wrong & -wrong).bit_length() - 1) >> 3, (wrong.bit_length() - 1) >> 3
    where = f"wrong from byte {first} to {last}"
    if wrong.bit_count() < _FEW_BITS:
        return Damage(SectorKind.CORRUPT, head, where)
    if not any(sector[first:]):
        return Damage(SectorKind.TORN, head, f"zero from byte {first} on")
    if sector[508:] != made[508:] and _tail_stands(sector):
        return Damage(SectorKind.TORN, head, f"from byte {first} on {_tail_words(sector)}")
    # The bytes of a tear can agree by chance at its edges; its middle cannot.
    middle = max(first, (first + last - _WITNESS_BYTES) // 2)
    witness = sector[middle : min(middle + _WITNESS_BYTES, last + 1)]
    whole = len(witness) == _WITNESS_BYTES
    if whole and (not any(witness) or witness in TABLE):
        return Damage(SectorKind.TORN, head, f"another's filler from byte {first} to {last}")
    if first >= _TAIL_AT - _WITNESS_BYTES and sector[508:] != made[508:]:
        return Damage(SectorKind.TORN, head, f"another's tail from byte {first} on")
    return Damage(SectorKind.CORRUPT, head, where)


def _damaged_head(sector: bytes) -> Damage:
    """Tell a tear inside the head from wrong bits in it."""
    named = sector[40:56] + sector[36:40]
    again = sector[488:508]
    if _tail_stands(sector) and _bits(named, again) > 1:
        return Damage(SectorKind.TORN, None, f"a broken head, then {_tail_words(sector)}")
    return Damage(SectorKind.CORRUPT, None, "its head's CRC is wrong")
