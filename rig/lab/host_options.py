"""What an environment file says of a host besides what labgrid itself reads: ``options``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from labgrid.protocol import ConsoleProtocol, PowerProtocol

from rig.errors import UserError
from rig.lab.attachment import DUMMY, Attachment

PORT_DRIVER = "usb-port"
LINK_PORT = 7205
BOOT_DEADLINE_S = 180.0
_KERNEL_NAME = re.compile(r"(?P<bus>\d+)-(?P<chain>\d+(\.\d+)*)")


class HostOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a target.

    Attributes:
        link_address: The host's own on the network that carries URBs; "": that of its
            `NetworkService`.
        link_port: Where the back end listens.
        work_directory: Gets a directory for what a lab writes; on a disk, not in memory.
        udc: To which the back machine's gadget is bound; "": one of dummy_hcd.
        port: Into which that UDC is plugged, as ``rig back --port`` takes it; with `udc`.
        controller: Part of the sysfs path of that port's host controller; "": told by `port`.
        certificates: The host's directory with cert.pem, key.pem and ca.pem; "": the link is
            neither encrypted nor authenticated.
        known_hosts: The file with hosts' SSH keys on the station.
        boot_deadline_s: From the power's return until SSH answers.
    """

    link_address: str = ""
    link_port: int = LINK_PORT
    work_directory: str = "/var/tmp"  # noqa: S108 - a directory of its own is made there
    udc: str = ""
    port: str = ""
    controller: str = ""
    certificates: str = ""
    known_hosts: str = "~/.ssh/known_hosts"
    boot_deadline_s: float = BOOT_DEADLINE_S

    @classmethod
    def read(cls, target: str, options: object) -> HostOptions:
        """Check the options of a target.

        Raises:
            UserError: One is unknown, is no such value, or needs another.
        """
        try:
            made = msgspec.convert(options, cls)
        except msgspec.ValidationError as error:
            raise UserError(
                f"Options of target '{target}': {error}.",
                hint=f"Known are: {', '.join(cls.__struct_fields__)}.",
            ) from error
        if bool(made.udc) != bool(made.port):
            raise UserError(
                f"Target '{target}' names a UDC without the port into which it is plugged, or the"
                " port alone.",
                hint="Give both 'udc' and 'port', or neither for dummy_hcd.",
            )
        return made

    @property
    def attachment(self) -> Attachment:
        """What the gadget is plugged into."""
        if not self.udc:
            return DUMMY
        controller = self.controller or self.port.partition("/")[0]
        if found := _KERNEL_NAME.fullmatch(self.port):
            controller = self.controller or f"/usb{found['bus']}/"
        return Attachment(f"udc:{self.udc}", self.udc, controller, self.port)

    @property
    def hub(self) -> str:
        """The hub of the port, as sysfs names it; "" if the port is not named by one."""
        found = _KERNEL_NAME.fullmatch(self.port)
        if found is None:
            return ""
        above, _, _ = found["chain"].rpartition(".")
        return f"{found['bus']}-{above}" if above else f"usb{found['bus']}"

    @property
    def trusted(self) -> str:
        """The file with hosts' keys, as SSH finds it."""
        return str(Path(self.known_hosts).expanduser())


def power_of(target: Any) -> Any:
    """Return the labgrid driver that switches a target's power; None if there is none."""
    return _only(target, PowerProtocol)


def port_of(target: Any) -> Any:
    """Return the one that switches the power of its gadget's port: named `PORT_DRIVER`."""
    return _only(target, PowerProtocol, PORT_DRIVER)


def serial_of(target: Any) -> Any:
    """Return the labgrid driver of a target's serial console; None if there is none."""
    return _only(target, ConsoleProtocol)


def _only(target: Any, protocol: type, name: str | None = None) -> Any:
    drivers: list[Any] = target.drivers
    found = [
        driver
        for driver in drivers
        if isinstance(driver, protocol)
        if (getattr(driver, "name", None) == PORT_DRIVER) == (name == PORT_DRIVER)
    ]
    if len(found) > 1:
        names = " and ".join(type(driver).__name__ for driver in found)
        raise UserError(f"Target '{target.name}' has {names}: one of them is enough.")
    return found[0] if found else None
