"""A link's two ends in one process: the daemon's, a stream, and the test's, which takes octets."""

from __future__ import annotations

import os
import pty
import socket
import tty
from collections.abc import Callable

from rig.splitdriver.transport.link import SocketStream, Stream
from rig.splitdriver.transport.rendezvous import MAGIC, NONCE_BYTES, Rendezvous
from rig.splitdriver.transport.virtio_port import VirtioStream

_OURS, _THEIRS = b"o" * NONCE_BYTES, b"t" * NONCE_BYTES


class Wire:
    """The test's end.

    Args:
        descriptor: Non-blocking; belongs to the wire.
        seal: Stands behind each frame of the test.
        peers_seal: Stands behind each of the daemon.
    """

    def __init__(self, descriptor: int, seal: bytes = b"", peers_seal: bytes = b"") -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self.seal = seal
        self.peers_seal = peers_seal

    def send(self, octets: bytes) -> int:
        """Send some; return how many.

        Raises:
            BlockingIOError: None go now.
            OSError: The other end is closed.
        """
        return os.write(self._descriptor, octets)

    def read(self, count: int) -> bytes:
        """What is there; nothing if nothing is, or the other end is closed."""
        try:
            return os.read(self._descriptor, count)
        except OSError:
            return b""

    def close(self) -> None:
        """Close it; a second time is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def socket_wire(room: int) -> tuple[Wire, Stream]:
    """A socket, whose daemon's end takes about `room` octets at a time."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    return Wire(ours.detach()), SocketStream(theirs)


def port_wire(room: int) -> tuple[Wire, Stream]:
    """A terminal in raw mode, which is a character device as a port of virtio-serial is."""
    del room  # it takes a few KiB
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(theirs, False)
    rendezvous = Rendezvous(_THEIRS)
    rendezvous.received(MAGIC + _OURS + _THEIRS)
    peers_seal, seal = rendezvous.seals
    return Wire(ours, seal, peers_seal), VirtioStream(theirs, rendezvous)


WIRES: dict[str, Callable[[int], tuple[Wire, Stream]]] = {
    "socket": socket_wire,
    "port": port_wire,
}
