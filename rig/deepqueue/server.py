"""Answers what the kernel asks of a block device by what a disk does.  An edge without a thread."""

from __future__ import annotations

import errno
import select
import socket
from typing import Protocol

from rig.deepqueue.exchange import Buffer
from rig.deepqueue.nbd_wire import REQUEST_BYTES, NbdCommand, NbdRequest, parse_request, reply
from rig.reactor import HasFileno


class Medium(Protocol):
    """What is served: `rig.deepqueue.disk.Disk`.  Operations return 0 or an errno.

    Attributes:
        gone: It is no more.
    """

    gone: bool

    def read(self, start_bytes: int, buffer: Buffer) -> int:
        """Read whole blocks into a buffer."""

    def write(self, start_bytes: int, data: Buffer) -> int:
        """Write whole blocks."""

    def flush(self) -> int:
        """Have it write what it has cached."""


def serve(medium: Medium, kernel: socket.socket, device: HasFileno, stop: HasFileno) -> None:
    """Serve until the medium is gone, the kernel has enough, or all is to be given up.

    Args:
        medium: What is served.
        kernel: Where requests come.
        device: Hangs up when the device under the medium goes.
        stop: Readable when all is to be given up.

    Raises:
        RemoteProtocolError: The kernel does not speak nbd's protocol.
    """
    poll = select.poll()
    poll.register(kernel, select.POLLIN)
    poll.register(device, 0)  # a hang-up and an error are always told
    poll.register(stop, select.POLLIN)
    while not medium.gone:
        ready = {fd for fd, _ in poll.poll()}
        if ready != {kernel.fileno()}:
            return
        header = _receive(kernel, REQUEST_BYTES)
        if header is None or not _answer(medium, kernel, parse_request(header)):
            return


def _answer(medium: Medium, kernel: socket.socket, request: NbdRequest) -> bool:
    """Do what is asked; return whether more may come."""
    data = bytearray()
    match request.command:
        case NbdCommand.READ:
            data = bytearray(request.length_bytes)
            error = medium.read(request.start_bytes, data)
        case NbdCommand.WRITE:
            given = _receive(kernel, request.length_bytes)
            if given is None:
                return False
            error = medium.write(request.start_bytes, given)
        case NbdCommand.FLUSH:
            error = medium.flush()
        case NbdCommand.DISCONNECT:
            return False
        case _:
            error = errno.EINVAL
    try:
        kernel.sendall(reply(request.cookie, error))
        if not error:
            kernel.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _receive(kernel: socket.socket, length_bytes: int) -> bytearray | None:
    """Receive so many octets; None if they end before."""
    octets = bytearray(length_bytes)
    rest = memoryview(octets)
    while rest:
        try:
            count = kernel.recv_into(rest)
        except ConnectionResetError:
            count = 0
        if not count:
            return None
        rest = rest[count:]
    return octets
