"""Makes the workload that a row of the table names.  An edge, on the machine that mounted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rig.integrity.filesystems import FileSystem
from rig.integrity.ledger import Event
from rig.integrity.workloads.blocks import Blocks
from rig.integrity.workloads.replace import TruncateRename
from rig.integrity.workloads.small import SmallFiles
from rig.integrity.workloads.table import Pattern
from rig.integrity.workloads.writers import Writers
from rig.integrity.workloads.writing import Settings, Writing

_MAKERS: dict[Pattern, Callable[..., Writing]] = {
    Pattern.BLOCKS: Blocks,
    Pattern.SMALL: SmallFiles,
    Pattern.REPLACE: TruncateRename,
    Pattern.WRITERS: Writers,
}


def make_workload(
    pattern: Pattern,
    settings: Settings,
    *,
    row: FileSystem,
    directory: Path,
    start_lba: int,
    tell: Callable[[list[Event]], None],
    progress: Callable[[int, int], None],
) -> Writing:
    """Make a workload.

    Args:
        pattern: Which code writes it.
        settings: What to write.
        row: The file system's properties.
        directory: Where it is mounted; of the raw device its node.
        start_lba: Where its partition begins.
        tell: Receives batches of ledger events; the starts of writes before they begin.
        progress: Receives bytes done and bytes in all.

    Raises:
        UserError: The settings are impossible.
    """
    return _MAKERS[pattern](
        settings,
        row=row,
        directory=directory,
        start_lba=start_lba,
        tell=tell,
        progress=progress,
    )
