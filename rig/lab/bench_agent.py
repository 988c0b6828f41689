"""Runs *on a machine*, sent there as text: times requests to disks, one at a time, past all caches.

Standard library only, and little of it: it starts under emulation, isolated and without `site`.
It is spoken to in the manner of `rig.daemon`, and knows two commands:

* ``open {node}``: returns the disk's size, and how large a command its driver makes, in octets;
* ``time {node, write, request_bytes, offsets}``: reads or writes so many octets at each offset,
  and returns how long each request took, in microseconds.

Disks are opened with O_DIRECT (open(2)): neither the page cache nor read-ahead takes part.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time

SECTOR_BYTES = 512

_open: dict[str, int] = {}


def open_disk(node: str) -> dict[str, int]:
    """Open a disk for `time_requests`.

    Returns:
        ``bytes``: its size; ``command_bytes``: the most that one SCSI command carries
        (Documentation/ABI/stable/sysfs-block, ``max_sectors_kb``).
    """
    if node not in _open:
        _open[node] = os.open(node, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    block = f"/sys/class/block/{node.rpartition('/')[2]}"
    with open(f"{block}/size", encoding="ascii") as size:  # noqa: PTH123 - pathlib costs its import
        sectors = int(size.read())
    with open(f"{block}/queue/max_sectors_kb", encoding="ascii") as limit:  # noqa: PTH123
        kibibytes = int(limit.read())
    return {"bytes": sectors * SECTOR_BYTES, "command_bytes": kibibytes << 10}


def time_requests(fd: int, *, write: bool, request_bytes: int, offsets: list[int]) -> list[int]:
    """Read or write at each offset; return how long each request took, in microseconds.

    Raises:
        OSError: The disk fails, or ends before a request does.
    """
    carry = os.pwritev if write else os.preadv
    clock = time.monotonic_ns
    taken = []
    # Memory of mmap begins at a page, as O_DIRECT wants it.
    with mmap.mmap(-1, request_bytes) as buffer:
        for offset in offsets:
            start = clock()
            count = carry(fd, [buffer], offset)
            taken.append((clock() - start) // 1000)
            if count != request_bytes:
                raise OSError(0, f"{count} octets instead of {request_bytes} at {offset}")
    return taken


def obey(command: dict[str, object]) -> object:
    """Carry out a command; see the module.

    Raises:
        OSError: The disk fails.
        KeyError: Something is missing, or the disk was not opened.
    """
    args = {name: value for name, value in command.items() if name not in {"id", "do"}}
    node = str(args.pop("node"))
    if command["do"] == "open":
        return open_disk(node)
    return time_requests(_open[node], **args)  # type: ignore[arg-type] # as the station sends it


def tell(event: str, **fields: object) -> None:
    """Tell the station."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Obey until the input ends."""
    tell("ready")
    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = obey(command)
        except OSError as error:
            tell("reply", id=command["id"], ok=False, error=str(error))
        else:
            tell("reply", id=command["id"], ok=True, result=result)


if __name__ == "__main__":
    main()
