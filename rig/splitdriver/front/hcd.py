"""The front end's edge to ``vhci_hcd``: a socket pair, PDUs, and the fence.

The kernel has one end of a UNIX stream socket pair.  What it does with it, and why the fence holds,
is in ``docs/recovery.md``.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios

from rig.buffers import ReceiveBuffer
from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import Payload
from rig.splitdriver.transport.link import Outbox
from rig.usb import vhci
from rig.usb.urb import MAX_TRANSFER_BYTES, Speed
from rig.usb.usbip import (
    HEADER_BYTES,
    RET_PREFIX,
    CmdSubmit,
    CmdUnlink,
    pack_ret_submit,
    pack_ret_unlink,
    unpack_command,
)

_INT = struct.Struct("i")
_SMALLEST_CHARGE = 2
"""``SIOCOUTQ`` below this means that everything was read.  An unread buffer is charged with its
``truesize``, hundreds of octets; but ``sock_wfree`` gives that back in two steps and wakes us
between them, when 1 is still charged (``net/core/sock.c``)."""

PduWithData = tuple[CmdSubmit, Payload] | CmdUnlink


class Hcd:
    """A device in a port of ``vhci_hcd``, for as long as it is plugged in.

    Args:
        port: A free port.
        device: Any number; the kernel repeats it in every PDU.
        speed: The device's.

    Raises:
        OSError: The kernel does not attach it.
    """

    def __init__(self, port: vhci.Port, device: int, speed: Speed) -> None:
        self.port = port
        ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with kernels:
            try:
                vhci.attach(port, kernels.fileno(), device, speed)
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        # The fence waits for writability, edge-triggered, beside the usual wait for readability;
        # epoll tells the two apart by their descriptors.
        self.fence_fd = os.dup(ours.fileno())
        self._outbox = Outbox(ours)
        self._buffer = ReceiveBuffer()
        self._prefix_sent = False
        self._too_large: CmdSubmit | None = None
        self._unskipped_bytes = 0
        self._fencing = False

    def fileno(self) -> int:
        """The descriptor that is readable when the kernel has sent something."""
        return self._socket.fileno()

    @property
    def waits_for_room(self) -> bool:
        """Whether something is still to be sent when the socket becomes writable."""
        return bool(self._outbox)

    @property
    def fencing(self) -> bool:
        """Whether a fence waits for the kernel to read on."""
        return self._fencing

    def receive(self) -> list[PduWithData]:
        """Return all commands that have come, submits with their OUT data.

        Raises:
            RemoteProtocolError: The kernel has closed the socket, or sent what it never does.
        """
        pdus: list[PduWithData] = []
        while True:
            space = self._buffer.space()
            try:
                count = self._socket.recv_into(space)
            except BlockingIOError:
                self._parse(pdus)  # what a lane has left
                return pdus
            if count == 0:
                raise RemoteProtocolError("vhci_hcd closed the port's socket.")
            self._buffer.received(count)
            self._parse(pdus)
            if count < len(space):
                return pdus

    def give_back(self, seqnum: int, status: int, actual_bytes: int, data: Payload) -> None:
        """Put RET_SUBMIT and its data into the outbox."""
        self._put(pack_ret_submit(seqnum, status, actual_bytes), data)

    def answer_unlink(self, seqnum: int) -> None:
        """Put RET_UNLINK into the outbox."""
        self._put(pack_ret_unlink(seqnum, 0))

    def fence(self) -> None:
        """Ask when the kernel will have read past all that was put so far."""
        if not self._prefix_sent:
            self._outbox.put(RET_PREFIX)
            self._prefix_sent = True
        self._fencing = True

    def flush(self) -> None:
        """Send what is in the outbox, or as much as goes now."""
        self._outbox.flush()

    def fence_passed(self) -> bool:
        """Whether a fence was asked for and the kernel has read past it; then it is forgotten."""
        if not self._fencing or self._outbox:
            return False
        (unread,) = _INT.unpack(fcntl.ioctl(self._socket, termios.TIOCOUTQ, _INT.pack(0)))
        if unread >= _SMALLEST_CHARGE:
            return False
        self._fencing = False
        return True

    @property
    def idle(self) -> bool:
        """Whether nothing is half sent or half received, and no fence waits."""
        half_received = len(self._buffer) > 0 or self._too_large is not None
        return not (self._outbox or self._prefix_sent or self._fencing or half_received)

    def take_back(self, octets: bytes, unsent: bytes) -> None:
        """Go on where a lane (`rig.splitdriver.lane`) has left off: `receive` and `flush` are next.

        Args:
            octets: What it has read and not used.
            unsent: What it has not sent.
        """
        if unsent:
            self._outbox.put(unsent)
        self._buffer.put(octets)

    def close(self) -> None:
        """Unplug: the kernel sees the end of its socket and gives back every URB."""
        os.close(self.fence_fd)
        self._socket.close()

    def _put(self, header: bytes, data: Payload = b"") -> None:
        if self._prefix_sent:
            header = header[len(RET_PREFIX) :]
            self._prefix_sent = False
        self._outbox.put(header, data)

    def _parse(self, pdus: list[PduWithData]) -> None:
        while self._too_large is None or self._skip(self._too_large, pdus):
            header = self._buffer.peek(HEADER_BYTES)
            if header is None:
                return
            command = unpack_command(header)
            if isinstance(command, CmdUnlink):
                self._buffer.take(HEADER_BYTES)
                pdus.append(command)
                continue
            if command.payload_bytes > MAX_TRANSFER_BYTES:
                self._buffer.take(HEADER_BYTES)
                self._too_large, self._unskipped_bytes = command, command.payload_bytes
                continue
            pdu = self._buffer.peek(HEADER_BYTES + command.payload_bytes)
            if pdu is None:
                return
            self._buffer.take(len(pdu))
            pdus.append((command, pdu[HEADER_BYTES:]))

    def _skip(self, command: CmdSubmit, pdus: list[PduWithData]) -> bool:
        """Drop the data of an URB that is too large to be carried; return whether all have come.

        It will be refused, but not before: the kernel still sends from the URB's own buffer.
        """
        count = min(self._unskipped_bytes, len(self._buffer))
        self._buffer.take(count)
        self._unskipped_bytes -= count
        if self._unskipped_bytes:
            return False
        self._too_large = None
        pdus.append((command, b""))
        return True
