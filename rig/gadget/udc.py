"""USB device controllers: which there are, what they do, binding a gadget to one.

Source: Documentation/ABI/stable/sysfs-class-udc and testing/configfs-usb-gadget (``UDC``).
"""

from __future__ import annotations

import errno
import logging
from pathlib import Path

from rig.errors import MachineError, UserError
from rig.gadget.configfs import Configfs, write_attribute

log = logging.getLogger("rig.gadget.udc")

UDC_CLASS = Path("/sys/class/udc")
DUMMY_PREFIX = "dummy_udc."


class Udcs:
    """The UDCs of this machine.

    Args:
        configfs: Where gadgets are.
        class_directory: Another place than the kernel's, for tests.
    """

    def __init__(self, configfs: Configfs, class_directory: Path = UDC_CLASS) -> None:
        self._configfs = configfs
        self._directory = class_directory

    def names(self) -> list[str]:
        """All UDCs, sorted."""
        if not self._directory.is_dir():
            return []
        return sorted(path.name for path in self._directory.iterdir())

    def check(self, udc: str, gadget: str) -> None:
        """Make sure that a UDC can be bound by a gadget.

        Raises:
            UserError: There is no such UDC, or another gadget is bound to it.
        """
        present = self.names()
        if udc not in present:
            listed = ", ".join(present) if present else "none"
            raise UserError(
                f"UDC '{udc}' does not exist; present: {listed}.",
                hint="Name one of those, or load the UDC's driver.",
            )
        owner = self._configfs.owner_of(udc)
        if owner not in ("", gadget):
            raise UserError(
                f"UDC '{udc}' is busy: gadget '{owner}' is bound to it.",
                hint=f"Unbind that one first, by an empty line to its attribute {owner}/UDC.",
            )

    def state(self, udc: str) -> str:
        """The device state as the kernel words it, like ``configured``; empty if it is gone."""
        return self._read(udc, "state")

    def speed(self, udc: str) -> str:
        """The speed as the kernel words it, like ``high-speed``; empty if the UDC is gone."""
        return self._read(udc, "current_speed")

    def bind(self, gadget: str, udc: str) -> None:
        """Bind a gadget: its host sees it being plugged in.

        Raises:
            UserError: See `check`.
            MachineError: The kernel refuses.
        """
        self.check(udc, gadget)
        log.info("bind gadget %s to UDC %s", gadget, udc)
        try:
            write_attribute(self._configfs.root / gadget / "UDC", udc)
        except OSError as error:
            raise MachineError(
                f"Gadget '{gadget}' cannot be bound to UDC '{udc}': {error.strerror}.",
                hint="The kernel's log says more.",
            ) from error

    def unbind(self, gadget: str) -> None:
        """Unbind a gadget from whatever it is bound to; nothing happens if it is not.

        Raises:
            MachineError: The kernel refuses.
        """
        if not self._configfs.bound_udc(gadget):
            return
        log.info("unbind gadget %s", gadget)
        try:
            write_attribute(self._configfs.root / gadget / "UDC", "")
        except OSError as error:
            if error.errno == errno.ENODEV:  # its UDC went away by itself meanwhile
                return
            raise MachineError(f"Gadget '{gadget}' cannot be unbound: {error.strerror}.") from error

    def disconnect(self, udc: str) -> None:
        """Switch the pull-up off: the host sees an unplugging, and the gadget stays bound.

        Raises:
            MachineError: The kernel refuses.
        """
        self._soft_connect(udc, "disconnect")

    def connect(self, gadget: str, udc: str) -> None:
        """Switch the pull-up on again; a gadget that is not bound is let be.

        On dummy_hcd by binding anew: ``soft_connect`` stops and starts the UDC, and stopping
        switches dummy_udc's callbacks off (`dummy_udc_stop`), but only binding switches them on
        (`usb_gadget_enable_async_callbacks`, ``drivers/usb/gadget/udc/core.c``).  Without them
        dummy_hcd finds no endpoint, and enumeration ends with -EPROTO.

        Raises:
            MachineError: The kernel refuses.
        """
        if self._configfs.bound_udc(gadget) != udc:
            return
        if udc.startswith(DUMMY_PREFIX):
            self.unbind(gadget)
            self.bind(gadget, udc)
        else:
            self._soft_connect(udc, "connect")

    def _soft_connect(self, udc: str, word: str) -> None:
        log.info("%s UDC %s", word, udc)
        try:
            write_attribute(self._directory / udc / "soft_connect", word)
        except OSError as error:
            raise MachineError(f"UDC '{udc}' does not {word}: {error.strerror}.") from error

    def _read(self, udc: str, attribute: str) -> str:
        try:
            return (self._directory / udc / attribute).read_text().strip()
        except OSError:
            return ""
