"""``rig journal``: say what a medium's journal holds, or make the medium anew from it.

It is a command for a machine, because the journal lies where the store runs; it reads one that was
fetched from there as well.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rig.arguments import ArgumentParser
from rig.errors import MachineError, UserError
from rig.faults.rules.base import BLOCK_BYTES, LAST_LBA, MOST_DISK_BYTES
from rig.faults.shown import cut
from rig.gadget.journal import Damage, Op, Record, read_journal
from rig.gadget.journal_words import HEADING, Filter, fields_of, line_of, sentence_of
from rig.gadget.rebuild import Rebuilder

_PIECE_BYTES = 1 << 20
_HINT = "Give the 'journal.bin' of a gadget's directory."
_OF_REBUILDING = ("as_stored", "until", "size_bytes")


def show(found: Iterator[Record | Damage], wanted: Filter, *, as_json: bool) -> None:
    """Print what is wanted; damage always is."""
    out = sys.stdout
    for number, item in enumerate(found):
        if not number and not as_json:
            out.write(HEADING + "\n")
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
    """Write a medium anew; a file that does not become one is not left.

    Args:
        found: A whole journal.
        out: The new file.
        as_stored: With what faults made of it.
        until: The number of the last access that counts; None: all.
        size_bytes: Of the medium; None: as far as any access went.

    Returns:
        The size of the new medium.

    Raises:
        UserError: There is such a file already, or the medium was larger than `size_bytes`.
        MachineError: Records are missing in the journal before `until`, or the file cannot be
            written.
    """
    try:
        fd = os.open(out, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise UserError(f"There is a file '{out}' already.", hint="Name another.") from error
    except OSError as error:
        raise UserError(f"The file '{out}' cannot be made: {error.strerror}.") from error
    try:
        end_bytes = _rebuild_into(fd, found, as_stored=as_stored, until=until)
        if size_bytes is not None and size_bytes < end_bytes:
            raise UserError(
                f"The medium had {end_bytes} bytes at least, not {size_bytes}.",
                hint="Give '--size-bytes' more, or leave it out.",
            )
        size = end_bytes if size_bytes is None else size_bytes
        os.ftruncate(fd, size)
    except OSError as error:
        out.unlink()
        raise MachineError(f"The file '{out}' cannot be written: {error.strerror}.") from error
    except BaseException:
        out.unlink()
        raise
    finally:
        os.close(fd)
    return size


def _rebuild_into(
    fd: int, found: Iterator[Record | Damage], *, as_stored: bool, until: int | None
) -> int:
    """Do all accesses up to one again; return where the furthest ended, in bytes."""
    rebuilder = Rebuilder(
        lambda offset, length: os.pread(fd, length, offset).ljust(length, b"\0"),
        lambda offset, data: _write(fd, offset, data),
        as_stored=as_stored,
    )
    last: int | None = None
    for item in found:
        if isinstance(item, Damage):
            if not item.torn_tail:
                hint = f"'--until {last}' makes it as it was before." if last is not None else ""
                raise MachineError(sentence_of(item), hint=hint)
            continue
        if until is not None and item.sequence > until:
            break
        rebuilder.take(item)
        last = item.sequence
    return rebuilder.end_bytes


def _write(fd: int, offset: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(fd, left, offset)
        left, offset = left[done:], offset + done


def parse_lbas(text: str) -> tuple[int, int]:
    """First and last of ``2048`` or ``2048-4095``.

    Raises:
        UserError: It is neither.
    """
    match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last <= LAST_LBA:
        raise UserError(
            f"'{cut(text)}' is no range of LBAs.",
            hint=f"Give one, or first and last, up to {LAST_LBA}: 2048-4095.",
        )
    return first, last


def parse_number(text: str) -> int:
    """The number of an access.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise argparse.ArgumentTypeError(f"'{cut(text)}' is no number of an access")
    return int(text)


def parse_size(text: str) -> int:
    """Bytes of a medium.

    Raises:
        argparse.ArgumentTypeError: It can be no medium's size.
    """
    size = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0
    if not BLOCK_BYTES <= size <= MOST_DISK_BYTES or size % BLOCK_BYTES:
        raise argparse.ArgumentTypeError(
            f"'{cut(text)}' is no multiple of {BLOCK_BYTES} from {BLOCK_BYTES} to {MOST_DISK_BYTES}"
        )
    return size


def read_file(path: Path) -> Iterator[Record | Damage]:
    """Read a journal's file; an empty one is the journal of a medium that nobody has touched.

    Raises:
        UserError: It cannot be read, or is no journal.
    """
    try:
        # Not to wait for the other end of a pipe.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise UserError(f"The file '{path}' cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UserError(f"'{path}' is no journal, for it is no regular file.", hint=_HINT)
    with os.fdopen(fd, "rb", buffering=0) as file:
        found = read_journal(iter(lambda: file.read(_PIECE_BYTES), b""))
        before: list[Record | Damage] = []
        for item in found:
            before.append(item)
            if isinstance(item, Record):
                break
        if before and all(isinstance(one, Damage) and not one.torn_tail for one in before):
            raise UserError(f"'{path}' is no journal: there is no record in it.", hint=_HINT)
        yield from before
        yield from found


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
        "--until", type=parse_number, metavar="NUMBER", help="of the last access that counts"
    )
    parser.add_argument(
        "--size-bytes", type=parse_size, metavar="N", help="of the medium (default: as far as used)"
    )
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
    for name in _OF_REBUILDING:
        if not options.rebuild and getattr(options, name) not in (None, False):
            option = name.replace("_", "-")
            raise UserError(f"'--{option}' is of no use without '--rebuild'.")
    found = read_file(options.file)
    if not options.rebuild:
        show(found, wanted, as_json=options.json)
        return 0
    size = rebuild(
        found,
        options.rebuild,
        as_stored=options.as_stored,
        until=options.until,
        size_bytes=options.size_bytes,
    )
    kind = "as it was stored" if options.as_stored else "pristine"
    print(f"{options.rebuild}: {size} bytes, {kind}")
    return 0
