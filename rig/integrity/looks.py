"""What a second look is asked for, and what it tells: between the station and a machine.  Pure."""

from __future__ import annotations

import msgspec

from rig.integrity.scan import Run


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """Sectors to be read again.

    Attributes:
        file_id: As their stamps carry it.
        path: Of the file, on the machine that mounted it.
        sector: First one, in the file.
        count: How many.
        lba: Where the first one lies on the disk; None if that is not known.
    """

    file_id: int
    path: str
    sector: int
    count: int
    lba: int | None


class Wish(msgspec.Struct, frozen=True):
    """All that is to be read again.

    Attributes:
        disk: The node of the whole disk; empty: the raw disk is not read.
        wanted: What of it.
    """

    disk: str
    wanted: list[Wanted]


class FileLook(msgspec.Struct, frozen=True, array_like=True):
    """What was read again of one file, by its sectors; neighbours of what was wanted, too."""

    file_id: int
    runs: list[Run]


class SecondLook(msgspec.Struct, frozen=True):
    """What was read again.

    Attributes:
        files: Through the file system, after caches were dropped.
        disk: From the raw disk, by LBA.
    """

    files: list[FileLook]
    disk: list[Run]
