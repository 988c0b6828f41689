"""What every workload is: its settings, its files, and what is asked of it.  An edge.

What fails while it writes is told and counted by its pen, and never an exception of its caller's.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec

from rig.errors import MachineError, UserError
from rig.integrity.extents import file_extents
from rig.integrity.filemap import FileMap, MappedFile
from rig.integrity.filesystems import FileSystem
from rig.integrity.ledger import Event
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.pen import Outcome, Pen, Stopped
from rig.integrity.workloads.table import PAGE_BYTES, Access, Order

Part = tuple[int, int | None]
"""Sectors of a file that a workload writes: the first, and how many; None for all to the end."""
WHOLE: Part = (0, None)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to write.

    Attributes:
        run_id: For the stamps.
        seed: Of the choice of blocks, and of their order.
        first_file_id: The files are numbered from here; never 0.
        files: How many files.
        bytes_total: All files together.
        block_bytes: One write call; whole pages, for a page's rest would be zeros that no write
            call made.
        flush_bytes: One flush per so many.
        passes: 1: write only; each further one overwrites.
        attempts: How often a write is tried before it is given up.
        writer: For the stamps.
        again: A further pass overwrites one block of so many.
        order: Of the first pass.
        access: How bytes get into the files.
        first_block: Where in the file the first block is; for the raw device.
    """

    run_id: int
    seed: int
    first_file_id: int = 1
    files: int = 4
    bytes_total: int = 16 << 20
    block_bytes: int = 16 << 10
    flush_bytes: int = 1 << 20
    passes: int = 2
    attempts: int = 5
    writer: int = 0
    again: int = 4
    order: Order = Order.ASCENDING
    access: Access = Access.CACHED
    first_block: int = 0

    @property
    def blocks_each(self) -> int:
        """Blocks of one file."""
        return self.bytes_total // self.files // self.block_bytes

    @property
    def bytes_of_file(self) -> int:
        """The length of one file."""
        return self.blocks_each * self.block_bytes

    @property
    def block_sectors(self) -> int:
        """Sectors of one block."""
        return self.block_bytes // SECTOR_BYTES

    @property
    def ids(self) -> range:
        """The ids of the files."""
        return range(self.first_file_id, self.first_file_id + self.files)

    def validate(self) -> None:
        """Refuse what cannot be written.

        Raises:
            UserError: A number is out of its range.
        """
        if min(self.files, self.passes, self.attempts, self.first_file_id, self.again) < 1:
            raise UserError("Files, passes, attempts and the first file's id must be 1 or more.")
        if self.block_bytes < 1 or self.block_bytes % PAGE_BYTES:
            raise UserError(f"A block of {self.block_bytes} bytes is not whole pages of 4096.")
        if self.blocks_each < 1 or self.bytes_total % (self.files * self.block_bytes):
            raise UserError(
                f"{self.bytes_total} bytes do not divide into {self.files} files of whole "
                f"blocks of {self.block_bytes} bytes."
            )


class Writing(ABC):
    """One workload on one file system.

    Args:
        settings: What to write.
        row: The file system's properties.
        directory: Where it is mounted; of the raw device its node.
        start_lba: Where its partition begins.
        tell: Receives batches of ledger events, one at a time; starts of writes before they begin.
        progress: Receives bytes done and bytes in all, likewise.

    Attributes:
        paths: Its files, by id.
        known: Where they lie, as far as it was asked already.
        part: What it writes of each.

    Raises:
        UserError: The settings are impossible.
    """

    file_name: ClassVar[str] = "stamped"
    """What its files are called, before their id."""
    moves: ClassVar[bool] = False
    """Whether it gives files new places, even where the file system does not."""

    def __init__(
        self,
        settings: Settings,
        *,
        row: FileSystem,
        directory: Path,
        start_lba: int,
        tell: Callable[[list[Event]], None],
        progress: Callable[[int, int], None],
    ) -> None:
        settings.validate()
        self._settings = settings
        self._row = row
        self._start_lba = start_lba
        self._directory = directory
        self._progress = progress
        self.paths = {number: directory / f"{self.file_name}-{number}" for number in settings.ids}
        self.known: list[MappedFile] = []
        self.part = WHOLE
        self._pen = Pen(settings.run_id, tell)

    def run(self) -> Outcome:
        """Write everything; files that could not be created are why it stopped."""
        return self._run(self._settings.passes, os.O_CREAT | os.O_TRUNC)

    def run_again(self) -> Outcome:
        """Write everything once more, where it is by now.

        After a run that was cut short by a disk that went away and came back.
        """
        self._pen.begin_anew()
        self.known = []
        return self._run(1, os.O_CREAT)

    def mapped(self) -> list[MappedFile]:
        """Say where the files lie; one that is not there lies nowhere.

        Raises:
            MachineError: The file system cannot tell.
            OSError: A file cannot be opened or asked.
        """
        there = {number: path for number, path in self.paths.items() if path.exists()}
        self.known = map_files(there, self._row, self._start_lba, moves=self.moves)
        return self.known

    def _run(self, passes: int, create: int) -> Outcome:
        stopped = ""
        try:
            self._write_passes(passes, create)
        except Stopped as reason:
            stopped = str(reason)
        return self._pen.outcome(self.paths, stopped)

    @abstractmethod
    def _write_passes(self, passes: int, create: int) -> None:
        """Write.

        Args:
            passes: How often.
            create: How files are opened that are not there, for `os.open`.

        Raises:
            Stopped: There is no sense in going on.
        """

    def _learn_places(self) -> None:
        """Map the files.  If that fails, stamps go without LBAs: the oracle has its own map."""
        try:
            self._pen.map = FileMap(self.mapped())
        except (OSError, MachineError):
            self._pen.map = FileMap([])


def sync_directory(directory: Path) -> None:
    """Confirm the names in a directory.

    Raises:
        OSError: The kernel cannot say that they are safe.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def map_files(
    paths: dict[int, Path], row: FileSystem, start_lba: int, *, moves: bool = False
) -> list[MappedFile]:
    """Ask the file system where files lie.

    Args:
        paths: By file id.
        row: The file system's properties.
        start_lba: Where its partition begins.
        moves: The workload gives files new places, even where the file system does not.

    Raises:
        MachineError: It cannot tell.
        OSError: A file cannot be opened or asked.
    """
    mapped = []
    for number, path in paths.items():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            extents = file_extents(descriptor, start_lba)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        in_place = row.in_place and not moves
        mapped.append(MappedFile(number, str(path), size, in_place, extents))
    return mapped
