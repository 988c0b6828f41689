"""What the commands of ``rig workload`` take, and its answer where the host would not do it.

The commands themselves are told in `rig.integrity.service`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from rig.errors import UserError
from rig.integrity.filemap import MappedFile
from rig.integrity.filesystems import MIB
from rig.integrity.workloads.table import Pattern

_Args = TypeVar("_Args", bound=msgspec.Struct)


class Prepare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``prepare``."""

    disk: str
    file_systems: list[str]
    bytes_each: int = 16 * MIB
    partition_bytes: int = 0


class OnFileSystem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of the commands that only name a file system."""

    fs: str


class Again(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``write_again``."""

    fs: str
    writing: int = -1


class OnDisk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``follow``."""

    disk: str


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of commands that take none."""


class WhichPattern(msgspec.Struct, frozen=True):
    """The part of ``write`` that says which code writes."""

    pattern: Pattern


class Refused(msgspec.Struct, frozen=True):
    """The host would not do what it was asked for.

    Attributes:
        refused: What it said, in words.
        known: Of ``map``: where the files lay when it was asked last, as far as that is known.
    """

    refused: str
    known: list[MappedFile] = []


def read_arguments(args: dict[str, Any], kind: type[_Args]) -> _Args:
    """Read a command's arguments.

    Args:
        args: As they came.
        kind: What they must be.

    Raises:
        UserError: A key is missing, unknown, or of a wrong type.
    """
    try:
        return msgspec.convert(args, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"The arguments are wrong: {error}.") from error
