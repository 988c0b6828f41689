"""Devices whose drivers are tried, and the ways of data through them.  Data only."""

from __future__ import annotations

from dataclasses import dataclass

from rig.experiments.run.places import STORE
from rig.lab.environment import Role
from rig.lab.waits import Awaited
from rig.usb.urb import Direction


@dataclass(frozen=True, slots=True)
class Route:
    """A way of data through a device.

    In commands, ``{front}`` stands for what the driver on the front machine made of the device, and
    ``{back}`` for what the gadget's function is on the back machine.

    Attributes:
        driver: The kernel's driver on the front machine.
        direction: Of the data.
        awaits: What the driver makes of the device.
        ends: Role and place of each end of ``rig flow``, the one that is asked first.
        settle: Role and shell command, before that.
        min_bytes: Of the transfers that may be made to fail.
        deadline_s: Until data flow again, or it is said that they do not.
    """

    driver: str
    direction: Direction
    awaits: Awaited
    ends: tuple[tuple[Role, str], ...]
    settle: tuple[tuple[Role, str], ...] = ()
    min_bytes: int = 1
    deadline_s: float = 12.0

    @property
    def phase(self) -> str:
        """The phase in which the fault plan's rule for it fires."""
        return f"{self.driver}-{self.direction}"


@dataclass(frozen=True, slots=True)
class Device:
    """A gadget, and the drivers that the front's kernel has for it.

    Attributes:
        gadget: Command line of the daemon that plays it.
        routes: In the order in which they are tried.
        prepare: Shell commands for the front machine, before it is attached.
    """

    gadget: tuple[str, ...]
    routes: tuple[Route, ...]
    prepare: tuple[str, ...] = ()


PLAIN_SERIAL = r"""
set -e
gadget=/sys/kernel/config/usb_gadget/plain-serial
modprobe -a libcomposite usb_f_serial
mkdir -p $gadget
cd $gadget
echo 0x0525 >idVendor
echo 0xa4a6 >idProduct
mkdir -p functions/gser.0 configs/c.1 strings/0x409
echo plain-serial >strings/0x409/serialnumber
ln -s functions/gser.0 configs/c.1/
echo dummy_udc.0 >UDC
echo '{"event":"ready"}'
cat >/dev/null
echo >UDC
rm configs/c.1/gser.0
rmdir configs/c.1 functions/gser.0 strings/0x409
cd /
rmdir $gadget
"""
"""Plays a serial port without a class of its own, which usbserial's generic driver binds when told
its IDs, in the manner of the rig's daemons (`rig.daemon`)."""


def _usbtest(direction: Direction, case: int) -> Route:
    end = Role.FRONT, f"test usbtest:{case}:{{front}}"
    return Route("usbtest", direction, Awaited.USBTEST, (end,))


_NET = "10.79.0"
_NET_SETTLE = (
    (Role.BACK, f"ip address replace {_NET}.1/24 dev {{back}} && ip link set {{back}} up"),
    (Role.FRONT, f"ip address replace {_NET}.2/24 dev {{front}} && ip link set {{front}} up"),
)


def _serial(driver: str) -> tuple[Route, Route]:
    front, back = (Role.FRONT, "receive tty:{front}"), (Role.BACK, "send tty:{back}")
    to_back = (Role.BACK, "receive tty:{back}"), (Role.FRONT, "send tty:{front}")
    return (
        Route(driver, Direction.OUT, Awaited.TTY, to_back),
        Route(driver, Direction.IN, Awaited.TTY, (front, back)),
    )


def _gadget(*functions: str) -> tuple[str, ...]:
    words = (word for function in functions for word in ("--function", function))
    return ("rig", "gadget", "--directory", STORE, "--size", "16M", "--supervised", *words)


DEVICES = (
    Device(
        _gadget("mass-storage,removable=0"),
        (
            Route(
                "usb-storage",
                Direction.OUT,
                Awaited.DISK,
                ((Role.FRONT, "write {front}"),),
                min_bytes=4096,
                deadline_s=60.0,  # SCSI gives a command 30 s
            ),
            Route(
                "usb-storage",
                Direction.IN,
                Awaited.DISK,
                ((Role.FRONT, "read {front}"),),
                min_bytes=4096,
                deadline_s=60.0,
            ),
        ),
    ),
    Device(_gadget("acm"), _serial("cdc_acm")),
    Device(
        ("sh", "-c", PLAIN_SERIAL),
        _serial("usbserial"),
        ("[ -d /sys/module/usbserial ] || modprobe usbserial vendor=0x0525 product=0xa4a6",),
    ),
    Device(
        _gadget("source-sink"),
        (_usbtest(Direction.OUT, 27), _usbtest(Direction.IN, 28)),  # queues of bulk URBs
    ),
    Device(
        _gadget("ncm"),
        (
            Route(
                "cdc_ncm",
                Direction.OUT,
                Awaited.NET,
                (
                    (Role.BACK, f"receive udp:{_NET}.1:5001"),
                    (Role.FRONT, f"send udp:{_NET}.1:5001"),
                ),
                _NET_SETTLE,
            ),
            Route(
                "cdc_ncm",
                Direction.IN,
                Awaited.NET,
                (
                    (Role.FRONT, f"receive udp:{_NET}.2:5002"),
                    (Role.BACK, f"send udp:{_NET}.2:5002"),
                ),
                _NET_SETTLE,
            ),
        ),
    ),
)

DRIVERS = tuple(dict.fromkeys(route.driver for device in DEVICES for route in device.routes))
"""The names of all drivers that can be tried."""
