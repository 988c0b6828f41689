"""The workloads that there are: one row each.  Data, and the look-up.

Pure, and light: the machine that writes imports it, too.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rig.errors import UserError

PAGE_BYTES = 4096
USUAL = "usual"
LIST = "list"
"""Asks for the table instead of a run."""


class Pattern(StrEnum):
    """What kind of code writes it."""

    BLOCKS = "blocks"
    """Blocks of few files: `rig.integrity.workloads.blocks`."""
    SMALL = "small"
    """Many files of one block: `rig.integrity.workloads.small`."""
    REPLACE = "replace"
    """Files that are cut, grown and replaced: `rig.integrity.workloads.replace`."""
    WRITERS = "writers"
    """Several threads at once: `rig.integrity.workloads.writers`."""


class Access(StrEnum):
    """How bytes get into a file."""

    CACHED = "cached"
    """write(2) through the page cache, confirmed by fsync."""
    MMAP = "mmap"
    """Stores into a shared mapping, confirmed by msync."""
    DIRECT = "direct"
    """write(2) with O_DIRECT, past the page cache, confirmed by fsync."""


class Order(StrEnum):
    """In which order the first pass writes the blocks of a file."""

    ASCENDING = "ascending"
    RANDOM = "random"


class Kind(msgspec.Struct, frozen=True):
    """One workload.

    Attributes:
        name: On the command line.
        sentence: What it does.
        pattern: Which code writes it.
        files: How many files.
        block_bytes: One write call; less where little is written.
        flush_bytes: One fsync, or msync, per so many.
        divisor: It writes this part of what a run writes on each file system.
        passes: 1: write only; each further one overwrites.
        again: A further pass overwrites one block of so many.
        order: Of the first pass.
        access: How bytes get into the files.
    """

    name: str
    sentence: str
    pattern: Pattern = Pattern.BLOCKS
    files: int = 2
    block_bytes: int = 1 << 20
    flush_bytes: int = 4 << 20
    divisor: int = 1
    passes: int = 1
    again: int = 4
    order: Order = Order.ASCENDING
    access: Access = Access.CACHED

    @property
    def on_raw_device(self) -> bool:
        """Whether it needs no files."""
        return self.pattern is Pattern.BLOCKS and self.access is Access.CACHED

    def sizes(self, bytes_each: int, *, raw: bool = False) -> dict[str, int]:
        """What it writes, as the settings of `rig.integrity.workloads.writing` name it.

        Args:
            bytes_each: What a run writes on each file system.
            raw: It goes to the disk itself, which is one file.
        """
        files = 1 if raw else self.files
        block = _pages(min(self.block_bytes, bytes_each // 16))
        unit = files * block
        wish = max(bytes_each // self.divisor, min(unit, bytes_each))
        total = wish // unit * unit or wish
        flush = self.flush_bytes if self.flush_bytes > self.block_bytes else block
        return {"bytes_total": total, "files": files, "block_bytes": block, "flush_bytes": flush}


def _pages(size_bytes: int) -> int:
    return max(PAGE_BYTES, size_bytes // PAGE_BYTES * PAGE_BYTES)


_ROWS = (
    Kind(
        USUAL,
        "Two files from end to end, an fsync every 4 MiB; then a random quarter of each again.",
        passes=2,
    ),
    Kind("sequential", "Two files from end to end in calls of 1 MiB, an fsync every 4 MiB."),
    Kind(
        "random",
        "Blocks of 64 KiB of two files in random order, an fsync every 1 MiB.",
        block_bytes=64 << 10,
        flush_bytes=1 << 20,
        divisor=2,
        order=Order.RANDOM,
    ),
    Kind(
        "overwrite",
        "Two files, each block of them written four times over, in another random order each time.",
        block_bytes=256 << 10,
        flush_bytes=1 << 20,
        divisor=4,
        passes=4,
        again=1,
    ),
    Kind(
        "small-files",
        "Many files of 4 KiB, made by sixteens: fsync of each, then of their directory.",
        pattern=Pattern.SMALL,
        files=64,
        block_bytes=4096,
        divisor=64,
        passes=2,
    ),
    Kind(
        "fsync-heavy",
        "Two files in calls of 16 KiB, and an fsync after every one of them.",
        block_bytes=16 << 10,
        flush_bytes=16 << 10,
        divisor=8,
        passes=2,
    ),
    Kind(
        "mmap",
        "Two files through shared mappings, an msync every 1 MiB; then a random quarter again.",
        block_bytes=256 << 10,
        flush_bytes=1 << 20,
        divisor=2,
        passes=2,
        access=Access.MMAP,
    ),
    Kind(
        "truncate-rename",
        "Files are replaced by rename, cut to their half, and grown again, with fsync of file and"
        " directory behind each step.",
        pattern=Pattern.REPLACE,
        files=4,
        block_bytes=64 << 10,
        divisor=8,
        passes=3,
    ),
    Kind(
        "writers",
        "Four writers at once: a file of each, and one that they share, each with its own fsync.",
        pattern=Pattern.WRITERS,
        files=5,
        block_bytes=64 << 10,
        flush_bytes=512 << 10,
        divisor=2,
        passes=2,
    ),
)

WORKLOADS = {row.name: row for row in _ROWS}


def workload(name: str) -> Kind:
    """Look a workload up.

    Raises:
        UserError: The name is not in the table.
    """
    if name not in WORKLOADS:
        raise UserError(
            f"The workload {name!r} is not known.",
            hint=f"Known are {', '.join(WORKLOADS)}; '--workload {LIST}' says what they do.",
        )
    return WORKLOADS[name]


def described() -> str:
    """Return the table for people: a name and a sentence a line."""
    width = max(map(len, WORKLOADS))
    return "\n".join(f"{row.name:<{width}}  {row.sentence}" for row in _ROWS)
