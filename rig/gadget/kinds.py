"""The kinds of functions that a gadget can have, and what holds for each.

Sources: Documentation/ABI/testing/configfs-usb-gadget-*; in ``drivers/usb/gadget``, the IDs of
``legacy/`` and the descriptors of ``function/``.  Pure.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """The kinds of functions; the words are those of ``rig gadget --function``."""

    MASS_STORAGE = "mass-storage"
    BOT_STORAGE = "bot-storage"
    ACM = "acm"
    NCM = "ncm"
    HID = "hid"
    SOURCE_SINK = "source-sink"
    LOOPBACK = "loopback"


class Told(msgspec.Struct, frozen=True):
    """An attribute by which the kernel tells, once it is bound, what a function became.

    Attributes:
        name: What we call it.
        attribute: Of the function's directory.
        prefix: Set before the value's last part (what follows the last colon), where the value is
            a number in a device's name; None leaves the value as it is.
    """

    name: str
    attribute: str
    prefix: str | None = None


class Facts(msgspec.Struct, frozen=True):
    """What holds for every function of a kind.

    Attributes:
        configfs: The kernel's name; a directory is called so, with a dot and an instance's name.
        module: The kernel module that has it.
        title: For people.
        vendor_id: Of a device that has this function alone.
        product_id: Of the same; with the vendor's an ID that is assigned to such gadgets.
        associated: It has two interfaces that belong together, and an interface association
            descriptor that says so (USB 3.2 §9.6.4).
        told: See `Told`.
    """

    configfs: str
    module: str
    title: str
    vendor_id: int
    product_id: int
    associated: bool = False
    told: tuple[Told, ...] = ()


_LINUX_FOUNDATION = 0x1D6B
_NETCHIP = 0x0525

DISKS = (Kind.MASS_STORAGE, Kind.BOT_STORAGE)
"""Kinds with a medium behind them."""

FACTS = {
    Kind.MASS_STORAGE: Facts(
        "mass_storage", "usb_f_mass_storage", "mass storage", _LINUX_FOUNDATION, 0x0104
    ),
    # Played by `rig.gadget.bot`, for the host the same as the kernel's.
    Kind.BOT_STORAGE: Facts("ffs", "usb_f_fs", "bulk-only disk", _LINUX_FOUNDATION, 0x0104),
    Kind.ACM: Facts(
        "acm",
        "usb_f_acm",
        "serial port",
        _NETCHIP,
        0xA4A7,
        associated=True,
        told=(Told("device", "port_num", "/dev/ttyGS"),),
    ),
    Kind.NCM: Facts(
        "ncm",
        "usb_f_ncm",
        "Ethernet",
        _LINUX_FOUNDATION,
        0x0103,
        associated=True,
        told=(
            Told("interface", "ifname"),
            Told("address", "dev_addr"),
            Told("host_address", "host_addr"),
        ),
    ),
    Kind.HID: Facts(
        "hid",
        "usb_f_hid",
        "keyboard",
        _NETCHIP,
        0xA4AC,
        # The attribute is MAJOR:MINOR, and the minor number is the one in the name.
        told=(Told("device", "dev", "/dev/hidg"),),
    ),
    # The ID that usbtest binds (gadget_info in drivers/usb/misc/usbtest.c).
    Kind.SOURCE_SINK: Facts("SourceSink", "usb_f_ss_lb", "source and sink", _NETCHIP, 0xA4A0),
    Kind.LOOPBACK: Facts("Loopback", "usb_f_ss_lb", "loopback", _NETCHIP, 0xA4A0),
}
