"""The gadget's configfs tree as data: what to make, in order, and its exact reverse.

Paths are relative to the directory of all gadgets.  Sources: Documentation/usb/gadget_configfs.rst
and Documentation/ABI/testing/configfs-usb-gadget{,-mass-storage}.  Pure: `rig.gadget.configfs`
carries the steps out.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from rig.errors import UserError

FUNCTION = "mass_storage.0"
LANGUAGE = "0x409"  # English (United States)
_INQUIRY_WIDTHS = (8, 16, 4)  # vendor, product, revision: SPC-4 §6.4.2


class MaxSpeed(StrEnum):
    """The fastest speed that the gadget offers; the words are the kernel's."""

    FULL = "full-speed"
    HIGH = "high-speed"
    SUPER = "super-speed"


class MakeDirectory(msgspec.Struct, frozen=True):
    """Make a directory: an object of the kernel comes to be."""

    path: str


class RemoveDirectory(msgspec.Struct, frozen=True):
    """Remove a directory that step `MakeDirectory` made."""

    path: str


class WriteAttribute(msgspec.Struct, frozen=True):
    """Write an attribute of an object.

    Attributes:
        path: The attribute's file.
        value: Without a newline.
        undo: What takes the effect back; None where removing the object does.
    """

    path: str
    value: str
    undo: WriteAttribute | None = None


class Link(msgspec.Struct, frozen=True):
    """Link a function into a configuration; both paths are relative to all gadgets."""

    path: str
    target: str


class Unlink(msgspec.Struct, frozen=True):
    """Remove a link that step `Link` made."""

    path: str


Step = MakeDirectory | RemoveDirectory | WriteAttribute | Link | Unlink


class GadgetSpec(msgspec.Struct, frozen=True):
    """A mass-storage gadget with one LUN.

    Attributes:
        name: Of the gadget's directory.
        backing_file: Absolute path of the LUN's file.
        max_speed: See `MaxSpeed`.
        vendor_id: Of the device descriptor: 0x1d6b is the Linux Foundation's.
        product_id: 0x0104 is its composite gadget.
        serial: At least 12 upper-case hexadecimal digits, as BOT §4.1.1 wants.
        vendor: SCSI vendor, at most 8 characters.
        product: SCSI product, at most 16 characters; also the USB product string.
        revision: SCSI revision, at most 4 characters.
        removable: A removable medium.  Fixed by default: Linux refuses all I/O on a removable
            disk after a unit attention that says that its medium may have changed.
        stall: Whether the function may halt its bulk endpoints, as BOT expects.
    """

    name: str
    backing_file: str
    max_speed: MaxSpeed = MaxSpeed.HIGH
    vendor_id: int = 0x1D6B
    product_id: int = 0x0104
    serial: str = "524947000001"
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


def build_steps(spec: GadgetSpec) -> tuple[Step, ...]:
    """The steps that make the gadget, up to but without binding it to a UDC.

    Raises:
        UserError: A name of the spec does not fit.
    """
    top = spec.name
    if not top or "/" in top or top in (".", ".."):
        raise UserError(f"'{top}' cannot be a gadget's name.", hint="Take letters and digits.")
    configuration = f"{top}/configs/c.1"
    function = f"{top}/functions/{FUNCTION}"
    return (
        MakeDirectory(top),
        *_attributes(
            top,
            idVendor=f"0x{spec.vendor_id:04x}",
            idProduct=f"0x{spec.product_id:04x}",
            bcdDevice="0x0100",
            max_speed=str(spec.max_speed),
        ),
        MakeDirectory(f"{top}/strings/{LANGUAGE}"),
        *_attributes(
            f"{top}/strings/{LANGUAGE}",
            serialnumber=spec.serial,
            manufacturer=spec.vendor,
            product=spec.product,
        ),
        MakeDirectory(configuration),
        *_attributes(configuration, MaxPower="100"),
        MakeDirectory(f"{configuration}/strings/{LANGUAGE}"),
        *_attributes(f"{configuration}/strings/{LANGUAGE}", configuration="mass storage"),
        MakeDirectory(function),
        *_attributes(function, stall=str(int(spec.stall))),
        *_attributes(
            f"{function}/lun.0",
            # Refused once the file is open, so before it.
            removable=str(int(spec.removable)),
            ro="0",
            cdrom="0",
            nofua="0",
            inquiry_string=spec.inquiry,
        ),
        WriteAttribute(
            f"{function}/lun.0/file",
            spec.backing_file,
            # Ejects even if the host has locked the medium.
            undo=WriteAttribute(f"{function}/lun.0/forced_eject", "1"),
        ),
        Link(f"{configuration}/{FUNCTION}", function),
    )


def undo_steps(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps that take `steps` back, in exactly the reverse order.

    The LUN is ejected when its turn comes, after the function has left its configuration.
    """
    undone: list[Step] = []
    for step in reversed(tuple(steps)):
        match step:
            case MakeDirectory(path):
                undone.append(RemoveDirectory(path))
            case Link(path):
                undone.append(Unlink(path))
            case WriteAttribute(undo=WriteAttribute() as undo):
                undone.append(undo)
            case _:
                pass
    return tuple(undone)


def _attributes(directory: str, **values: str) -> tuple[WriteAttribute, ...]:
    return tuple(WriteAttribute(f"{directory}/{name}", value) for name, value in values.items())
