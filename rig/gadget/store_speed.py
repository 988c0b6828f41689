"""How quick the store is: ``python3 -m rig.gadget.store_speed --directory DIRECTORY``.

It starts a store and uses its file as f_mass_storage does: 16 KiB at a time, one after the other,
past the page cache.  What it says holds for this machine as it is now: on an emulated one whose
station has other work, it says more of that.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from rig.arguments import ArgumentParser
from rig.errors import RigError, UserError
from rig.faults.load import load_plan
from rig.faults.rules.base import check_disk
from rig.faults.rules.medium import MediumFault
from rig.gadget import kernel
from rig.gadget.storage import Medium, Storage

ACCESS_BYTES = 16384
"""f_mass_storage's buffer (FSG_BUFLEN)."""
MIB = 1 << 20
MOST_MIB = 65536
"""What this much does not tell, no more does."""


class Speed(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        accesses: So many of each kind.
        write_mb_s: Megabytes (10**6 bytes) a second, written.
        read_mb_s: The same, read.
    """

    accesses: int
    write_mb_s: float
    read_mb_s: float


def measure(file: Path, size_bytes: int) -> Speed:
    """Write a file once, and read it once.

    Args:
        file: What the store serves.
        size_bytes: Of all, a multiple of `ACCESS_BYTES`.

    Raises:
        OSError: The store answers with an error.
    """
    data = os.urandom(ACCESS_BYTES)
    offsets = range(0, size_bytes, ACCESS_BYTES)
    fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(fd, data, 0)  # the first access of all pays for what is there later
        written_s = _seconds(lambda: [os.pwrite(fd, data, at) for at in offsets])
        read_s = _seconds(lambda: [os.pread(fd, ACCESS_BYTES, at) for at in offsets])
    finally:
        os.close(fd)
    return Speed(
        len(offsets), round(size_bytes / written_s / 1e6, 1), round(size_bytes / read_s / 1e6, 1)
    )


def _seconds(do: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    do()
    return time.perf_counter() - began_s


def main(argv: list[str] | None = None) -> int:
    """Measure, and print it as JSON.

    Returns:
        0, or 1 if writing was slower than asked for, 2 if what was asked cannot be, 3 if the store
        failed.
    """
    try:
        options = _parser().parse_args(argv)
        if options.plan is not None:
            check_disk(load_plan(options.plan).rules(MediumFault), options.mib * MIB)
        speed = _in_directory(options.directory, options.mib * MIB, options.plan)
        print(msgspec.json.encode(speed).decode(), flush=True)
    except BrokenPipeError:  # nobody is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (RigError, OSError) as error:
        print(f"rig: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 3
    return 0 if speed.write_mb_s >= options.at_least else 1


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="python3 -m rig.gadget.store_speed", description=(__doc__ or "").split(":")[0] + "."
    )
    parser.add_argument("--directory", type=Path, help="where (default: a new one in /var/tmp)")
    parser.add_argument(
        "--mib", type=parse_mib, default=16, metavar="N", help="how much (default: %(default)s)"
    )
    parser.add_argument("--plan", type=Path, help="with this fault plan")
    parser.add_argument("--at-least", type=parse_rate, default=0.0, metavar="MB_S", help="written")
    return parser


def parse_mib(text: str) -> int:
    """How much is to be written and read.

    Raises:
        argparse.ArgumentTypeError: It is nothing, or too much.
    """
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MOST_MIB:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {MOST_MIB}")
    return int(text)


def parse_rate(text: str) -> float:
    """A speed in megabytes a second.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of megabytes a second")
    return rate


def _in_directory(wish: Path | None, size_bytes: int, plan: Path | None) -> Speed:
    if not kernel.FUSE_DEVICE.exists():
        kernel.run_command(["modprobe", "fuse"])
    with ExitStack() as undo:
        place = wish or Path("/var/tmp")  # noqa: S108 - a name of its own is made there
        try:
            made = Path(tempfile.mkdtemp(dir=place))
        except OSError as error:
            raise UserError(
                f"No store can be made in {place}: {error.strerror}.",
                hint="Give --directory one that exists and can be written to.",
            ) from error
        undo.callback(shutil.rmtree, made)
        medium = Medium(made, size_bytes, plan)
        storage = Storage(medium, lambda _event: None)
        storage.prepare(undo)
        storage.start(undo)
        return measure(medium.backing_file, size_bytes)


if __name__ == "__main__":
    sys.exit(main())
