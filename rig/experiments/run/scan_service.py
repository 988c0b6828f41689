"""``rig scan``: look at the medium and its journal where they lie, on the back machine.

The bytes stay there; what goes to the station are observations: which stamps lie where, and what
each write brought.  It joins the gadget's journal with the stamps' scanner, which do not know each
other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from rig.arguments import ArgumentParser
from rig.errors import UserError
from rig.gadget.journal import HEADER_BYTES, Damage, Injected, Op, Record, read_journal
from rig.integrity.scan import Run, Scanner, scan
from rig.integrity.stamp import SECTOR_BYTES

_CHUNK_BYTES = 1 << 20
_Number = Annotated[int, msgspec.Meta(ge=0)]


class Access(msgspec.Struct, frozen=True, omit_defaults=True):
    """One access of the medium, as one line of ``journal.jsonl``.

    Attributes:
        sequence: Its number in the journal.
        time_ns: When it arrived, nanoseconds of Unix time on the back machine.
        op: read, write, flush or power_cut.
        lba: First LBA.
        blocks: How many blocks of 512 bytes.
        error: The errno it was answered with, or 0.
        runs: What a write brought, by LBA.
        injected: What a fault did to it; empty for nothing.
        volatile: The medium had a cache that a power cut empties.
    """

    sequence: int
    time_ns: int
    op: str
    lba: int
    blocks: int
    error: int = 0
    runs: list[Run] = []
    injected: str = ""
    volatile: bool = False


class JournalDamage(msgspec.Struct, frozen=True):
    """Octets of the journal that are no record, as one line of ``journal.jsonl``."""

    damage: str
    position: int
    length_bytes: int
    torn_tail: bool


Line = Access | JournalDamage


def decode_lines(text: str) -> Iterator[Line]:
    """Read what ``rig scan journal`` wrote.

    Raises:
        msgspec.DecodeError: It is something else.
    """
    for line in text.splitlines():
        if line.startswith('{"damage"'):
            yield msgspec.json.decode(line, type=JournalDamage)
        else:
            yield msgspec.json.decode(line, type=Access)


class JournalEnd(msgspec.Struct, frozen=True, rename={"position": "end"}):
    """The last line of a part of a journal: where the next part begins."""

    position: int


def decode_part(text: str) -> tuple[str, list[Line], int]:
    """Read what ``rig scan journal --from`` wrote.

    Returns:
        The lines as text and as they are read, and where the next part begins.

    Raises:
        msgspec.DecodeError: It is something else.
    """
    body, _, last = text.rstrip("\n").rpartition("\n")
    body = f"{body}\n" if body else ""
    return body, list(decode_lines(body)), msgspec.json.decode(last, type=JournalEnd).position


def observe(found: Record | Damage) -> Line:
    """Return one record of the journal as a line, with its data turned into runs."""
    if isinstance(found, Damage):
        return JournalDamage(found.reason, found.position, found.length_bytes, found.torn_tail)
    lba = found.offset_bytes // SECTOR_BYTES
    whole = len(found.payload) - len(found.payload) % SECTOR_BYTES
    return Access(
        found.sequence,
        found.time_ns,
        Op(found.op).name.lower(),
        lba,
        found.length_bytes // SECTOR_BYTES,
        found.error,
        scan(found.payload[:whole], lba),
        "" if found.injected is Injected.NONE else found.injected.name.lower(),
        found.volatile,
    )


def scan_medium(medium: BinaryIO, ranges: list[tuple[int, int]]) -> list[Run]:
    """Return what lies on the medium in ranges of (LBA, count)."""
    runs: list[Run] = []
    for lba, count in ranges:
        scanner = Scanner(lba)
        medium.seek(lba * SECTOR_BYTES)
        left = count * SECTOR_BYTES
        while left and (data := medium.read(min(left, _CHUNK_BYTES))):
            scanner.feed(data)
            left -= len(data)
        runs += scanner.finish()
    return runs


def main(argv: list[str]) -> int:
    """Run ``rig scan``.

    Raises:
        UserError: A file cannot be read, or holds no ranges.
    """
    arguments = ArgumentParser(prog="rig scan", description=__doc__.splitlines()[0])
    kinds = arguments.add_subparsers(dest="kind", required=True)
    journal = kinds.add_parser("journal", help="one JSON line an access")
    journal.add_argument("file", type=Path)
    journal.add_argument(
        "--from", dest="first", type=int, help="octet to begin at; the last line says where it ends"
    )
    medium = kinds.add_parser("medium", help="one JSON list of runs")
    medium.add_argument("file", type=Path)
    medium.add_argument("--ranges", type=Path, required=True, help="JSON: [[LBA, COUNT], ...]")
    options = arguments.parse_args(argv)
    encoder = msgspec.json.Encoder()
    out = sys.stdout.buffer
    with _open(options.file) as file:
        if options.kind == "journal":
            end = first = file.seek(options.first or 0)
            pieces = iter(lambda: file.read(_CHUNK_BYTES), b"")
            for found in read_journal(pieces):
                end += _length(found)
                out.write(encoder.encode(_moved(observe(found), first)) + b"\n")
            if options.first is not None:
                out.write(encoder.encode(JournalEnd(end)) + b"\n")
        else:
            out.write(encoder.encode(scan_medium(file, _read_ranges(options.ranges))) + b"\n")
    return 0


def _length(found: Record | Damage) -> int:
    """How many octets of the journal it is; of a record that is being written, none yet."""
    if isinstance(found, Damage):
        return 0 if found.torn_tail else found.length_bytes
    return HEADER_BYTES + len(found.payload)


def _moved(line: Line, first: int) -> Line:
    """Count the position of a damage from the journal's beginning."""
    if isinstance(line, Access) or not first:
        return line
    return msgspec.structs.replace(line, position=first + line.position)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"The file '{path}' cannot be read: {error.strerror}.") from error


def _read_ranges(path: Path) -> list[tuple[int, int]]:
    with _open(path) as file:
        text = file.read()
    try:
        ranges = msgspec.json.decode(text, type=list[tuple[_Number, _Number]])
    except msgspec.DecodeError as error:
        raise UserError(
            f"The file '{path}' holds no ranges: {error}.", hint="It must be [[LBA, COUNT], ...]."
        ) from error
    return ranges
