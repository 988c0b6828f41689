"""Runs *on a machine*, sent there as text: one request to a disk, and what its kernel made of it.

Standard library only: it starts under emulation, isolated and without `site`.  It is spoken to in
the manner of `rig.daemon`:

* ``begin {}``: forget what was seen so far;
* ``end {}``: returns what has been seen since: ``records``, an entry for each event of usbmon (the
  fields of `rig.experiments.fidelity.monitor.Record`, in their order), ``lines`` of the kernel's
  log, and ``lost``, how many events of usbmon did not fit into its memory;
* ``write {node, offset, bytes, number}``, ``read {node, offset, bytes, numbers}``: one request
  with O_DIRECT; returns ``errno`` (its name, or ""), ``taken_s``, and for a read ``number``, which
  of the patterns it has brought (-1 for none of them);
* ``patience {node, seconds}``: how long SCSI waits for a command (``device/timeout`` in sysfs).

usbmon's binary interface is Documentation/usb/usbmon.rst.  With read(2) an event is 48 octets
(``PKT_SZ_API0`` in ``drivers/usb/mon/mon_bin.c``) and the captured data.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import struct
import sys
import time

BUS = "/dev/usbmon0"
"""All buses."""
LOG = "/dev/kmsg"

EVENT = struct.Struct("<QBBBBHbbqiiII8s")
STATISTICS = struct.Struct("<II")  # struct mon_bin_stats: queued, dropped
MON_IOCG_STATS = 0x80089203  # _IOR(0x92, 3, struct mon_bin_stats)

HEAD_BYTES = 31
"""So much of the data is told: a command block wrapper (BOT §5.1)."""


def pattern(number: int, count: int) -> bytes:
    """Return so many octets that only this number has."""
    return (number.to_bytes(8, "big") * (count // 8 + 1))[:count]


def decode(event: bytes) -> list[object]:
    """Return an event of usbmon as the fields of ``Record``."""
    (tag, kind, transfer, endpoint, device, bus, no_setup, _, s, us, status, length, _, setup) = (
        EVENT.unpack_from(event)
    )
    has_setup = transfer == 2 and no_setup == 0  # control; the flag is 0 where SETUP is there
    head = setup if has_setup else event[EVENT.size : EVENT.size + HEAD_BYTES]
    at_us = s * 1000000 + us
    return [tag, chr(kind), transfer, endpoint, bus, device, status, length, at_us, head.hex()]


def words(record: bytes) -> str:
    """Return the message of a record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg)."""
    head, _, text = record.decode("utf-8", "replace").partition(";")
    return text.partition("\n")[0] if head else ""


class Watch:
    """What the kernel says meanwhile."""

    def __init__(self) -> None:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        self._bus = os.open(BUS, flags)
        self._log = os.open(LOG, flags)

    def begin(self) -> None:
        """Forget what was seen so far."""
        self._drain(self._bus)
        self._lost()
        os.lseek(self._log, 0, os.SEEK_END)

    def end(self) -> dict[str, object]:
        """Return what was seen since; see the module."""
        return {
            "records": [decode(event) for event in self._drain(self._bus)],
            "lines": [words(record) for record in self._drain(self._log)],
            "lost": self._lost(),
        }

    def _drain(self, fd: int) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(os.read(fd, 65536))
            except BlockingIOError:
                return found
            except BrokenPipeError:  # records of the log that are gone already
                continue

    def _lost(self) -> int:
        told = fcntl.ioctl(self._bus, MON_IOCG_STATS, bytes(STATISTICS.size))
        return int(STATISTICS.unpack(told)[1])


def request(node: str, offset: int, page: mmap.mmap, *, write: bool) -> dict[str, object]:
    """Write a page to a disk, or read it, past all caches."""
    began = time.monotonic()
    name = ""
    try:
        fd = os.open(node, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        try:
            count = (os.pwritev if write else os.preadv)(fd, [page], offset)
            name = "" if count == len(page) else f"{count} octets"
        finally:
            os.close(fd)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error))
    return {"errno": name, "taken_s": round(time.monotonic() - began, 3)}


def obey(command: dict[str, object], watch: Watch) -> object:
    """Carry out a command; see the module.

    Raises:
        OSError: The machine lacks what it needs.
    """
    do, args = command["do"], command
    if do == "begin":
        watch.begin()
        return None
    if do == "end":
        return watch.end()
    node = str(args["node"])
    if do == "patience":
        path = f"/sys/class/block/{os.path.basename(node)}/device/timeout"  # noqa: PTH119
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs its import
            file.write(str(args["seconds"]))
        return None
    size, offset = int(str(args["bytes"])), int(str(args["offset"]))
    page = mmap.mmap(-1, size)
    if do == "write":
        page[:] = pattern(int(str(args["number"])), size)
        return request(node, offset, page, write=True)
    told = request(node, offset, page, write=False)
    numbers: list[int] = args["numbers"]  # type: ignore[assignment] # as it was sent
    got = page[:]
    told["number"] = next((n for n in numbers if got == pattern(n, size)), -1)
    return told


def tell(event: str, **fields: object) -> None:
    """Tell the station."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Obey until the input ends."""
    watch = Watch()
    tell("ready")
    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = obey(command, watch)
        except OSError as error:
            tell("reply", id=command["id"], ok=False, error=str(error))
        else:
            tell("reply", id=command["id"], ok=True, result=result)


if __name__ == "__main__":
    main()
