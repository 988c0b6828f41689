"""How much a run can write: the back machine's disk holds the medium and all that came to it."""

from __future__ import annotations

from collections.abc import Sequence

from rig.errors import UserError
from rig.integrity.filesystems import MIB
from rig.integrity.workloads.table import Kind
from rig.lab.environment import SCRATCH_BYTES

KEPT_BYTES = 192 * MIB
"""For logs of URBs, and what the file systems write of their own."""


def most_mib(file_systems: int, kinds: Sequence[Kind]) -> int:
    """Return how many MiB each of the file systems can be given."""
    room = SCRATCH_BYTES - KEPT_BYTES
    return max(1, int(room / MIB / (file_systems * sum(map(_shares, kinds)))))


def check_room(mib: int, file_systems: int, kinds: Sequence[Kind]) -> None:
    """Refuse more than a run can write.

    Args:
        mib: Stamped data on each file system.
        file_systems: How many.
        kinds: What is written to each.

    Raises:
        UserError: It does not fit.
    """
    most = most_mib(file_systems, kinds)
    if mib <= most:
        return
    where = "the file system" if file_systems == 1 else f"each of {file_systems} file systems"
    raise UserError(
        f"{mib} MiB on {where} do not fit: the back machine's disk of {SCRATCH_BYTES // MIB} MiB"
        " holds the medium, and a journal of every write.",
        hint=f"Give --mib {most} at most, or fewer file systems or workloads.",
    )


def _shares(kind: Kind) -> float:
    """How often what a run writes is on that disk: once in the medium, and as often as written."""
    written = 1 + (kind.passes - 1) / kind.again
    return (1 + written) / kind.divisor
