"""The back end's edge: one mapped port of this machine, through usbfs and sysfs.

Mapping a port is CLAIM_PORT on its hub: from then on no kernel driver binds what is plugged in
there (``usb_hub_claim_port``, ``drivers/usb/core/hub.c``), whatever it is.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

import msgspec

from rig.errors import RigError, UserError
from rig.faults.triggers import EndpointEffect, EndpointTransfer, Fired, Injector
from rig.splitdriver.messages import Payload, Submit
from rig.splitdriver.porthook import Altered, alter
from rig.usb import descriptors, sysfs
from rig.usb.setup import (
    SETUP_BYTES,
    ClearHalt,
    Operation,
    SetConfiguration,
    SetInterface,
)
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN, Direction, Speed, TransferType
from rig.usb.usbfs import UsbfsDevice

_log = logging.getLogger("rig.port")


class Completion(msgspec.Struct, frozen=True):
    """An URB has ended; `data` is its IN data."""

    urb_id: int
    status: int
    actual_bytes: int
    data: Payload = b""


class _InFlight(msgspec.Struct):
    urb: Submit
    buffer: memoryview
    altered: Altered | None = None


class Port:
    """One mapped port and the device in it, if any.

    Args:
        name: As `rig.usb.sysfs.locate` takes it.
        injector: Asked about every bulk transfer; None for no faults.
        on_fault: Told of every fault that fires, with the URB it hits.

    Raises:
        UserError: There is no such port, or somebody else has claimed it.
    """

    def __init__(
        self,
        name: str,
        injector: Injector | None,
        on_fault: Callable[[Fired[EndpointEffect], Submit], None],
    ) -> None:
        self.name = name
        self.location = sysfs.locate(name)
        self._injector = injector
        self._on_fault = on_fault
        self._hub = _claim(name, self.location)
        self._device: UsbfsDevice | None = None
        self._node: str | None = None
        self._layout = descriptors.Device(0, 0, ())
        self._endpoints: dict[int, descriptors.Endpoint] = {}
        self._claimed: list[int] = []
        self._in_flight: dict[int, _InFlight] = {}
        self._at_once: list[Completion] = []

    @property
    def device(self) -> UsbfsDevice | None:
        """The open device, for poll and for its descriptors."""
        return self._device

    def close(self) -> None:
        """Give the device back to nobody and the port back to the kernel."""
        self.close_device()
        self._hub.close()

    def look(self) -> Speed | None:
        """Look what is plugged in, after the kernel has told of a change or at the start.

        Returns:
            The speed of a device that was not there before, and is open now; None otherwise.
        """
        node = sysfs.node(self.location.device)
        if node == self._node:
            return None
        self.close_device()
        if node is None:
            return None
        try:
            self._device = UsbfsDevice(node)
            self._layout = descriptors.parse(self._device.descriptors())
            speed = self._device.speed()
        except (OSError, RigError) as error:
            _log.warning("%s is plugged into port %s, but: %s", node, self.name, error)
            self.close_device()
            return None
        self._node = node
        self._evict_drivers()
        return speed

    @property
    def present(self) -> bool:
        """Whether the device that is open is still in the port."""
        return self._node is not None and sysfs.node(self.location.device) == self._node

    def start(self, urb: Submit) -> None:
        """Give an URB to the controller, or do to it what the fault plan says."""
        kind = self._transfer_type(urb.endpoint_address)
        flight = _InFlight(urb, _buffer(urb, kind))
        if kind is TransferType.BULK and self._injector is not None:
            flight.altered = self._fault(urb)
        run = flight.buffer
        if flight.altered is not None:
            if flight.altered.run_bytes is None:
                self._at_once.append(Completion(urb.urb_id, flight.altered.status, 0))
                return
            run = run[: flight.altered.run_bytes]
        if self._device is None:
            self._at_once.append(Completion(urb.urb_id, -errno.ENODEV, 0))
            return
        try:
            self._device.submit(urb.urb_id, kind, urb.endpoint_address, urb.flags, run)
        except OSError as error:
            self._at_once.append(Completion(urb.urb_id, -(error.errno or errno.EIO), 0))
            return
        self._in_flight[urb.urb_id] = flight

    def perform(self, urb: Submit, operation: Operation) -> None:
        """Have the kernel carry out a control request; blocks while it does."""
        status = self._attempt(lambda: self._perform(operation))
        self._at_once.append(Completion(urb.urb_id, status, 0))

    def discard(self, urb_id: int) -> None:
        """Take an URB back from the controller; blocks until the controller has let go of it."""
        if self._device is not None:
            self._device.discard(urb_id)

    def reset(self) -> int:
        """Reset the port; blocks while it lasts.

        Returns:
            0 or a negative errno.
        """
        # usbfs has no pre_reset: interfaces that are claimed would be unbound by force.
        return self._attempt(lambda: self._around_release(lambda device: device.reset()))

    def refused(self) -> list[Completion]:
        """Return what has ended without the controller: refused, performed, or failed on purpose.

        No system call: most of the time there is nothing, and the data path asks after each step.
        """
        done, self._at_once = self._at_once, []
        return done

    def completions(self) -> list[Completion]:
        """Return what has ended, in the order in which it ended."""
        done = self.refused()
        while self._device is not None and self._in_flight:
            try:
                reaped = self._device.reap()
            except OSError:  # ENODEV: gone, and nothing is left to reap
                break
            if reaped is None:
                break
            flight = self._in_flight.pop(reaped.urb_id)
            done.append(_completion(flight, reaped.status, reaped.actual_bytes))
        return done

    def abandon(self) -> None:
        """Take every URB back and forget it, also those that have ended."""
        for urb_id in list(self._in_flight):
            self.discard(urb_id)
        self.completions()

    def _transfer_type(self, address: int) -> TransferType:
        if address & ~DIRECTION_IN == CONTROL_ENDPOINT:
            return TransferType.CONTROL
        endpoint = self._endpoints.get(address)
        return endpoint.transfer_type if endpoint else TransferType.BULK

    def _fault(self, urb: Submit) -> Altered | None:
        assert self._injector is not None
        transfer = EndpointTransfer(
            Direction.of(urb.endpoint_address), urb.endpoint_address, urb.buffer_bytes
        )
        fired = self._injector.on_transfer(transfer)
        if fired is None:
            return None
        self._on_fault(fired, urb)
        endpoint = self._endpoints.get(urb.endpoint_address)
        packet_bytes = endpoint.max_packet_bytes if endpoint else 512
        return alter(fired.fault, urb.buffer_bytes, packet_bytes)

    def _perform(self, operation: Operation) -> None:
        assert self._device is not None
        match operation:
            case SetConfiguration(value):
                # The kernel refuses while any interface is claimed, even by us.
                self._around_release(lambda device: device.set_configuration(value), value)
            case SetInterface(interface, alternate):
                self._device.set_interface(interface, alternate)
            case ClearHalt(endpoint_address):
                self._device.clear_halt(endpoint_address)

    def _attempt(self, do: Callable[[], None]) -> int:
        if self._device is None:
            return -errno.ENODEV
        try:
            do()
        except OSError as error:
            _log.info("port %s: %s", self.name, error)
            # What the kernel does not know the device would have answered with a STALL.
            known = error.errno not in (errno.EINVAL, errno.ENOENT)
            return -(error.errno or errno.EIO) if known else -errno.EPIPE
        return 0

    def _around_release(
        self, do: Callable[[UsbfsDevice], None], configuration: int | None = None
    ) -> None:
        """Release all interfaces, do it, and claim those that there are then."""
        device = self._device
        assert device is not None
        wanted = self._claimed
        for number in wanted:
            device.release_interface(number)
        self._claimed = []
        try:
            do(device)
            if configuration is not None:
                chosen = self._layout.configuration(configuration)
                interfaces = chosen.interfaces if chosen else ()
                self._endpoints = {e.address: e for i in interfaces for e in i.endpoints}
                wanted = list(chosen.interface_numbers) if chosen else []
        finally:
            # Also after a failure: what was claimed before still is to be.
            for number in wanted:
                device.claim_interface(number)
                self._claimed.append(number)

    def _evict_drivers(self) -> None:
        """Unbind what was bound before the port was claimed; nothing binds again."""
        assert self._device is not None
        for configuration in self._layout.configurations:
            for number in configuration.interface_numbers:
                try:
                    self._device.claim_interface(number)
                except OSError:
                    continue  # not of the active configuration
                self._device.release_interface(number)

    def close_device(self) -> None:
        """Forget the device; without one it is no error."""
        if self._device is not None:
            self._device.close()
        self._device = None
        self._node = None
        self._claimed = []
        self._endpoints = {}
        self._in_flight.clear()
        self._at_once.clear()


def _claim(name: str, location: sysfs.PortLocation) -> UsbfsDevice:
    node = sysfs.node(location.hub)
    if node is None:
        raise UserError(f"Port '{name}': its hub {location.hub} is not there.")
    try:
        hub = UsbfsDevice(node)
    except OSError as error:
        raise UserError(f"Port '{name}': {node} cannot be opened: {error.strerror}.") from error
    try:
        hub.claim_port(location.number)
    except OSError as error:
        hub.close()
        if error.errno == errno.EBUSY:
            raise UserError(
                f"Port '{name}' is claimed by another program already.",
                hint="Stop the other 'rig back' or the usbip-host that has it.",
            ) from error
        raise UserError(f"Port '{name}' cannot be claimed: {error.strerror}.") from error
    return hub


def _buffer(urb: Submit, kind: TransferType) -> memoryview:
    """The buffer that usbfs uses in place: OUT data as received, or room for IN data."""
    is_in = bool(urb.endpoint_address & DIRECTION_IN)
    if kind is TransferType.CONTROL:
        # usbfs wants the SETUP packet before the data.
        return memoryview(bytearray(urb.setup + (bytes(urb.buffer_bytes) if is_in else urb.data)))
    if is_in:
        return memoryview(bytearray(urb.buffer_bytes))
    return memoryview(urb.data)


def _completion(flight: _InFlight, status: int, actual_bytes: int) -> Completion:
    urb = flight.urb
    if flight.altered is not None and status == 0:
        status = flight.altered.status
    data: Payload = b""
    if urb.endpoint_address & DIRECTION_IN:
        start = SETUP_BYTES if urb.endpoint_address & ~DIRECTION_IN == CONTROL_ENDPOINT else 0
        data = flight.buffer[start : start + actual_bytes]
    return Completion(urb.urb_id, status, actual_bytes, data)
