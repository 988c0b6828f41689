"""USB/IP PDUs as ``vhci_hcd`` speaks them over its socket (``usbip_common.h``).

Every PDU begins with 48 octets, big endian::

     0               4               8              12              16
    +---------------+---------------+---------------+---------------+
    | command       | seqnum        | devid         | direction     |
    +---------------+---------------+---------------+---------------+
    | ep            | 28 octets that depend on the command          |
    +---------------+-----------------------------------------------+

CMD_SUBMIT: transfer_flags, transfer_buffer_length, start_frame, number_of_packets, interval,
setup[8]; OUT data follows.  CMD_UNLINK: the seqnum to unlink.  RET_SUBMIT: status, actual_length,
start_frame, number_of_packets, error_count; IN data follows.  RET_UNLINK: status.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from rig.errors import RemoteProtocolError
from rig.usb.urb import DIRECTION_IN

HEADER_BYTES = 48
ISO_DESCRIPTOR_BYTES = 16
"""``struct usbip_iso_packet_descriptor``; isochronous transfers are not carried, but the kernel
sends them whole, and what follows must be found."""

_BASIC = struct.Struct(">5I")
_SUBMIT = struct.Struct(">5IIiiii8s")
_UNLINK = struct.Struct(">5II24x")
_RET_SUBMIT = struct.Struct(">5Iiiiii8x")
_RET_UNLINK = struct.Struct(">5Ii24x")

RET_PREFIX = bytes(3)
"""Every header that we send begins with these octets, since its command is below 256.

They may therefore be sent ahead of time, before it is known what PDU will follow: that ``vhci_hcd``
has read them proves that it is done with the PDU before.
"""


class CommandCode(IntEnum):
    """``USBIP_CMD_*`` and ``USBIP_RET_*``."""

    CMD_SUBMIT = 1
    CMD_UNLINK = 2
    RET_SUBMIT = 3
    RET_UNLINK = 4


class CmdSubmit(msgspec.Struct, frozen=True):
    """An URB that the front end's kernel has queued.

    Attributes:
        seqnum: The kernel's number for it; also orders it among all submits and unlinks.
        devid: The number given at attach.
        endpoint_address: With bit 7 for IN, also on ep0.
        flags: Transfer flags as on the wire.
        buffer_bytes: Length of the transfer buffer.
        number_of_packets: Above 0 for isochronous transfers, which have so many descriptors.
        interval: Polling interval of interrupt and isochronous endpoints.
        setup: The SETUP packet; zeroes where the endpoint is not ep0.
    """

    seqnum: int
    devid: int
    endpoint_address: int
    flags: int
    buffer_bytes: int
    number_of_packets: int
    interval: int
    setup: bytes

    @property
    def payload_bytes(self) -> int:
        """Octets that follow the header: OUT data, then the isochronous packets' descriptors."""
        data_bytes = 0 if self.endpoint_address & DIRECTION_IN else self.buffer_bytes
        return data_bytes + max(self.number_of_packets, 0) * ISO_DESCRIPTOR_BYTES

    def pack(self) -> bytes:
        """Return the 48 octets."""
        return _SUBMIT.pack(
            CommandCode.CMD_SUBMIT,
            self.seqnum,
            self.devid,
            self.endpoint_address >> 7,
            self.endpoint_address & 0x0F,
            self.flags,
            self.buffer_bytes,
            0,
            self.number_of_packets,
            self.interval,
            self.setup,
        )


class CmdUnlink(msgspec.Struct, frozen=True):
    """The front end's kernel wants the URB `target` back; the unlink itself is number `seqnum`."""

    seqnum: int
    devid: int
    target: int

    def pack(self) -> bytes:
        """Return the 48 octets."""
        return _UNLINK.pack(CommandCode.CMD_UNLINK, self.seqnum, self.devid, 0, 0, self.target)


def unpack_command(header: bytes | memoryview) -> CmdSubmit | CmdUnlink:
    """Read one header as it comes from ``vhci_hcd``.

    Raises:
        RemoteProtocolError: The command is none that a client's kernel sends, or a length is
            negative.
    """
    command, seqnum, devid, direction, endpoint = _BASIC.unpack_from(header)
    if command == CommandCode.CMD_SUBMIT:
        *_, flags, length, _start, packets, interval, setup = _SUBMIT.unpack(header)
        if length < 0:
            raise RemoteProtocolError(f"CMD_SUBMIT {seqnum} has the buffer length {length}.")
        address = endpoint & 0x0F | (DIRECTION_IN if direction else 0)
        return CmdSubmit(seqnum, devid, address, flags, length, packets, interval, setup)
    if command == CommandCode.CMD_UNLINK:
        *_, target = _UNLINK.unpack(header)
        return CmdUnlink(seqnum, devid, target)
    raise RemoteProtocolError(f"vhci_hcd sent the command {command}, which it never does.")


def pack_ret_submit(seqnum: int, status: int, actual_bytes: int) -> bytes:
    """Return the header that gives an URB back; its IN data must follow at once.

    ``vhci_hcd`` looks an URB up by its seqnum alone; the other basic fields are left 0.
    """
    return _RET_SUBMIT.pack(CommandCode.RET_SUBMIT, seqnum, 0, 0, 0, status, actual_bytes, 0, 0, 0)


def pack_ret_unlink(seqnum: int, status: int) -> bytes:
    """Return the header that answers the unlink number `seqnum`."""
    return _RET_UNLINK.pack(CommandCode.RET_UNLINK, seqnum, 0, 0, 0, status)
