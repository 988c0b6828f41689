"""The octets between the kernel's driver nbd and who serves a block device to it.  Pure.

The transmission phase of the Network Block Device protocol (``doc/proto.md`` of the nbd project,
``include/uapi/linux/nbd.h``), all numbers big-endian::

    request   magic 25609513 | flags 16 | command 16 | cookie 64 | from 64 | length 32   [data]
    reply     magic 67446698 | error 32 | cookie 64                                      [data]
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import msgspec

from rig.errors import RemoteProtocolError

_REQUEST: Final = struct.Struct(">IHHQQI")
_REPLY: Final = struct.Struct(">IIQ")
_REQUEST_MAGIC: Final = 0x25609513
_REPLY_MAGIC: Final = 0x67446698

REQUEST_BYTES: Final = _REQUEST.size


class NbdCommand(IntEnum):
    """``NBD_CMD_*``, as far as the kernel is told that they may be sent."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3


class NbdRequest(msgspec.Struct, frozen=True):
    """What the kernel wants; the data of a write follow.

    Attributes:
        command: An `NbdCommand`, or a number that is none.
        cookie: Returned in the reply.
        start_bytes: Where on the device.
        length_bytes: How much.
    """

    command: int
    cookie: int
    start_bytes: int
    length_bytes: int

    def pack(self) -> bytes:
        """Return its octets."""
        return _REQUEST.pack(
            _REQUEST_MAGIC, 0, self.command, self.cookie, self.start_bytes, self.length_bytes
        )


def parse_request(octets: bytes | bytearray) -> NbdRequest:
    """Read a request.

    Raises:
        RemoteProtocolError: It is none.
    """
    if len(octets) != REQUEST_BYTES:
        raise RemoteProtocolError(f"A request of {len(octets)} octets is none of nbd's.")
    magic, _, command, cookie, start_bytes, length_bytes = _REQUEST.unpack(octets)
    if magic != _REQUEST_MAGIC:
        raise RemoteProtocolError(f"{octets.hex(' ')} is no request of nbd's.")
    return NbdRequest(command, cookie, start_bytes, length_bytes)


def reply(cookie: int, error: int) -> bytes:
    """Return the reply to a request; a read's data follow unless there was an error."""
    return _REPLY.pack(_REPLY_MAGIC, error, cookie)
