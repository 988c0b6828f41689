"""Reads a device's descriptors before QEMU is told of it, for QEMU wants to know at once.  Pure."""

from __future__ import annotations

from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.vocabulary import Data, Speed
from rig.errors import RemoteProtocolError
from rig.usb import descriptors
from rig.usb.setup import DESCRIPTOR_DEVICE, Request, RequestType, SetupPacket
from rig.usb.urb import TransferType


class DescriptorReader:
    """Three requests: the device descriptor, the head of the configuration, and all of it.

    Gadgets on vudc have one configuration.

    Attributes:
        request: The request whose answer comes next; None when all is read.
        device: The device's layout, when all is read.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.request: SetupPacket | None = _get(DESCRIPTOR_DEVICE, descriptors.DEVICE.size)
        self.device: descriptors.Device | None = None

    def take(self, data: Data) -> None:
        """Take the answer to `request`.

        Raises:
            RemoteProtocolError: It is no descriptor.
        """
        asked, octets = self.request, bytes(data)
        assert asked is not None
        if len(octets) != asked.length:
            raise RemoteProtocolError(
                f"The gadget sent {len(octets)} octets of a descriptor of {asked.length}."
            )
        self._parts.append(octets)
        match len(self._parts):
            case 1:
                _check_length("device", octets, descriptors.DEVICE.size)
                head_bytes = descriptors.CONFIGURATION.size
                self.request = _get(descriptors.TYPE_CONFIGURATION, head_bytes)
            case 2:
                _check_length("configuration", octets, descriptors.CONFIGURATION.size)
                whole_bytes = descriptors.CONFIGURATION.unpack(octets)[2]  # wTotalLength
                if whole_bytes < len(octets):
                    raise RemoteProtocolError(
                        f"The gadget has a configuration of {whole_bytes} octets in all."
                    )
                self.request = _get(descriptors.TYPE_CONFIGURATION, whole_bytes)
            case _:
                self.request = None
                self.device = descriptors.parse(self._parts[0] + octets)
                _check_packets(self.device)

    def connect(self, speed: Speed) -> redir.DeviceConnect:
        """Return the packet that plugs the device in."""
        fields = descriptors.DEVICE.unpack(self._parts[0])
        _, _, _, code, subclass, protocol, _, vendor, product, version, *_ = fields
        return redir.DeviceConnect(0, speed, code, subclass, protocol, vendor, product, version)


def _get(kind: int, length_bytes: int) -> SetupPacket:
    fields = (RequestType.FROM_DEVICE, Request.GET_DESCRIPTOR, kind << 8, 0)
    return SetupPacket(*fields, length_bytes)


def _check_length(name: str, octets: bytes, right_bytes: int) -> None:
    if octets[0] != right_bytes:  # bLength
        raise RemoteProtocolError(
            f"The gadget's {name} descriptor begins with the length {octets[0]},"
            f" {right_bytes} belong there."
        )


def _check_packets(device: descriptors.Device) -> None:
    for configuration in device.configurations:
        for interface in configuration.interfaces:
            for endpoint in interface.endpoints:
                if endpoint.transfer_type is TransferType.BULK and not endpoint.max_packet_bytes:
                    raise RemoteProtocolError(
                        f"The gadget's endpoint {endpoint.address:#04x} has packets of 0 octets."
                    )
