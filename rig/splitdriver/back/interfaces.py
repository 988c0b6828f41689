"""The interfaces of a device: which there are, which endpoints they have now, and whose they are.

All that is asked of the kernel here may block.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

from rig.usb import descriptors
from rig.usb.urb import TransferType
from rig.usb.usbfs import UsbfsDevice

_log = logging.getLogger("rig.device")


class Interfaces:
    """Claims them, and keeps account of configuration and alternate settings.

    Args:
        usbfs: The device's node.
        layout: Its descriptors.
    """

    def __init__(self, usbfs: UsbfsDevice, layout: descriptors.Device) -> None:
        self._usbfs = usbfs
        self._layout = layout
        self._configuration: descriptors.Configuration | None = None
        self._alternates: dict[int, int] = {}  # by interface; what is missing is 0
        self._claimed: list[int] = []
        self.kinds: Mapping[int, TransferType] = {}
        """The transfer types of the endpoints that there are now, by address, but endpoint 0's."""
        self.packet_bytes: Mapping[int, int] = {}
        """The same of their packets' sizes."""

    def configure(self, value: int) -> None:
        """Choose a configuration, and claim its interfaces.

        Raises:
            OSError: The configuration cannot be chosen; or it was, and an interface cannot be
                claimed.
        """

        def choose() -> None:
            self._usbfs.set_configuration(value)
            self._configuration = self._layout.configuration(value)

        # The kernel refuses while any interface is claimed, even by us.
        self._released(choose)

    def choose(self, interface: int, alternate: int) -> None:
        """Choose an alternate setting.

        Raises:
            OSError: It cannot be chosen.
        """
        self._usbfs.set_interface(interface, alternate)
        self._alternates[interface] = alternate
        self._take_note()

    def reset(self) -> None:
        """Reset the device's port.

        Raises:
            OSError: The kernel cannot; or it did, and an interface cannot be claimed again.
        """
        # usbfs has no pre_reset: interfaces that are claimed would be unbound by force.
        self._released(self._usbfs.reset)

    def endpoints_of(self, interface: int) -> frozenset[int]:
        """Return the addresses of an interface's endpoints."""
        return frozenset(
            e.address for i in self._chosen() if i.number == interface for e in i.endpoints
        )

    def _released(self, do: Callable[[], None]) -> None:
        """Release all interfaces, do it, and claim those that there are then."""
        try:
            for number in self._claimed:
                self._usbfs.release_interface(number)
            do()
        finally:
            # The kernel takes an interface that is released back to its first setting
            # (usb_unbind_interface).  Also after a failure: what was claimed still is to be.
            self._alternates.clear()
            failure = self._claim_all()
            self._take_note()
        if failure is not None:
            raise failure

    def _claim_all(self) -> OSError | None:
        """Claim as many as can be; return what is wrong with the first that cannot."""
        failure: OSError | None = None
        self._claimed = []
        for number in self._configuration.interface_numbers if self._configuration else ():
            try:
                self._usbfs.claim_interface(number)
            except OSError as error:
                _log.warning(
                    "%s: interface %d is not ours: %s", self._usbfs.path, number, error.strerror
                )
                failure = failure or error
            else:
                self._claimed.append(number)
        return failure

    def _take_note(self) -> None:
        endpoints = [e for i in self._chosen() for e in i.endpoints]
        self.kinds = {e.address: e.transfer_type for e in endpoints}
        self.packet_bytes = {e.address: e.max_packet_bytes for e in endpoints}

    def _chosen(self) -> Iterator[descriptors.Interface]:
        for interface in self._configuration.interfaces if self._configuration else ():
            if interface.alternate == self._alternates.get(interface.number, 0):
                yield interface
