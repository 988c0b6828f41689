"""The ways in which the back machine's device gets to its client.

==========  ==============================================  ==========  ===========
path        who carries URBs                                client      behind
==========  ==============================================  ==========  ===========
``split``   ``rig back`` and ``rig front``                  front       vhci_hcd
``usbip``   the kernel's usbip-host, vhci_hcd alone         front       vhci_hcd
``direct``  nobody: the device is used where it is          back        the gadget's
==========  ==============================================  ==========  ===========

Whatever is compared between them (conformance, speed, hazards) meets the same gadget and the same
host controller below; only the way differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from rig.lab.crew import Crew
from rig.lab.environment import Role
from rig.lab.waits import LEEWAY_S, Awaited, wait_command

COMMAND_DEADLINE_S = 30.0

USBIPD = r"""
modprobe usbip_host || exit 1
usbipd -P/run/usbipd.pid </dev/null 2>&1 | while read -r line; do
    echo "$line" >&2
    case $line in *"listening on 0.0.0.0"*) echo '{"event":"listening"}' ;; esac
done &
cat >/dev/null
kill "$(cat /run/usbipd.pid)"
wait
"""
"""The kernel's USB/IP daemon in the manner of the rig's own (`rig.daemon`): it says when it
listens, and ends with its standard input."""

DETACH_ALL = r"""
cd /sys/devices/platform/vhci_hcd.0 || exit 1
for status in status*; do
    # hub port sta spd ...; 6 is VDEV_ST_USED (drivers/usb/usbip/usbip_common.h)
    while read -r _ port sta _; do
        [ "$sta" != 006 ] || echo "$((10#$port))" >detach
    done <"$status"
done
"""


class PathName(StrEnum):
    """The paths by name."""

    SPLIT = "split"
    USBIP = "usbip"
    DIRECT = "direct"


class DevicePath(Protocol):
    """How a bound gadget becomes an attached device, and how that is undone.

    The methods are called in this order: `begin`, `wait_served`, `attach`, `detach`, `withdraw`;
    the latter two undo `attach` and all before it.  Each raises `MachineError` if a machine or a
    program on it did not do its part.

    Attributes:
        client: The machine on which the device is used.
        controller: The host controller behind which it is there, as sysfs names it.
        claims: Whether the port is taken before anything is plugged in.
        serving: What the lab does on the way to ``bound``, for progress; "" for nothing.
        attaching: What it does from there to ``attached``.
    """

    client: Role
    controller: str
    claims: bool
    serving: str
    attaching: str

    def begin(self, crew: Crew, *, attach: bool) -> None:
        """Start to serve the device; do not wait: the gadget is starting, too.

        Args:
            crew: Who does it.
            attach: Whether `attach` is to follow, so that some of it may be begun, too.
        """

    def wait_served(self, crew: Crew) -> None:
        """Wait until the device is served.  The gadget is plugged in."""

    def attach(self, crew: Crew) -> None:
        """Attach it to the client's machine."""

    def detach(self, crew: Crew) -> None:
        """Take it away from the client's machine."""

    def withdraw(self, crew: Crew) -> None:
        """Stop serving it."""


class Split:
    """The rig's own split driver.

    Args:
        back: Command line of the back end.
        front: Command line of the front end.
        ready_deadline_s: How long each of them may take until it is ready.
        link: Command line of a relay between them, on the back machine; empty for none.
    """

    client = Role.FRONT
    controller = "vhci_hcd"
    claims = True
    serving = "start the back end"
    attaching = "attach the front end"

    def __init__(
        self,
        back: Sequence[str],
        front: Sequence[str],
        ready_deadline_s: float,
        link: Sequence[str] = (),
    ) -> None:
        self._back = back
        self._front = front
        self._deadline_s = ready_deadline_s
        self._link = link

    def begin(self, crew: Crew, *, attach: bool) -> None:
        """See `DevicePath`."""
        crew.start(Role.BACK, "back", self._back)
        if self._link:
            crew.start(Role.BACK, "link", self._link)
        if attach:
            # The front end calls until it is answered; it may start meanwhile.
            crew.start(Role.FRONT, "front", self._front)

    def wait_served(self, crew: Crew) -> None:
        """See `DevicePath`."""
        crew.daemons["back"].wait_event("listening", self._deadline_s)
        if self._link:
            crew.daemons["link"].wait_event("listening", self._deadline_s)

    def attach(self, crew: Crew) -> None:
        """See `DevicePath`."""
        daemon = crew.daemons.get("front") or crew.start(Role.FRONT, "front", self._front)
        daemon.wait_event("attached", self._deadline_s)

    def detach(self, crew: Crew) -> None:
        """See `DevicePath`."""
        crew.stop("front")

    def withdraw(self, crew: Crew) -> None:
        """See `DevicePath`."""
        crew.stop("link")
        crew.stop("back")


class UsbIp:
    """The stock kernel's USB/IP, by the tools of the Debian package usbip.

    Args:
        gadget_controller: The back machine's host controller, into which the gadget is plugged.
        ready_deadline_s: How long its daemon, and the device's enumeration, may take.
    """

    client = Role.FRONT
    controller = "vhci_hcd"
    claims = False
    serving = "export it by USB/IP"
    attaching = "attach it by USB/IP"

    def __init__(self, gadget_controller: str, ready_deadline_s: float) -> None:
        self._gadget_controller = gadget_controller
        self._deadline_s = ready_deadline_s
        self._bus_id = ""

    def begin(self, crew: Crew, *, attach: bool) -> None:  # noqa: ARG002
        """See `DevicePath`."""
        crew.start(Role.BACK, "usbipd", ("sh", "-c", USBIPD))

    def wait_served(self, crew: Crew) -> None:
        """See `DevicePath`."""
        crew.daemons["usbipd"].wait_event("listening", self._deadline_s)
        found = crew.machines[Role.BACK].check(
            wait_command(Awaited.DEVICE, self._gadget_controller, self._deadline_s),
            self._deadline_s + LEEWAY_S,
        )
        self._bus_id = found.stdout.strip()
        crew.machines[Role.BACK].check(f"usbip bind -b {self._bus_id}", COMMAND_DEADLINE_S)

    def attach(self, crew: Crew) -> None:
        """See `DevicePath`."""
        remote = crew.addresses[Role.BACK]
        crew.machines[Role.FRONT].check(
            f"usbip attach -r {remote} -b {self._bus_id}", COMMAND_DEADLINE_S
        )

    def detach(self, crew: Crew) -> None:
        """See `DevicePath`."""
        crew.machines[Role.FRONT].check(f"bash -c '{DETACH_ALL}'", COMMAND_DEADLINE_S)

    def withdraw(self, crew: Crew) -> None:
        """See `DevicePath`."""
        crew.machines[Role.BACK].check(f"usbip unbind -b {self._bus_id}", COMMAND_DEADLINE_S)
        crew.stop("usbipd")


class Direct:
    """No path at all: the device is used on the machine into which it is plugged.

    Args:
        gadget_controller: The host controller into which it is plugged.
    """

    client = Role.BACK
    claims = False
    serving = ""
    attaching = "use it where it is"

    def __init__(self, gadget_controller: str) -> None:
        self.controller = gadget_controller

    def begin(self, crew: Crew, *, attach: bool) -> None:
        """See `DevicePath`."""

    def wait_served(self, crew: Crew) -> None:
        """See `DevicePath`."""

    def attach(self, crew: Crew) -> None:
        """See `DevicePath`."""

    def detach(self, crew: Crew) -> None:
        """See `DevicePath`."""

    def withdraw(self, crew: Crew) -> None:
        """See `DevicePath`."""
