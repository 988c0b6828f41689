"""What usbredir asks for as USB has it, and how each request is answered.  Pure."""

from __future__ import annotations

import errno

import msgspec

from rig.cable.discipline import Transfer
from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.packets import Packet
from rig.cable.usbredir.vocabulary import Data, Status
from rig.cable.vudc import Returned
from rig.errors import RemoteProtocolError
from rig.usb.setup import Request, RequestType, SetupPacket

_STATUS = {
    0: Status.SUCCESS,
    -errno.EREMOTEIO: Status.SUCCESS,  # a short transfer is no error on the wire
    -errno.EPIPE: Status.STALL,
    -errno.EOVERFLOW: Status.BABBLE,
    -errno.ECONNRESET: Status.CANCELLED,
    -errno.ENOENT: Status.CANCELLED,
    -errno.ESHUTDOWN: Status.CANCELLED,
}
"""How vudc's status of an URB is told to QEMU; all others are I/O errors."""


class Outcome(msgspec.Struct, frozen=True):
    """How a transfer has ended.

    Attributes:
        status: As QEMU is told.
        actual_bytes: So much moved.
        data: What came IN.
    """

    status: Status
    actual_bytes: int = 0
    data: Data = b""


NOT_WANTED = Outcome(Status.CANCELLED)


def outcome_of(reply: Returned, injected: Status | None) -> Outcome:
    """Return how a transfer has ended that vudc has carried out.

    Args:
        reply: Vudc's.
        injected: The error that a fault makes of a success; None for none.
    """
    status = _STATUS.get(reply.status, Status.IO_ERROR)
    if injected is not None and status is Status.SUCCESS:
        status = injected
    return Outcome(status, reply.actual_bytes, reply.data)


def set_configuration(value: int) -> SetupPacket:
    """Return the request that chooses a configuration."""
    return SetupPacket(RequestType.TO_DEVICE, Request.SET_CONFIGURATION, value, 0, 0)


def transfer_of(packet: Packet) -> Transfer:
    """Return the transfer that a packet of QEMU's asks for.

    Raises:
        RemoteProtocolError: It asks for none.
    """
    match packet:
        case redir.BulkPacket(packet_id, endpoint) | redir.InterruptPacket(packet_id, endpoint):
            return Transfer(packet_id, endpoint, packet.length, b"", packet.data, packet)
        case redir.ControlPacket(packet_id, endpoint):
            fields = (packet.request_type, packet.request, packet.value, packet.index)
            setup = SetupPacket(*fields, packet.length).pack()
            return Transfer(packet_id, endpoint, packet.length, setup, packet.data, packet)
        case redir.SetConfiguration(packet_id, value):
            return Transfer(packet_id, 0, 0, set_configuration(value).pack(), request=packet)
        case redir.SetAltSetting(packet_id, interface, alternate):
            kind = (RequestType.TO_INTERFACE, Request.SET_INTERFACE)
            setup = SetupPacket(*kind, alternate, interface, 0).pack()
            return Transfer(packet_id, 0, 0, setup, request=packet)
    raise RemoteProtocolError(f"QEMU sent a usbredir {type(packet).__name__}.")


def answer_of(request: Packet, outcome: Outcome) -> Packet:
    """Return the answer to a packet that `transfer_of` has taken."""
    status, actual, data = outcome.status, outcome.actual_bytes, outcome.data
    match request:
        case redir.BulkPacket(packet_id, endpoint):
            return redir.BulkPacket.of(packet_id, endpoint, status, actual, data)
        case redir.InterruptPacket(packet_id, endpoint):
            return redir.InterruptPacket(packet_id, endpoint, status, actual)
        case redir.SetConfiguration(packet_id, value):
            return redir.ConfigurationStatus(packet_id, status, value)
        case redir.SetAltSetting(packet_id, interface, alternate):
            return redir.AltSettingStatus(packet_id, status, interface, alternate)
    assert isinstance(request, redir.ControlPacket)
    return msgspec.structs.replace(request, status=status, length=actual, data=data)
