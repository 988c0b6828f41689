"""One mapped port of this machine, by usbfs and sysfs.

Mapping a port is CLAIM_PORT on its hub: from then on no kernel driver binds what is plugged in
there (``usb_hub_claim_port``, ``drivers/usb/core/hub.c``), whatever it is.  A USB 3 connector is
two ports, and both are claimed.

Nearly all of this may block: whoever opens or claims anything waits for the lock of a device, or of
its hub, which the kernel holds for seconds while a device does not answer.
"""

from __future__ import annotations

import errno
import logging

import msgspec

from rig.errors import RigError, UserError
from rig.usb import descriptors, sysfs
from rig.usb.urb import Speed
from rig.usb.usbfs import UsbfsDevice

_log = logging.getLogger("rig.port")

_HUB_CLASS = 0x09

_NOT_THERE = (errno.ENOENT, errno.ENODEV)
"""A device shows in sysfs before its node is made, and after it can be opened (``device_add`` in
``drivers/base/core.c``): the uevents come behind both."""


class Plugged(msgspec.Struct, frozen=True):
    """A device that is open.

    Attributes:
        name: Its sysfs name, such as ``3-1``.
        usbfs: Its node.
        layout: Its descriptors.
        speed: At which it runs.
    """

    name: str
    usbfs: UsbfsDevice
    layout: descriptors.Device
    speed: Speed


class Port:
    """A mapped port: both ports of the connector, if it has two.

    Args:
        name: As `rig.usb.sysfs.locate` takes it.

    Raises:
        UserError: There is no such port, or somebody else has claimed it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        location = sysfs.locate(name)
        other = sysfs.twin(location)
        self.locations = [location, other] if other is not None else [location]
        self._hubs: list[UsbfsDevice] = []
        self._unclaimed: dict[int, str] = {}  # hubs that came back and could not be claimed
        try:
            for each in self.locations:
                self._hubs.append(_claim(name, each))
        except UserError:
            self.close()
            raise
        self._node: str | None = None
        self._device: str | None = None

    def close(self) -> None:
        """Give the port back to the kernel."""
        for hub in self._hubs:
            hub.close()

    @property
    def driver(self) -> str:
        """The name of the host controller's driver, such as ``dummy_hcd``."""
        return sysfs.controller_driver(self.locations[0].hub)

    @property
    def present(self) -> bool:
        """Whether the device that was found is still in the port."""
        return self._device is not None and sysfs.node(self._device) == self._node

    def forget(self) -> None:
        """The device that was found has gone."""
        self._node = self._device = None

    def look(self) -> Plugged | None:
        """Open the device that is in the port, if there is one that can be served.  May block.

        One that cannot be is asked for once, and left alone until it is unplugged.
        """
        self._claim_again()
        found = next(((d, n) for d in self._devices() if (n := sysfs.node(d)) is not None), None)
        if found is None:
            self.forget()
            return None
        if found[1] == self._node:
            return None
        self._device, self._node = found
        try:
            usbfs = UsbfsDevice(self._node)
        except OSError as error:
            if error.errno in _NOT_THERE:
                self.forget()  # the uevent that is to come has us look again
            else:
                _log.warning("%s is plugged into port %s, but: %s", self._node, self.name, error)
            return None
        try:
            layout = descriptors.parse(usbfs.descriptors())
            if layout.device_class == _HUB_CLASS:
                raise UserError("it is a hub; plug the device in without one.")
            speed = usbfs.speed()
            _evict_drivers(usbfs, layout)
            return Plugged(self._device, usbfs, layout, speed)
        except (OSError, RigError) as error:
            _log.warning("%s is plugged into port %s, but: %s", self._node, self.name, error)
            usbfs.close()
            return None

    def _claim_again(self) -> None:
        """Claim what belongs to another node than before: the hub was unplugged, and is back.

        The claim went with the old hub. Without it the kernel's drivers bind what is plugged in.
        """
        for place, location in enumerate(self.locations):
            node = sysfs.node(location.hub)
            if node is None or node == self._hubs[place].path:
                continue
            try:
                hub = _claim(self.name, location)
            except UserError as error:
                # Told once, tried at every uevent: it has no ports before its driver is bound.
                if self._unclaimed.get(place) != node:
                    self._unclaimed[place] = node
                    _log.warning("%s", error)
                continue
            self._hubs[place].close()
            self._hubs[place] = hub
            _log.info("port %s is claimed again: its hub %s is back", self.name, location.hub)

    def _devices(self) -> list[str]:
        return [location.device for location in self.locations]


def _evict_drivers(usbfs: UsbfsDevice, layout: descriptors.Device) -> None:
    """Unbind what was bound before the port was claimed; nothing binds again."""
    for configuration in layout.configurations:
        for number in configuration.interface_numbers:
            try:
                usbfs.claim_interface(number)
            except OSError:
                continue  # not of the active configuration
            usbfs.release_interface(number)


def _claim(name: str, location: sysfs.PortLocation) -> UsbfsDevice:
    node = sysfs.node(location.hub)
    if node is None:
        raise UserError(f"Port '{name}': its hub {location.hub} is not there.")
    try:
        hub = UsbfsDevice(node)
    except OSError as error:
        raise UserError(
            f"Port '{name}': {node} cannot be opened: {error.strerror}.",
            hint="Nodes of usbfs are root's to write: run 'rig back' as root."
            if error.errno in (errno.EACCES, errno.EPERM)
            else "",
        ) from error
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
