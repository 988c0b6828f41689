"""What ``usbip-vudc`` answers: USB/IP read from the side that submits.

vudc speaks USB/IP as the kernel's ``usbip-host`` does (``drivers/usb/usbip/vudc_tx.c``): RET_SUBMIT
with the IN data behind it, and RET_UNLINK.  It has two habits of its own:

* an URB that was unlinked is answered by RET_UNLINK alone, with status -ECONNRESET; how much of
  it had moved is lost;
* a CMD_SUBMIT to an endpoint that is not enabled ends the connection, so none may be sent.

Pure.
"""

from __future__ import annotations

import struct

import msgspec

from rig.buffers import ReceiveBuffer
from rig.cable.records import take_record
from rig.errors import RemoteProtocolError
from rig.usb.urb import MAX_TRANSFER_BYTES
from rig.usb.usbip import HEADER_BYTES, CommandCode

_REPLY = struct.Struct(">5Iii20x")


class Returned(msgspec.Struct, frozen=True):
    """RET_SUBMIT: an URB has ended.

    Attributes:
        seqnum: Of its CMD_SUBMIT.
        status: 0 or a negative errno.
        actual_bytes: What moved.
        data: What came IN.
    """

    seqnum: int
    status: int
    actual_bytes: int
    data: bytes | memoryview = b""


class Unlinked(msgspec.Struct, frozen=True):
    """RET_UNLINK.

    Attributes:
        seqnum: Of the CMD_UNLINK.
        status: -ECONNRESET if the URB was unlinked, 0 if it had ended: then its `Returned` came
            before.
    """

    seqnum: int
    status: int


Reply = Returned | Unlinked


def unpack_reply(buffer: ReceiveBuffer, submitted_in: set[int]) -> Reply | None:
    """Take the next reply out of what was received; None if it is not all there.

    Args:
        buffer: What was received.
        submitted_in: The seqnums of IN transfers, which alone have data behind their replies.

    Raises:
        RemoteProtocolError: These octets are no reply.
    """

    def rest_bytes(head: memoryview) -> int:
        command, seqnum, _, _, _, _, actual = _REPLY.unpack(head)
        if command == CommandCode.RET_UNLINK:
            return 0
        if command != CommandCode.RET_SUBMIT or not 0 <= actual <= MAX_TRANSFER_BYTES:
            raise RemoteProtocolError(
                f"usbip-vudc sent a header with command {command} and length {actual}."
            )
        return int(actual) if seqnum in submitted_in else 0

    whole = take_record(buffer, HEADER_BYTES, rest_bytes)
    if whole is None:
        return None
    command, seqnum, _, _, _, status, actual = _REPLY.unpack_from(whole)
    if command == CommandCode.RET_UNLINK:
        return Unlinked(seqnum, status)
    return Returned(seqnum, status, actual, whole[HEADER_BYTES:])
