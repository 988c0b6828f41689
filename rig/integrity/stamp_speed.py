"""``python -m rig.integrity.stamp_speed``: how fast this machine stamps and verifies, on one core.

Runs of several lengths, because consecutive sectors of one write cost less than sectors of many.
By the processor's time, so that a busy machine tells the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Final, NamedTuple

from rig.arguments import ArgumentParser
from rig.errors import UserError
from rig.integrity.scan import scan
from rig.integrity.stamp import Stamp, encode_run

PROGRAM: Final = "python -m rig.integrity.stamp_speed"
RUN_SECTORS: Final = (1, 8, 32, 2048)
"""Of one write: 512 bytes, 4 KiB, 16 KiB, 1 MiB."""
TOTAL_SECTORS: Final = 1 << 15
REPEATS: Final = 3

Runs = list[tuple[Stamp, int]]
Way = tuple[str, Callable[[], object], Callable[[], object]]
"""Its name, what stamps, and what verifies."""


class Speed(NamedTuple):
    """What was measured, in MB/s.

    Attributes:
        how: ``sectors`` or ``columns``.
        run_sectors: Consecutive sectors of one write.
        stamp_mb_s: Making them.
        verify_mb_s: Telling from the bytes alone what they are, every byte compared.
    """

    how: str
    run_sectors: int
    stamp_mb_s: float
    verify_mb_s: float


def measure(total_sectors: int = TOTAL_SECTORS, repeats: int = REPEATS) -> list[Speed]:
    """Measure all ways that this machine has.

    Args:
        total_sectors: So many are made and verified at a time; 2048 or more.
        repeats: The best of so many counts.
    """
    found = []
    for length in RUN_SECTORS:
        starts = range(0, total_sectors, length)
        runs = [(Stamp(1, 1, 512 * at, 2048 + at, 1, 0, at + 1), length) for at in starts]
        data = b"".join(encode_run(*run) for run in runs)
        ways = [_by_sector(runs, data)]
        if find_spec("numpy") is not None:
            ways.append(_by_column(runs, data))
        for how, stamping, verifying in ways:
            speeds = (_mb_s(len(data), work, repeats) for work in (stamping, verifying))
            found.append(Speed(how, length, *speeds))
    return found


def _by_sector(runs: Runs, data: bytes) -> Way:
    return "sectors", lambda: [encode_run(*run) for run in runs], lambda: scan(data, 2048)


def _by_column(runs: Runs, data: bytes) -> Way:
    from rig.integrity import bulk  # noqa: PLC0415 - only where there is numpy

    columns, buffer = bulk.columns_of(runs), bytearray(len(data))
    return (
        "columns",
        lambda: bulk.encode_into(buffer, columns),
        lambda: bulk.scan(data, 2048),
    )


def _mb_s(size_bytes: int, work: Callable[[], object], repeats: int) -> float:
    best_s = float("inf")
    for _ in range(repeats):
        started_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - started_s)
    return size_bytes / 1e6 / best_s


def main(argv: Sequence[str]) -> int:
    """Print what was measured.

    Returns:
        The exit status.

    Raises:
        UserError: The command line asks for what cannot be.
    """
    parser = ArgumentParser(
        prog=PROGRAM, description="Say how fast this machine stamps and verifies, on one core."
    )
    parser.add_argument(
        "--sectors",
        type=int,
        default=TOTAL_SECTORS,
        metavar="COUNT",
        help=f"made and verified at a time, {max(RUN_SECTORS)} or more; usual: {TOTAL_SECTORS}",
    )
    options = parser.parse_args(argv)
    if options.sectors < max(RUN_SECTORS):
        raise UserError(
            f"{options.sectors} sectors are too few: the longest write has {max(RUN_SECTORS)}.",
            hint=f"Give --sectors {max(RUN_SECTORS)} at least, or leave it out.",
        )
    print(f"{'how':8} {'sectors a write':>16} {'stamp MB/s':>11} {'verify MB/s':>12}")
    for speed in measure(options.sectors):
        print(
            f"{speed.how:8} {speed.run_sectors:16} "
            f"{speed.stamp_mb_s:11.0f} {speed.verify_mb_s:12.0f}"
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as wrong:
        sys.exit(f"{PROGRAM}: {wrong}")
