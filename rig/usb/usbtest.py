"""``rig usbtest``: the kernel's own test cases for host controllers, by the driver usbtest.

The driver does the work (``drivers/usb/misc/usbtest.c``); this asks it for one case after another
as ``tools/usb/testusb.c`` does, and says on standard output how each went, in a JSON line each.
Supervised (`rig.daemon`) it runs the cases that it is told to: after the event ``ready``, by
``run {case, times}``.

The device must be bound by usbtest already: ``rig gadget --function source-sink`` is one that it
knows (0525:a4a0, "Gadget Zero").
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from rig.arguments import ArgumentParser
from rig.daemon import Command, CommandLines, Events, start_logging
from rig.errors import RemoteProtocolError, UserError

PARAMETERS: Final = struct.Struct("=IIIIIii")
"""``struct usbtest_param_32``: test_num, iterations, length, vary, sglen; out come the duration's
seconds and microseconds."""

_VIA_DRIVER: Final = struct.Struct("@iIP")
"""``struct usbdevfs_ioctl``: ifno, ioctl_code, data."""

_READ_WRITE = 3


def _iowr(number: int, size: int) -> int:
    return _READ_WRITE << 30 | size << 16 | ord("U") << 8 | number


USBTEST_REQUEST: Final = _iowr(100, PARAMETERS.size)
USBDEVFS_IOCTL: Final = _iowr(18, _VIA_DRIVER.size)
"""Hands an ioctl to the driver that has bound an interface."""


class Case(msgspec.Struct, frozen=True):
    """One of usbtest's cases, and what it is to do.

    The sizes are such that emulation takes a second or two for a case through a split driver.
    What is read must come in whole packets of 1024 bytes or less: the source sends no short ones.

    Attributes:
        number: The kernel's.
        name: What it tests.
        iterations: How often.
        length_bytes: Of each transfer.
        vary_bytes: By so much the next transfer's length differs.
        queued: Transfers in one queue, or entries of one scatter-gather list.
    """

    number: int
    name: str
    iterations: int = 1
    length_bytes: int = 1024
    vary_bytes: int = 0
    queued: int = 0

    def parameters(self, times: int = 1) -> bytearray:
        """Return the argument of the ioctl; ``times`` multiplies the iterations."""
        return bytearray(
            PARAMETERS.pack(
                self.number,
                self.iterations * times,
                self.length_bytes,
                self.vary_bytes,
                self.queued,
                0,
                0,
            )
        )


CASES: Final = {
    case.number: case
    for case in (
        Case(0, "nothing"),
        Case(1, "bulk writes", 64, 4096),
        Case(2, "bulk reads", 64, 4096),
        Case(3, "bulk writes of any length", 64, 4096, vary_bytes=421),
        Case(4, "bulk reads of any length", 64, 4096, vary_bytes=1024),
        Case(5, "scatter-gather writes", 16, 4096, queued=32),
        Case(6, "scatter-gather reads", 16, 4096, queued=32),
        Case(7, "scatter-gather writes of any length", 16, 4096, vary_bytes=1024, queued=32),
        Case(8, "scatter-gather reads of any length", 16, 4096, vary_bytes=1024, queued=32),
        Case(9, "chapter 9 requests", 8),
        Case(10, "queued control transfers, some of which fail", 4, queued=32),
        Case(11, "reads that are unlinked", 50, 4096),
        Case(12, "writes that are unlinked", 50, 4096),
        Case(13, "endpoints halted and cleared", 8),
        Case(14, "control writes of any length", 48, 1024, vary_bytes=97),
        Case(17, "bulk writes from odd addresses", 32),
        Case(18, "bulk reads to odd addresses", 32),
        Case(19, "bulk writes from odd addresses, premapped", 32),
        Case(20, "bulk reads to odd addresses, premapped", 32),
        Case(21, "control writes from odd addresses", 48, 1024, vary_bytes=97),
        Case(24, "unlinks from queues of writes", 16, 4096, queued=32),
        Case(27, "queues of bulk writes", 16, 4096, queued=32),
        Case(28, "queues of bulk reads", 16, 4096, queued=32),
        Case(29, "data toggle after a cleared halt", 16),
    )
}
"""All cases but those of isochronous (15, 16, 22, 23) and interrupt endpoints (25, 26), which the
gadget's setting with bulk endpoints does not have."""


def perform(node: str, case: Case, times: int = 1) -> tuple[int, float]:
    """Have the kernel run one case; this returns when the case has ended.

    Args:
        node: ``/dev/bus/usb/BBB/DDD`` of a device whose interface 0 usbtest has bound.
        case: Which.
        times: So often as many iterations.

    Returns:
        0 or an errno, and the duration in s as the kernel took it (0 if it did not begin).
    """
    parameters = case.parameters(times)
    place = ctypes.addressof(ctypes.c_char.from_buffer(parameters))
    try:
        fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return error.errno or errno.EIO, 0.0
    number = 0
    try:
        fcntl.ioctl(fd, USBDEVFS_IOCTL, _VIA_DRIVER.pack(0, USBTEST_REQUEST, place))
    except OSError as error:
        number = error.errno or errno.EIO
    finally:
        os.close(fd)
    *_, seconds, microseconds = PARAMETERS.unpack(parameters)
    return number, seconds + microseconds / 1e6


def parse_cases(text: str | None) -> tuple[int, ...]:
    """Return the numbers of a list like ``0-14,24``; None for all.

    Raises:
        UserError: It is no such list, or names a case that `CASES` lacks.
    """
    if text is None:
        return tuple(CASES)
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            ends = int(first), int(last or first)
        except ValueError:
            ends = -1, -1
        found = [number for number in CASES if ends[0] <= number <= ends[1]]
        if not found or ends[1] > max(CASES):
            raise UserError(
                f"'{part}' names no test case of usbtest that can be run here.",
                hint=f"There are {', '.join(map(str, CASES))}; write a list like 0-14,24.",
            )
        numbers += found
    return tuple(dict.fromkeys(numbers))


def outcome(node: str, number: int, times: int) -> dict[str, object]:
    """Run one case; return what is told of it.

    Returns:
        ``case``, ``name``, ``status`` ("0" or an errno's name) and ``duration_s``.
    """
    status, duration_s = perform(node, CASES[number], times)
    # Cases 11 and 12 return the status of an URB that was unlinked as 1000 and more (unlink1).
    word = errno.errorcode.get(status % 1000, str(status)) if status else "0"
    return {
        "case": number,
        "name": CASES[number].name,
        "status": word,
        "duration_s": round(duration_s, 6),
    }


def run(node: str, numbers: Sequence[int], times: int, events: Events) -> int:
    """Run cases, telling of each; return how many did not pass."""
    failed = 0
    for number in numbers:
        told = outcome(node, number, times)
        events.emit("result", **told)
        failed += told["status"] != "0"
    return failed


def serve(node: str, events: Events, input_fd: int) -> None:
    """Run the cases that commands name, until the input ends."""

    def obey(command: Command) -> object:
        number, times = command.args.get("case"), command.args.get("times", 1)
        if command.do != "run" or number not in CASES or not isinstance(times, int):
            raise RemoteProtocolError("'rig usbtest' is told 'run' with a 'case' that it knows.")
        return outcome(node, number, times)

    lines = CommandLines()
    events.emit("ready", node=node)
    while data := os.read(input_fd, 1 << 16):
        for command in lines.feed(data):
            events.answer(command, obey)


def main(argv: list[str]) -> int:
    """Run ``rig usbtest``.

    Returns:
        0 if all cases passed or it was supervised, 1 if not.

    Raises:
        UserError: There is no such case or device.
        RemoteProtocolError: What came in is no command.
    """
    parser = ArgumentParser(
        prog="rig usbtest",
        description="Run the kernel's own test cases on a device that usbtest has bound.",
    )
    parser.add_argument("node", help="usbfs node of the device, /dev/bus/usb/BBB/DDD")
    parser.add_argument("--case", metavar="LIST", help="like 0-14,24 (default: all)")
    parser.add_argument("--times", type=int, default=1, help="multiplies each case's iterations")
    parser.add_argument("--supervised", action="store_true", help="run what a lab tells")
    options = parser.parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer)
    numbers = parse_cases(options.case)
    if options.times < 1:
        raise UserError(f"--times {options.times} would run nothing.", hint="Give 1 or more.")
    if options.supervised:
        serve(options.node, events, sys.stdin.fileno())
        return 0
    try:
        os.close(os.open(options.node, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise UserError(
            f"The device '{options.node}' cannot be opened: {error.strerror}.",
            hint="Name the node of a device, /dev/bus/usb/BBB/DDD, as root; 'lsusb' lists them.",
        ) from error
    return 1 if run(options.node, numbers, options.times, events) else 0
