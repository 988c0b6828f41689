"""A block device of the kernel's driver nbd, served by a socket in this very process.  An edge.

By ioctls (``drivers/block/nbd.c``) and not by netlink: then the device lives as long as the thread
that is in ``NBD_DO_IT``, and no end of this process, however sudden, leaves a dead one behind.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Final

from rig.errors import MachineError
from rig.usb import uevent

_IO: Final = 0xAB << 8
SET_SOCK: Final = _IO | 0
SET_BLKSIZE: Final = _IO | 1
DO_IT: Final = _IO | 3
CLEAR_SOCK: Final = _IO | 4
CLEAR_QUE: Final = _IO | 5
SET_SIZE_BLOCKS: Final = _IO | 7
SET_TIMEOUT: Final = _IO | 9
SET_FLAGS: Final = _IO | 10

_HAS_FLAGS, _SEND_FLUSH = 1, 4
STARTS_IN_S: Final = 10.0
ENDS_IN_S: Final = 10.0

_log = logging.getLogger(__name__)


class NbdDevice:
    """A block device; whoever has `socket` serves it, until `close`.

    Args:
        size_bytes: Of the device, whole blocks.
        block_bytes: Of a logical block.
        command_bytes: The most that one request asks for.
        timeout_s: After so long without a reply the kernel gives the device up.
        blocks: sysfs's directory of block devices.

    Raises:
        MachineError: There is no such driver, or no device of it is free.

    Attributes:
        socket: Requests come here (`rig.deepqueue.nbd_wire`), and replies are awaited.
        node: The device's node.
    """

    def __init__(
        self,
        size_bytes: int,
        block_bytes: int,
        *,
        command_bytes: int,
        timeout_s: int,
        blocks: Path = Path("/sys/block"),
    ) -> None:
        self.socket, self._kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.node = ""
        self._blocks = blocks
        self._size_blocks = size_bytes // block_bytes
        self._block_bytes = block_bytes
        self._timeout_s = timeout_s
        self._trouble = ""
        # No process may outlive its thread that is in an ioctl: the kernel wakes it at the end.
        self._thread = threading.Thread(target=self._be_served, name="nbd", daemon=True)
        with uevent.open_socket() as events:
            self._thread.start()
            try:
                self._wait_until_there(events)
                self._limit_requests(command_bytes)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End the device: what is asked of it from now on, or was not answered, ends with EIO."""
        self.socket.close()
        self._thread.join(ENDS_IN_S)
        if self._thread.is_alive():
            _log.warning("%s did not end in %g s.", self.node, ENDS_IN_S)

    def _wait_until_there(self, events: socket.socket) -> None:
        """Wait until it has its size: the kernel says so last of all (``nbd_set_size``)."""
        until = time.monotonic() + STARTS_IN_S
        while not self._is_there():
            rest_s = until - time.monotonic()
            if self._trouble or rest_s <= 0 or not select.select([events], [], [], rest_s)[0]:
                raise MachineError(
                    f"No block device of nbd's could be made: {self._trouble or 'it is silent'}.",
                    hint="Load the driver: modprobe nbd.",
                )
            uevent.drain(events)

    def _limit_requests(self, command_bytes: int) -> None:
        """Make each request one SCSI command, as of a disk whose driver says how much it takes."""
        limit = self._blocks / Path(self.node).name / "queue" / "max_sectors_kb"
        try:
            limit.write_text(str(command_bytes >> 10))
        except OSError as error:
            raise MachineError(
                f"{self.node} does not take requests of {command_bytes} octets: {error.strerror}."
            ) from error

    def _is_there(self) -> bool:
        if not self.node:
            return False
        sectors = (self._blocks / Path(self.node).name / "size").read_text()
        return int(sectors) * 512 == self._size_blocks * self._block_bytes

    def _be_served(self) -> None:
        # A signal would end the ioctl; the main thread is there for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with self._kernels:
            try:
                device = self._open_free()
                try:
                    fcntl.ioctl(device, DO_IT)
                finally:
                    fcntl.ioctl(device, CLEAR_QUE)
                    fcntl.ioctl(device, CLEAR_SOCK)
                    os.close(device)
            except OSError as error:
                # Its end is one, too: the socket was shut down under the kernel.
                self._trouble = error.strerror or str(error)

    def _open_free(self) -> int:
        """Take a device that nobody has, and say what it is like.

        All by the thread that is to serve it: the kernel lets no other one.
        """
        for name in _names(self._blocks):
            device = os.open(f"/dev/{name}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, SET_SOCK, self._kernels.fileno())
            except OSError as error:
                os.close(device)
                # Somebody's, or the file system on a former disk has not been unmounted yet.
                if error.errno not in (errno.EBUSY, errno.EINVAL):
                    raise
                continue
            fcntl.ioctl(device, SET_BLKSIZE, self._block_bytes)
            fcntl.ioctl(device, SET_SIZE_BLOCKS, self._size_blocks)
            fcntl.ioctl(device, SET_TIMEOUT, self._timeout_s)
            fcntl.ioctl(device, SET_FLAGS, _HAS_FLAGS | _SEND_FLUSH)
            self.node = f"/dev/{name}"
            return device
        raise OSError(errno.ENODEV, "there is none that is free")


def _names(blocks: Path) -> list[str]:
    """Return the names of those that nobody serves, the first first."""
    found = [path.name for path in blocks.glob("nbd*") if not (path / "pid").exists()]
    return sorted(found, key=lambda name: int(name.removeprefix("nbd")))
