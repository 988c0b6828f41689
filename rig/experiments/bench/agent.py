"""Runs *on a machine*, sent there as text: times requests to disks, one at a time, past all caches.

Standard library only, and little of it: it starts under emulation, isolated and without `site`.
It is spoken to in the manner of `rig.daemon`, and knows two commands:

* ``open {node}``: returns the disk's size in octets;
* ``time {node, write, request_bytes, offsets}``: reads or writes so many octets at each offset;
  returns ``taken_us``, how long each request took in microseconds, and ``commands``, how many SCSI
  commands the kernel made of all of them.

Disks are opened with O_DIRECT (open(2)): neither the page cache nor read-ahead takes part.

All disks of a machine are measured from and into the same memory, a huge page: a command ends where
the host controller's driver takes no further piece of memory (``max_segments``, 32 for vhci_hcd),
so single pages, scattered anew for each sample, would make commands of other sizes each time.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
import time

HUGE_BYTES = 1 << 21
"""A huge page of x86, and the largest request."""

_open: dict[str, int] = {}


def open_disk(node: str) -> int:
    """Open a disk for `time_requests`; return its size in octets."""
    if node not in _open:
        _open[node] = os.open(node, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    return os.lseek(_open[node], 0, os.SEEK_END)


def commands(node: str) -> int:
    """Return how many SCSI reads and writes a disk has completed (``Documentation/block/stat``)."""
    path = f"/sys/class/block/{node.rpartition('/')[2]}/stat"
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs its import
        fields = file.read().split()
    return int(fields[0]) + int(fields[4])


def huge_page() -> memoryview:
    """Return `HUGE_BYTES` of memory that are one piece, if the kernel has such a piece."""
    memory = mmap.mmap(-1, 2 * HUGE_BYTES)
    memory.madvise(mmap.MADV_HUGEPAGE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % HUGE_BYTES
    page = memoryview(memory)[start : start + HUGE_BYTES]
    page[:] = bytes(HUGE_BYTES)  # the first touch makes it what it is
    return page


def time_requests(
    fd: int, memory: memoryview, *, write: bool, request_bytes: int, offsets: list[int]
) -> list[int]:
    """Read or write at each offset; return how long each request took, in microseconds.

    Raises:
        OSError: The disk fails, or ends before a request does.
    """
    carry = os.pwritev if write else os.preadv
    clock = time.monotonic_ns
    buffer = memory[:request_bytes]
    taken = []
    for offset in offsets:
        start = clock()
        count = carry(fd, [buffer], offset)
        taken.append((clock() - start) // 1000)
        if count != request_bytes:
            raise OSError(0, f"{count} octets instead of {request_bytes} at {offset}")
    return taken


def obey(command: dict[str, object], memory: memoryview) -> object:
    """Carry out a command; see the module.

    Raises:
        OSError: The disk fails.
        KeyError: Something is missing, or the disk was not opened.
    """
    args = {name: value for name, value in command.items() if name not in {"id", "do"}}
    node = str(args.pop("node"))
    if command["do"] == "open":
        return open_disk(node)
    before = commands(node)
    taken = time_requests(_open[node], memory, **args)  # type: ignore[arg-type] # as it was sent
    return {"taken_us": taken, "commands": commands(node) - before}


def tell(event: str, **fields: object) -> None:
    """Tell the station."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Obey until the input ends."""
    memory = huge_page()
    tell("ready")
    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = obey(command, memory)
        except OSError as error:
            tell("reply", id=command["id"], ok=False, error=str(error))
        else:
            tell("reply", id=command["id"], ok=True, result=result)


if __name__ == "__main__":
    main()
