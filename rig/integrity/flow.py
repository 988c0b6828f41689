"""``rig flow``: numbered records through a device, to see whether data still flow, and all of them.

``send PLACE`` sends a record every 50 ms, ``receive PLACE`` takes note of what comes; the places
are ``tty:/dev/ttyACM0`` and ``udp:10.79.0.1:5001``.  ``write /dev/sda`` and ``read /dev/sda`` do
the same with blocks of a disk, past the page cache, and need no other end; nor does ``test
usbtest:27:/dev/bus/usb/001/002``, which runs a case of the kernel's test driver again and again.

Supervised (`rig.daemon`): the command ``mark`` begins the account anew, ``tell`` answers with it, a
`Told`.  The event ``flows`` comes when `ENOUGH` records came through since the start, a mark, or
the command ``watch``, which leaves the account as it is.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import sys
import termios
import time
import tty
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from rig.arguments import ArgumentParser
from rig.daemon import Command, CommandLines, Events, start_logging
from rig.errors import UserError
from rig.integrity.account import Account
from rig.usb import usbtest

INTERVAL_S: Final = 0.05
DIGITS: Final = 8
RECORD_BYTES: Final = DIGITS + 1
BLOCK_BYTES: Final = 4096
BLOCKS: Final = 32
"""Of the disk that is written, one after another, and then anew."""

PLACES: Final = (
    "Write tty:PATH or udp:HOST:PORT to send and receive, a disk's node to write and read,"
    " usbtest:CASE:NODE to test."
)

CASE_BYTES: Final = 4096
CASE_URBS: Final = 8
"""Of one queue of usbtest's cases 27 and 28: all are in flight at once."""


class Work(Protocol):
    """One end."""

    def fileno(self) -> int:
        """What becomes readable when there is something to do; -1 for nothing."""

    def step(self, account: Account) -> None:
        """Do what there is to do now: it became readable, or the interval has passed."""


class Sender:
    """Sends numbered records; what the kernel does not take now it is offered again."""

    def __init__(self, fd: int, *, datagrams: bool) -> None:
        self._fd = fd
        self._datagrams = datagrams
        self._number = 0
        self._rest = b""

    def fileno(self) -> int:
        """See `Work`."""
        return -1

    def step(self, account: Account) -> None:
        """See `Work`."""
        if not self._rest:
            self._number += 1
            self._rest = b"%0*d\n" % (DIGITS, self._number)
        try:
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            return
        except OSError as error:
            account.error(error)
            if self._datagrams:
                self._rest = b""
            return
        if not self._rest:
            account.came(self._number)


class Receiver:
    """Takes note of the records that come."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""

    def fileno(self) -> int:
        """See `Work`."""
        return self._fd

    def step(self, account: Account) -> None:
        """See `Work`."""
        try:
            self._rest += os.read(self._fd, 65536)
        except BlockingIOError:
            return
        except OSError as error:
            account.error(error)
            return
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            if len(line) == DIGITS and line.isdigit():
                account.came(int(line))
            else:
                account.garbled(len(line) + 1)


class Blocks:
    """Writes numbered blocks of a disk, or reads them, past the page cache."""

    def __init__(self, fd: int, *, write: bool) -> None:
        self._fd = fd
        self._write = write
        self._number = 0
        self._buffer = mmap.mmap(-1, BLOCK_BYTES)  # O_DIRECT wants whole pages
        if not write:
            for number in range(BLOCKS):
                self._put(number)

    def fileno(self) -> int:
        """See `Work`."""
        return -1

    def step(self, account: Account) -> None:
        """See `Work`."""
        place = self._number % BLOCKS
        try:
            if self._write:
                self._put(place)
            if self._get(place) != _block(place):
                account.garbled()
        except OSError as error:
            account.error(error)
        else:
            account.came(self._number)
        self._number += 1

    def _put(self, place: int) -> None:
        self._buffer[:] = _block(place)
        os.pwritev(self._fd, [self._buffer], place * BLOCK_BYTES)

    def _get(self, place: int) -> bytes:
        self._buffer[:] = bytes(BLOCK_BYTES)
        os.preadv(self._fd, [self._buffer], place * BLOCK_BYTES)
        return self._buffer[:]


class Cases:
    """Runs one of usbtest's cases again and again; one that fails is a record that is missing."""

    def __init__(self, node: str, case: int) -> None:
        self._node = node
        self._case = usbtest.Case(case, "", 1, CASE_BYTES, queued=CASE_URBS)
        self._number = 0

    def fileno(self) -> int:
        """See `Work`."""
        return -1

    def step(self, account: Account) -> None:
        """See `Work`."""
        status, _ = usbtest.perform(self._node, self._case)
        self._number += 1
        if status:
            account.error(OSError(status, os.strerror(status)))
        else:
            account.came(self._number)


def _block(place: int) -> bytes:
    return (b"%0*d\n" % (DIGITS, place)).ljust(BLOCK_BYTES, b".")


def open_tty(path: str) -> int:
    """Open a serial port in raw mode; what the other end sent before is thrown away."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(fd)
    termios.tcflush(fd, termios.TCIFLUSH)
    return fd


def open_work(what: str, place: str) -> Work:
    """Open one end.

    Raises:
        UserError: The place has not its form.
        OSError: It cannot be opened.
        ValueError: A number in it is none.
    """
    if what in ("write", "read"):
        fd = os.open(place, os.O_RDWR | os.O_DIRECT)
        return Blocks(fd, write=what == "write")
    kind, _, rest = place.partition(":")
    match kind:
        case "usbtest":
            number, _, node = rest.partition(":")
            return Cases(node, int(number))
        case "tty":
            fd = open_tty(rest)
            return Sender(fd, datagrams=False) if what == "send" else Receiver(fd)
        case "udp":
            host, _, port = rest.rpartition(":")
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            if what == "send":
                end.connect((host, int(port)))
                return Sender(end.detach(), datagrams=True)
            end.bind((host, int(port)))
            return Receiver(end.detach())
    raise UserError(f"'{place}' is no place for records.", hint=PLACES)


def serve(work: Work, events: Events, input_fd: int) -> None:
    """Work until the input ends."""
    account = Account(lambda: events.emit("flows"))

    def obey(command: Command) -> object:
        match command.do:
            case "mark":
                account.mark()
                return None
            case "watch":
                account.watch()
                return None
            case "tell":
                return account.told()
        raise UserError(f"'rig flow' knows no command '{command.do}'.")

    lines = CommandLines()
    fds = [fd for fd in (input_fd, work.fileno()) if fd >= 0]
    due_s = time.monotonic()
    while True:
        waits = None if work.fileno() >= 0 else max(due_s - time.monotonic(), 0)
        readable = select.select(fds, [], [], waits)[0]
        if input_fd in readable:
            data = os.read(input_fd, 1 << 16)
            if not data:
                return
            for command in lines.feed(data):
                events.answer(command, obey)
        if work.fileno() in readable:
            work.step(account)
        elif work.fileno() < 0 and time.monotonic() >= due_s:
            work.step(account)
            due_s = time.monotonic() + INTERVAL_S


def main(argv: Sequence[str]) -> int:
    """Run ``rig flow``.

    Returns:
        0 when its input has ended.

    Raises:
        UserError: The place has not its form, or cannot be opened.
    """
    parser = ArgumentParser(
        prog="rig flow", description="Send numbered records through a device, and see what comes."
    )
    parser.add_argument("what", choices=("send", "receive", "write", "read", "test"))
    parser.add_argument("place", help="tty:PATH, udp:HOST:PORT, usbtest:CASE:NODE, a disk")
    options = parser.parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer)
    try:
        work = open_work(options.what, options.place)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"'{options.place}' cannot be used: {why}.", hint=PLACES) from error
    events.emit("open")
    with suppress(KeyboardInterrupt):
        serve(work, events, sys.stdin.fileno())
    return 0
