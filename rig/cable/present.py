"""What the device has at present: its configuration, and a queue for each endpoint in it.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rig.cable import shape
from rig.cable.controllers import Controller
from rig.cable.discipline import Queue, Transfer
from rig.cable.usbredir.packets import Packet
from rig.usb.descriptors import Device, Endpoint, Interface
from rig.usb.urb import DIRECTION_IN, TransferType


class Dropped(msgspec.Struct, frozen=True):
    """What was on endpoints that are no more.

    Attributes:
        taken_back: To be answered.
        running: With the device; to be unlinked.
    """

    taken_back: list[Transfer]
    running: list[Transfer]


class Present:
    """The configuration, its alternate settings, and their endpoints.

    A transfer for an endpoint that is not here must not reach vudc, which would end the connection.

    Args:
        controller: At QEMU's end.

    Attributes:
        queues: By endpoint address; without the default control pipe.
        endpoints: Likewise.
        value: Of the configuration; 0 for none.
        alternates: Alternate settings other than 0, by interface.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._device: Device | None = None
        self.queues: dict[int, Queue] = {}
        self.endpoints: dict[int, Endpoint] = {}
        self.value = 0
        self.alternates: dict[int, int] = {}

    def begin(self, device: Device | None) -> Dropped:
        """Take another device, which is not configured; None: there is none."""
        self._device = device
        return self.configure(0, {})

    def configure(self, value: int, alternates: dict[int, int]) -> Dropped:
        """Take note of a configuration; endpoints that stay keep their queues."""
        self.value, self.alternates = value, alternates
        wanted = shape.endpoints(self._interfaces())
        dropped = self.drop(address for address in self.queues if address not in wanted)
        for address, endpoint in wanted.items():
            if address not in self.queues:
                self.queues[address] = Queue(
                    pipelined=endpoint.transfer_type is TransferType.BULK,
                    short_stops=self._controller.short_stops and bool(address & DIRECTION_IN),
                )
        self.endpoints = wanted
        return dropped

    def stay(self) -> Dropped:
        """A change was refused: all is as it was before."""
        return self.configure(self.value, self.alternates)

    def of_interface(self, number: int) -> list[int]:
        """Return the addresses of an interface's endpoints."""
        return list(shape.endpoints(i for i in self._interfaces() if i.number == number))

    def drop(self, addresses: Iterable[int]) -> Dropped:
        """Let these endpoints be no more."""
        dropped = Dropped([], [])
        for address in list(addresses):
            queue = self.queues.pop(address, None)
            self.endpoints.pop(address, None)
            if queue is None:
                continue
            dropped.taken_back.extend(queue.clear())
            if queue.running is not None:
                dropped.running.append(queue.running)
        return dropped

    def packets(self) -> tuple[Packet, Packet]:
        """Return what tells QEMU of interfaces and endpoints."""
        interfaces = self._interfaces()
        return shape.interface_info(interfaces), shape.endpoint_info(interfaces)

    def _interfaces(self) -> list[Interface]:
        configuration = self._device.configuration(self.value) if self._device else None
        return shape.active(configuration, self.alternates)
