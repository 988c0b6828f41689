"""A port of virtio-serial as a link: two virtual machines joined by their hosts, without a network.

QEMU joins the ports of two guests by one socket (``-chardev socket`` and ``-device
virtserialport``).  It is quicker than TCP between them: neither guest has a network stack to go
through.  Nobody but who runs both machines can be at the other end, so nothing is encrypted.

Facts of ``drivers/char/virtio_console.c``: a port is opened by one at a time; a write takes at most
32 KiB and goes to the other end by itself; a read returns what is in one page; without the other
*machine* a read returns 0 and a write is refused for now.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from rig.errors import UserError
from rig.reactor import EDGE, READABLE, Reactor
from rig.splitdriver.messages import Payload
from rig.splitdriver.transport.link import Stream
from rig.splitdriver.transport.meeting import Admitted, Reached, Rejected
from rig.splitdriver.transport.rendezvous import NONCE_BYTES, Rendezvous

_log = logging.getLogger("rig.link")

SCHEME = "virtio:"
"""Before the name of a port, where an address is asked for."""
PORTS = Path("/sys/class/virtio-ports")
DEVICES = Path("/dev")
BEACON_S = 0.2
"""Between two beacons, and two attempts to open the port."""
_PIECE_BYTES = 32 << 10
_READ_BYTES = 1 << 16


def name_of(address: str) -> str | None:
    """Return the name of the port in an address, or None if it is one of another kind."""
    return address.removeprefix(SCHEME) if address.startswith(SCHEME) else None


def find(name: str, ports: Path = PORTS, devices: Path = DEVICES) -> Path:
    """Return the device of the port of that name.

    Raises:
        UserError: This machine has none of that name.
    """
    found = {}
    for port in sorted(ports.glob("*/name")):
        found[port.read_text("utf-8").strip()] = devices / port.parent.name
    if name not in found:
        raise UserError(
            f"This machine has no port of virtio-serial named '{name}'.",
            hint=f"It has: {', '.join(found)}." if found else "Give its QEMU a virtserialport.",
        )
    return found[name]


class VirtioStream(Stream):
    """The stream of one connection; see `rig.splitdriver.transport.link.Stream`.

    Args:
        descriptor: Of the open port, non-blocking; belongs to the stream.
        rendezvous: How the other end was met.
    """

    def __init__(self, descriptor: int, rendezvous: Rendezvous) -> None:
        self._descriptor = descriptor
        self._rendezvous = rendezvous
        self._first = rendezvous.stream()

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._descriptor

    @property
    def plain(self) -> bool:
        """Whether the descriptor's octets are the stream's."""
        return self._rendezvous.begun and not self._first

    @property
    def seals(self) -> tuple[bytes, bytes]:
        """What stands behind each frame of this end, and of the other."""
        return self._rendezvous.seals

    def recv_into(self, buffer: memoryview, /) -> int:
        """See `Octets.recv_into`."""
        while not self._rendezvous.begun:
            octets = os.read(self._descriptor, _READ_BYTES)
            if not octets:
                return 0
            self._first = self._rendezvous.stream(octets)
        if self._first:
            count = min(len(self._first), len(buffer))
            buffer[:count] = self._first[:count]
            self._first = self._first[count:]
            return count
        return os.readv(self._descriptor, [buffer])

    def sendmsg(self, parts: Iterable[Payload], /) -> int:
        """See `Octets.sendmsg`."""
        octets = memoryview(b"".join(parts))
        sent = 0
        while sent < len(octets):
            try:
                sent += os.write(self._descriptor, octets[sent : sent + _PIECE_BYTES])
            except BlockingIOError:
                if sent:
                    break
                raise
        return sent

    def close(self) -> None:
        """Close the port; a second time is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PortCaller:
    """Meets the other end at a port, and again when `lost` is told.

    Args:
        path: The port's device.
        reactor: Waits.
        reached: Called with a stream to the other end.
    """

    def __init__(self, path: Path, reactor: Reactor, reached: Reached) -> None:
        self._path = path
        self._reactor = reactor
        self._reached = reached
        self._descriptor = -1
        self._rendezvous = Rendezvous(b"")
        self._owes = False  # the other end was heard, and was not told so
        self._said = ""
        self._closed = False

    def call(self) -> None:
        """Look for the other end from now on."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._say(f"the port cannot be opened: {error.strerror}")
            self._reactor.at(self._timer, time.monotonic() + BEACON_S, self.call)
            return
        self._rendezvous, self._owes = Rendezvous(os.urandom(NONCE_BYTES)), False
        # Edge-triggered: without the other machine a port hangs up all the time.
        self._reactor.watch(self._descriptor, READABLE | EDGE, self._on_port)
        self._send_again()

    def lost(self, reason: str, *, served: bool) -> None:
        """The link has ended: look for the other end again.

        Args:
            reason: Why.
            served: Whether the other end had greeted us.
        """
        if served:
            self._said = ""
        self._say(reason)
        if not self._closed:
            self._reactor.at(self._timer, time.monotonic() + BEACON_S, self.call)

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._reactor.cancel(self._timer)
        self._drop()

    @property
    def _timer(self) -> str:
        return f"meeting-{id(self)}"

    def _leave(self) -> None:
        if self._descriptor >= 0:
            self._reactor.unwatch(self._descriptor)

    def _drop(self) -> None:
        self._leave()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _on_port(self, _: int) -> None:
        while not self._rendezvous.met:
            try:
                octets = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:  # the port was unplugged
                self._say(f"the port cannot be read: {error.strerror}")
                self._drop()
                self._reactor.at(self._timer, time.monotonic() + BEACON_S, self.call)
                return
            if not octets:
                return
            self._owes |= self._rendezvous.received(octets)
            if self._owes:
                self._send()
        self._meet()

    def _meet(self) -> None:
        if not self._owes:
            self._reactor.cancel(self._timer)
            self._leave()
            descriptor, self._descriptor = self._descriptor, -1
            self._reached(VirtioStream(descriptor, self._rendezvous))

    def _send(self) -> None:
        try:
            os.write(self._descriptor, self._rendezvous.beacon())
            self._owes = False
        except OSError as error:
            self._say(f"the other machine does not listen: {error.strerror}")

    def _send_again(self) -> None:
        self._reactor.at(self._timer, time.monotonic() + BEACON_S, self._send_again)
        self._send()
        if self._rendezvous.met:
            self._meet()

    def _say(self, what: str) -> None:
        if what != self._said and not self._closed:
            self._said = what
            _log.info("no link over %s: %s", self._path, what)


class PortDoor:
    """Where the one front end comes that is at the other end of a port.

    Args:
        path: The port's device.
        reactor: Waits.
        admitted: Called with a stream to it.
        rejected: Never called: nobody else can come there.
    """

    def __init__(
        self, path: Path, reactor: Reactor, admitted: Admitted, rejected: Rejected
    ) -> None:
        del rejected
        self._path = path
        self._caller = PortCaller(path, reactor, lambda stream: admitted(stream, path.name))
        self._caller.call()

    @property
    def place(self) -> dict[str, object]:
        """See `rig.splitdriver.transport.meeting.Door.place`."""
        return {"device": str(self._path)}

    def lost(self, reason: str) -> None:
        """See `rig.splitdriver.transport.meeting.Door.lost`."""
        self._caller.lost(reason, served=True)

    def close(self) -> None:
        """See `rig.splitdriver.transport.meeting.Door.close`."""
        self._caller.close()
