"""``rig journal``: say what a medium's journal holds, or make the medium anew from it.

It is a command for a machine, because the journal lies where the store runs; it reads one that was
fetched from there as well.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from rig.arguments import ArgumentParser
from rig.errors import MachineError, UserError
from rig.gadget.journal import Damage, Op, Record, read_journal
from rig.gadget.journal_words import HEADING, Filter, fields_of, line_of, sentence_of
from rig.gadget.rebuild import Rebuilder

_PIECE_BYTES = 1 << 20


def show(found: Iterator[Record | Damage], wanted: Filter, *, as_json: bool) -> None:
    """Print what is wanted; damage always is."""
    out = sys.stdout
    if not as_json:
        out.write(HEADING + "\n")
    for item in found:
        if isinstance(item, Record) and not wanted.wants(item):
            continue
        if as_json:
            out.write(msgspec.json.encode(fields_of(item)).decode() + "\n")
        else:
            out.write((line_of(item) if isinstance(item, Record) else sentence_of(item)) + "\n")


def rebuild(
    found: Iterator[Record | Damage],
    out: Path,
    *,
    as_stored: bool,
    until: int | None,
    size_bytes: int | None,
) -> int:
    """Write a medium anew.

    Args:
        found: A whole journal.
        out: The new file.
        as_stored: With what faults made of it.
        until: The number of the last access that counts; None: all.
        size_bytes: Of the medium; None: as far as any access went.

    Returns:
        The size of the new medium.

    Raises:
        UserError: There is such a file already.
        MachineError: Records are missing in the middle of the journal.
    """
    damaged: Damage | None = None
    try:
        fd = os.open(out, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise UserError(f"There is a file '{out}' already.", hint="Name another.") from error
    except OSError as error:
        raise UserError(f"The file '{out}' cannot be made: {error.strerror}.") from error
    try:
        rebuilder = Rebuilder(
            lambda offset, length: os.pread(fd, length, offset).ljust(length, b"\0"),
            lambda offset, data: os.pwrite(fd, data, offset),
            as_stored=as_stored,
        )
        for item in found:
            if isinstance(item, Damage):
                damaged = item if not item.torn_tail else damaged
            elif until is None or item.sequence <= until:
                rebuilder.take(item)
        size = max(size_bytes or 0, rebuilder.end_bytes)
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
    if damaged is not None:
        raise MachineError(sentence_of(damaged), hint=f"'{out}' lacks what was written then.")
    return size


def parse_lbas(text: str) -> tuple[int, int]:
    """First and last of ``2048`` or ``2048-4095``.

    Raises:
        UserError: It is neither.
    """
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise UserError(
            f"'{text}' is no range of LBAs.", hint="Give one, or first and last: 2048-4095."
        )
    return int(first), int(last) if dash else int(first)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_PIECE_BYTES), b"")


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="rig journal", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path, help="journal.bin in the gadget's directory")
    parser.add_argument("--lba", metavar="FIRST[-LAST]", help="only accesses that touch one")
    parser.add_argument("--op", choices=[op.name.lower() for op in Op])
    parser.add_argument("--faulted", action="store_true", help="only those that a fault befell")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--rebuild", type=Path, metavar="OUT", help="write the medium anew to OUT")
    parser.add_argument(
        "--as-stored", action="store_true", help="with what faults made of it (default: pristine)"
    )
    parser.add_argument(
        "--until", type=int, metavar="NUMBER", help="of the last access that counts"
    )
    parser.add_argument("--size-bytes", type=int, help="of the medium (default: as far as used)")
    return parser


def main(argv: list[str]) -> int:
    """Run ``rig journal``.

    Raises:
        UserError: The file cannot be read, or what is asked for contradicts itself.
        MachineError: A rebuilt medium lacks what a damaged journal lost.
    """
    options = _parser().parse_args(argv)
    wanted = Filter(
        parse_lbas(options.lba) if options.lba else None,
        Op[options.op.upper()] if options.op else None,
        options.faulted,
    )
    if options.rebuild and wanted != Filter():
        raise UserError("A medium is rebuilt from all records: '--rebuild' takes no filter.")
    try:
        file = options.file.open("rb")
    except OSError as error:
        raise UserError(f"The file '{options.file}' cannot be read: {error.strerror}.") from error
    with file:
        found = read_journal(_pieces(file))
        if options.rebuild:
            size = rebuild(
                found,
                options.rebuild,
                as_stored=options.as_stored,
                until=options.until,
                size_bytes=options.size_bytes,
            )
            kind = "as it was stored" if options.as_stored else "pristine"
            print(f"{options.rebuild}: {size} bytes, {kind}")
        else:
            show(found, wanted, as_json=options.json)
    return 0
