"""The functions of a gadget as data: each a directory of configfs with its attributes.

Sources: Documentation/usb/gadget-testing.rst, and for the attributes' effects f_mass_storage.c,
u_ether_configfs.h and f_hid.c in ``drivers/usb/gadget/function``.  Pure.
"""

from __future__ import annotations

import zlib

import msgspec

from rig.errors import UserError
from rig.gadget.kinds import FACTS, Facts, Kind

LUN = "lun.0"
_INQUIRY_WIDTHS = (8, 16, 4)  # vendor, product, revision: SPC-4 §6.4.2

KEYBOARD_REPORT_BYTES = 8
"""Modifiers, a reserved octet, six keys (HID 1.11, appendix B.1)."""

KEYBOARD_DESCRIPTOR = bytes.fromhex(
    "05 01 09 06 a1 01"  # generic desktop, keyboard, application
    "05 07 19 e0 29 e7 15 00 25 01 75 01 95 08 81 02"  # 8 bits: the modifiers
    "95 01 75 08 81 03"  # 1 octet: reserved
    "95 05 75 01 05 08 19 01 29 05 91 02 95 01 75 03 91 03"  # out: 5 LEDs, 3 bits of padding
    "95 06 75 08 15 00 25 65 05 07 19 00 29 65 81 00"  # 6 octets: the keys that are down
    "c0"
)
"""The report descriptor of a boot keyboard (HID 1.11, appendix E.6)."""


class Attribute(msgspec.Struct, frozen=True):
    """A value that configures a function.

    Attributes:
        path: Relative to the function's directory.
        value: Text is written as a line, octets as they are.
        undo: What takes the effect back; None where removing the function does.
    """

    path: str
    value: str | bytes
    undo: Attribute | None = None


class Function(msgspec.Struct, frozen=True):
    """One function of a gadget.

    Attributes:
        kind: See `Kind`.
        number: Tells functions of one kind in one gadget apart, from 0.
        attributes: Written in this order, before the function is linked.
        instance: Instead of the number, where that must differ from all other gadgets' too.
    """

    kind: Kind
    number: int = 0
    attributes: tuple[Attribute, ...] = ()
    instance: str = ""

    @property
    def facts(self) -> Facts:
        """What holds for its kind."""
        return FACTS[self.kind]

    @property
    def directory(self) -> str:
        """The name of its directory in configfs."""
        return f"{self.facts.configfs}.{self.instance or self.number}"

    def became(self, values: dict[str, str]) -> dict[str, str]:
        """Say what the function is on the gadget's side, as it is told to tests and people.

        Args:
            values: What the kernel says, by `Told.attribute`.
        """
        fields = {"function": str(self.kind)}
        for told in self.facts.told:
            value = values[told.attribute]
            if told.prefix is not None:
                value = told.prefix + value.rpartition(":")[2]
            fields[told.name] = value
        return fields


class Disk(msgspec.Struct, frozen=True):
    """How a mass-storage function's LUN presents itself.

    Attributes:
        vendor: SCSI vendor, at most 8 characters.
        product: SCSI product, at most 16 characters.
        revision: SCSI revision, at most 4 characters.
        removable: A removable medium.  Fixed by default: Linux refuses all I/O on a removable
            disk after a unit attention that says that its medium may have changed.
        stall: Whether the function may halt its bulk endpoints, as BOT expects.
    """

    vendor: str = "Rig"
    product: str = "Store"
    revision: str = "0001"
    removable: bool = False
    stall: bool = True

    @property
    def inquiry(self) -> str:
        """The 28 characters of an INQUIRY's answer that name the device.

        Raises:
            UserError: A name is too long.
        """
        names = (self.vendor, self.product, self.revision)
        for name, width in zip(names, _INQUIRY_WIDTHS, strict=True):
            if len(name) > width or not name.isascii():
                raise UserError(f"SCSI name '{name}' does not fit into {width} ASCII characters.")
        return "".join(n.ljust(w) for n, w in zip(names, _INQUIRY_WIDTHS, strict=True))


EJECT = Attribute(f"{LUN}/forced_eject", "1")
"""Ejects even if the host has locked the medium."""


def mass_storage(backing_file: str, disk: Disk | None = None, number: int = 0) -> Function:
    """A disk with one LUN.

    Args:
        backing_file: Absolute path of the LUN's file.
        disk: How it presents itself; None for the usual.
        number: See `Function`.

    Raises:
        UserError: A SCSI name does not fit.
    """
    disk = disk or Disk()
    attributes = (
        Attribute("stall", str(int(disk.stall))),
        # Refused once the file is open, so before it.
        Attribute(f"{LUN}/removable", str(int(disk.removable))),
        Attribute(f"{LUN}/ro", "0"),
        Attribute(f"{LUN}/cdrom", "0"),
        Attribute(f"{LUN}/nofua", "0"),
        Attribute(f"{LUN}/inquiry_string", disk.inquiry),
        Attribute(f"{LUN}/file", backing_file, undo=EJECT),
    )
    return Function(Kind.MASS_STORAGE, number, attributes)


def bot_storage(gadget: str) -> Function:
    """A disk that `rig.gadget.bot` plays through FunctionFS.

    Args:
        gadget: The gadget's name, by which FunctionFS is mounted: it is one of a whole machine.
    """
    return Function(Kind.BOT_STORAGE, instance=gadget)


def ncm(gadget: str, number: int = 0) -> Function:
    """CDC-NCM Ethernet, with addresses that are the same at every start.

    Args:
        gadget: The gadget's name, from which the addresses are derived.
        number: See `Function`.
    """
    middle = zlib.crc32(f"{gadget}/{number}".encode()).to_bytes(4, "big").hex(":")
    # 02: an address that is locally administered, and no multicast (IEEE 802-2014 §8.2).
    return Function(
        Kind.NCM,
        number,
        (
            Attribute("dev_addr", f"02:{middle}:00"),
            Attribute("host_addr", f"02:{middle}:01"),
        ),
    )


def hid_keyboard(number: int = 0) -> Function:
    """A boot keyboard: reports written to its device node are keys that are down."""
    return Function(
        Kind.HID,
        number,
        (
            Attribute("subclass", "1"),  # boot interface
            Attribute("protocol", "1"),  # keyboard
            Attribute("report_length", str(KEYBOARD_REPORT_BYTES)),
            Attribute("report_desc", KEYBOARD_DESCRIPTOR),
        ),
    )


def leftover(directory: str) -> Function | None:
    """The function whose directory has this name, as far as it matters for removing it.

    Returns:
        None if it is of no kind that we make.
    """
    configfs, _, number = directory.partition(".")
    kind = next((kind for kind, facts in FACTS.items() if facts.configfs == configfs), None)
    if kind is Kind.BOT_STORAGE:
        return bot_storage(number)
    if kind is None or not (number.isascii() and number.isdigit()):
        return None
    attributes: tuple[Attribute, ...] = ()
    if kind is Kind.MASS_STORAGE:
        attributes = (Attribute(f"{LUN}/file", "", undo=EJECT),)
    return Function(kind, int(number), attributes)
