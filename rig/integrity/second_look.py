"""``rig reread``: read again what looked wrong, by the same path and by another.

The file is read with O_DIRECT after caches were dropped, and the whole disk at the same LBAs, which
goes past the file system.  An edge, on the machine that mounted, as root.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rig.arguments import ArgumentParser
from rig.errors import UserError
from rig.integrity.looks import FileLook, SecondLook, Wish
from rig.integrity.readback import drop_caches, read_back
from rig.integrity.scan import Run


def look_again(wish: Wish) -> SecondLook:
    """Read again.

    Raises:
        OSError: A file or the disk cannot be opened, or read in a way that is no medium's fault.
    """
    drop_caches()
    files, disk = [], []
    for wanted in wish.wanted:
        path = Path(wanted.path)
        runs: list[Run] = []
        if path.exists():  # of one that is not there nothing can be read
            runs = read_back(path, wanted.sector, wanted.count)
        files.append(FileLook(wanted.file_id, runs))
        if wish.disk and wanted.lba is not None:
            disk += read_back(Path(wish.disk), wanted.lba, wanted.count)
    return SecondLook(files, disk)


def main(argv: Sequence[str]) -> int:
    """Run ``rig reread``: a wish on standard input, the answer on standard output, as JSON.

    Returns:
        The exit status.

    Raises:
        UserError: The wish is none, or something cannot be opened.
    """
    ArgumentParser(prog="rig reread", description=__doc__.splitlines()[0]).parse_args(argv)
    try:
        wish = msgspec.json.decode(sys.stdin.buffer.read(), type=Wish)
    except msgspec.DecodeError as error:
        raise UserError(
            f"Standard input holds no wish: {error}.",
            hint='It must be {"disk": NODE, "wanted": [[FILE_ID, PATH, SECTOR, COUNT, LBA], ...]}.',
        ) from error
    try:
        look = look_again(wish)
    except OSError as error:
        raise UserError(f"'{error.filename}' cannot be read again: {error.strerror}.") from error
    sys.stdout.buffer.write(msgspec.json.encode(look) + b"\n")
    return 0
