"""Stamps by the column: many sectors of many writes at once, as `rig.integrity.stamp` makes them.

The octets are the same, and so is what a scan says of them; tests hold both side by side.  What
differs is the cost: sector by sector, Python is quick as long as each continues the one before it,
and slow where each belongs to another write.  Here all cost alike (``python -m
rig.integrity.stamp_speed``).

The CRC of 56 bytes is linear over the bits: that of zeros, with what each byte adds at its
place.  So it needs a table a place, and one look-up a byte (R. N. Williams, "A painless guide to
CRC error detection algorithms", 1993, on the linearity).

Pure, and only where there is numpy; machines do without.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import repeat
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from rig.errors import ApiViolationError
from rig.integrity import stamp as layout
from rig.integrity.scan import Run, Scanner
from rig.integrity.stamp import SECTOR_BYTES, UNKNOWN_LBA, SectorKind, Stamp

_HEAD_BYTES = 56
_SECTOR = np.dtype(
    [
        ("magic", "V8"),
        ("version", "<u2"),
        ("zero", "<u2"),
        ("writer", "<u4"),
        ("run_id", "<u8"),
        ("sequence", "<u8"),
        ("file_id", "<u4"),
        ("generation", "<u4"),
        ("offset", "<u8"),
        ("lba", "<u8"),
        ("crc", "<u4"),
        ("filler", f"V{layout.FILLER_BYTES}"),
        ("tail_magic", "V4"),
        ("offset_again", "<u8"),
        ("lba_again", "<u8"),
        ("generation_again", "<u4"),
        ("crc_again", "<u4"),
    ]
)
_FIELDS = Stamp.__struct_fields__
_SHARED = ("writer", "run_id", "sequence", "file_id", "generation")
"""What consecutive sectors of one write have in common."""
_FILLERS = np.ndarray((layout.KEY_MASK + 1,), _SECTOR["filler"], layout.TABLE, strides=(1,))
_CHUNK_SECTORS = 1024
"""So many sectors, twice, fit into a processor's second cache."""

Columns = dict[str, NDArray[np.uint64]]
"""Of each field of `rig.integrity.stamp.Stamp` one value a sector."""


@cache
def _crc_tables() -> tuple[NDArray[np.uint32], np.uint32]:
    """What each byte at each place adds to the CRC of 56 zeros; and that CRC."""
    zeros = crc32(bytes(_HEAD_BYTES))
    tables = np.empty((_HEAD_BYTES, 256), np.uint32)
    for place in range(_HEAD_BYTES):
        before, behind = bytes(place), bytes(_HEAD_BYTES - place - 1)
        tables[place] = [crc32(before + bytes([byte]) + behind) ^ zeros for byte in range(256)]
    return tables, np.uint32(zeros)


def columns_of(runs: Sequence[tuple[Stamp, int]]) -> Columns:
    """Lay out runs of stamps, given by their first one and their length, sector by sector."""
    counts = np.array([count for _, count in runs], np.int64)
    rows = np.repeat(np.arange(len(runs)), counts)
    inside = (np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]).astype(np.uint64)
    found = {
        name: np.array([getattr(first, name) for first, _ in runs], np.uint64)[rows]
        for name in _FIELDS
    }
    found["offset"] += inside * np.uint64(SECTOR_BYTES)
    known = found["lba"] != np.uint64(UNKNOWN_LBA)
    found["lba"][known] += inside[known]
    return found


def encode(columns: Columns) -> bytearray:
    """Make sectors.

    Args:
        columns: Their fields.

    Returns:
        512 bytes a sector, in order.
    """
    made = bytearray(len(columns["lba"]) * SECTOR_BYTES)
    encode_into(made, columns)
    return made


def encode_into(buffer: bytearray | memoryview, columns: Columns) -> None:
    """Make sectors in a buffer, which is cheaper than a new one each time.

    Args:
        buffer: 512 bytes a sector.
        columns: Their fields.

    Raises:
        ApiViolationError: The buffer is of another size.
    """
    if len(buffer) != len(columns["lba"]) * SECTOR_BYTES:
        count = len(columns["lba"])
        raise ApiViolationError(f"A buffer of {len(buffer)} bytes is none for {count} sectors.")
    sectors = np.frombuffer(buffer, _SECTOR)
    for start in range(0, len(sectors), _CHUNK_SECTORS):
        part = slice(start, start + _CHUNK_SECTORS)
        chunk = sectors[part]
        for name in _FIELDS:
            chunk[name] = columns[name][part]
        _complete(chunk)


def scan(data: bytes | memoryview, first_sector: int) -> list[Run]:
    """Observe ``data``, whose first byte lies at ``first_sector``: as `rig.integrity.scan.scan`.

    Raises:
        ApiViolationError: They are no whole sectors.
    """
    if len(data) % SECTOR_BYTES:
        raise ApiViolationError(f"A scan was fed {len(data)} bytes, no whole sectors.")
    if not data:
        return []
    sectors = np.frombuffer(data, _SECTOR)
    whole = np.empty(len(sectors), np.bool_)
    follows = np.zeros(len(sectors), np.bool_)
    for start in range(0, len(sectors), _CHUNK_SECTORS):
        part = slice(start, start + _CHUNK_SECTORS)
        whole[part] = _are_whole(sectors[part])
        ahead = slice(max(start - 1, 0), start + _CHUNK_SECTORS)
        follows[ahead.start + 1 : ahead.stop] = _follow(sectors[ahead])
    follows[1:] &= whole[1:] & whole[:-1]
    return _runs(data, sectors, whole, follows, first_sector)


def _are_whole(seen: NDArray[np.void]) -> NDArray[np.bool_]:
    """Make the sectors again from their own fields, and compare every byte."""
    made = np.empty(len(seen), _SECTOR)
    for name in _FIELDS:
        made[name] = seen[name]
    _complete(made)
    words = (len(seen), SECTOR_BYTES // 8)
    alike = made.view(np.uint64).reshape(words) == seen.view(np.uint64).reshape(words)
    found: NDArray[np.bool_] = alike.all(axis=1)
    return found


def _complete(sectors: NDArray[np.void]) -> None:
    """Fill in all that a stamp's fields determine."""
    sectors["magic"] = np.void(layout.MAGIC)
    sectors["version"] = layout.VERSION
    sectors["zero"] = 0
    sectors["tail_magic"] = np.void(layout.TAIL_MAGIC)
    for name in ("offset", "lba", "generation"):
        sectors[f"{name}_again"] = sectors[name]
    crc = _crcs(sectors)
    sectors["crc"] = sectors["crc_again"] = crc
    sectors["filler"] = _FILLERS[crc & np.uint32(layout.KEY_MASK)]


def _crcs(sectors: NDArray[np.void]) -> NDArray[np.uint32]:
    """The CRCs of the sectors' heads."""
    tables, zeros = _crc_tables()
    found = np.full(len(sectors), zeros, np.uint32)
    octets = sectors.view(np.uint8).reshape(len(sectors), SECTOR_BYTES)[:, :_HEAD_BYTES]
    for place, column in enumerate(np.ascontiguousarray(octets.T)):
        if (column == column[0]).all():  # most bytes of a write's sectors are the same
            found ^= tables[place, column[0]]
        else:
            found ^= tables[place].take(column)
    return found


def _follow(sectors: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which of the sectors but the first would continue the one before, if both are whole."""
    before, behind = sectors[:-1], sectors[1:]
    # Nothing lies behind the last offset or the last address.
    offset, lba = before["offset"], before["lba"]
    unknown = lba == np.uint64(UNKNOWN_LBA)
    found: NDArray[np.bool_] = behind["offset"] == offset + np.uint64(SECTOR_BYTES)
    found &= behind["offset"] > offset
    found &= behind["lba"] == np.where(unknown, lba, lba + np.uint64(1))
    for name in _SHARED:
        found &= before[name] == behind[name]
    return found


def _runs(
    data: bytes | memoryview,
    sectors: NDArray[np.void],
    whole: NDArray[np.bool_],
    follows: NDArray[np.bool_],
    first_sector: int,
) -> list[Run]:
    """Cut sectors into runs: whole ones by their columns, all others one by one."""
    cuts = np.flatnonzero(~follows & (whole | np.append(True, whole[:-1])))
    counts = np.diff(np.append(cuts, len(sectors)))
    # Without a loop of ours: where each sector is another write's, this is what costs.
    stamps = map(Stamp, *(sectors[name][cuts].tolist() for name in _FIELDS))
    firsts = (cuts + first_sector).tolist()
    good = list(map(Run, firsts, counts.tolist(), repeat(SectorKind.STAMP), stamps))
    if whole[cuts].all():
        return good
    found: list[Run] = []
    for run, is_good in zip(good, whole[cuts].tolist(), strict=True):
        if is_good:
            found.append(run)
            continue
        start = (run.sector - first_sector) * SECTOR_BYTES
        scanner = Scanner(run.sector)
        scanner.feed(bytes(data[start : start + run.count * SECTOR_BYTES]))
        found += scanner.finish()
    return found
