"""A mounted FunctionFS with one bulk-only function: its ep0 and its two endpoints' files.

Source: ``drivers/usb/gadget/function/f_fs.c``.  All files are opened without blocking, so that an
endpoint that the host has not enabled refuses instead of waiting.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
from pathlib import Path

from rig.errors import MachineError
from rig.gadget.bot.aio import AsyncIo, Operation
from rig.gadget.bot.descriptors import EVENT, Event, descriptors, parse_events, strings
from rig.usb.descriptors import ENDPOINT
from rig.usb.urb import Direction

log = logging.getLogger("rig.gadget.bot")

_MOST_EVENTS = 4  # ffs->ev.types
_ENDPOINT_DESC = 0x8009_6782  # FUNCTIONFS_ENDPOINT_DESC: _IOR('g', 130, 9 octets)
_ENDPOINT_DESC_BYTES = struct.Struct("<BBBBHBBB")  # with the two octets of audio endpoints


class FunctionFiles:
    """The files of one function.

    Args:
        mount: Where FunctionFS is mounted.
        name: Of the interface, for people.

    Raises:
        MachineError: The kernel refuses the descriptors.
    """

    def __init__(self, mount: Path, name: str) -> None:
        self._open: list[int] = []
        try:
            self.ep0 = self._file(mount / "ep0")
            for octets in (descriptors(), strings(name)):
                os.write(self.ep0, octets)
            self._fds = {
                Direction.IN: self._file(mount / "ep1"),
                Direction.OUT: self._file(mount / "ep2"),
            }
            self.io = AsyncIo()
        except OSError as error:
            self._close_files()
            raise MachineError(f"FunctionFS refuses the disk: {error.strerror}.") from error
        except MachineError:
            self._close_files()
            raise

    def close(self) -> None:
        """Close all files: the kernel unbinds the gadget, if it is bound still."""
        self.io.close()
        self._close_files()

    def events(self) -> list[Event]:
        """What the kernel tells, in order; nothing if there is nothing."""
        try:
            return parse_events(os.read(self.ep0, EVENT.size * _MOST_EVENTS))
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            # A SETUP was given up by the host before it was answered (EIDRM), or the function is
            # being unbound; what comes next says more.
            log.debug("ep0: %s", error.strerror)
            return []

    def answer(self, octets: bytes | None) -> None:
        """End the last control request: with data to the host, or with none (None)."""
        try:
            if octets is None:
                os.read(self.ep0, 0)
            else:
                os.write(self.ep0, octets)
        except OSError as error:
            log.debug("the host gave a control request up: %s", error.strerror)

    def refuse(self, *, is_in: bool) -> None:
        """End the last control request with STALL, which is asked for by the wrong direction."""
        try:
            if is_in:
                os.read(self.ep0, 0)
            else:
                os.write(self.ep0, b"")
        except OSError as error:
            if error.errno != errno.EL2HLT:  # which says that it was done
                log.debug("a control request was not refused: %s", error.strerror)

    def packet_bytes(self) -> int:
        """The packet size (wMaxPacketSize) at the speed that was agreed on.

        Raises:
            OSError: The host has not enabled the function.
        """
        octets = bytearray(_ENDPOINT_DESC_BYTES.size)
        fcntl.ioctl(self._fds[Direction.OUT], _ENDPOINT_DESC, octets)
        return int(ENDPOINT.unpack_from(octets)[4])

    def receive(self, length_bytes: int) -> Operation:
        """Queue a request on the OUT endpoint.

        Raises:
            OSError: The kernel refuses.
        """
        return self.io.read(self._fds[Direction.OUT], length_bytes)

    def send(self, octets: bytes) -> Operation:
        """Queue a request on the IN endpoint.

        Raises:
            OSError: The kernel refuses.
        """
        return self.io.write(self._fds[Direction.IN], octets)

    def halt(self, direction: Direction) -> bool:
        """Halt an endpoint, which is asked for by the wrong direction.

        Returns:
            False if it cannot be halted yet: the host has not fetched all that was sent.
        """
        fd = self._fds[direction]
        try:
            if direction is Direction.IN:
                os.read(fd, 1)
            else:
                os.write(fd, b"\0")
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EBADMSG:  # which says that it was done
                log.debug("an endpoint was not halted: %s", error.strerror)
        return True

    def _file(self, path: Path) -> int:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._open.append(fd)
        return fd

    def _close_files(self) -> None:
        # ep0 last: nothing may be left of the function when it goes.
        while self._open:
            os.close(self._open.pop())
