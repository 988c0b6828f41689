"""The gadget's configfs tree as data: what to make, in order, and its exact reverse.

Paths are relative to the directory of all gadgets.  Sources: Documentation/usb/gadget_configfs.rst
and Documentation/ABI/testing/configfs-usb-gadget.  Pure: `rig.gadget.configfs` carries the steps
out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from rig.errors import UserError
from rig.gadget.functions import Attribute, Function, leftover

LANGUAGE = "0x409"  # English (United States)
MANUFACTURER = "Rig"
COMPOSITE = (0x1D6B, 0x0104)
"""The Linux Foundation's ID for a gadget with several functions."""


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
        value: Text without a newline, which is written as a line; or octets, written as they are.
        undo: What takes the effect back; None where removing the object does.
    """

    path: str
    value: str | bytes
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
    """A USB device with one configuration.

    Attributes:
        name: Of the gadget's directory.
        functions: What it can do; one at least, or it cannot be bound.
        max_speed: See `MaxSpeed`.
        chosen_id: Vendor and product ID; None takes the usual ones of its functions.
    """

    name: str
    functions: tuple[Function, ...]
    max_speed: MaxSpeed = MaxSpeed.HIGH
    chosen_id: tuple[int, int] | None = None

    @property
    def device_id(self) -> tuple[int, int]:
        """Vendor and product ID of the device descriptor."""
        if self.chosen_id is not None:
            return self.chosen_id
        if len(self.functions) != 1:
            return COMPOSITE
        facts = self.functions[0].facts
        return facts.vendor_id, facts.product_id

    @property
    def device_class(self) -> tuple[int, int, int]:
        """Class, subclass and protocol of the device descriptor.

        A device with interface association descriptors must say so ("USB Interface Association
        Descriptor Device Class Code and Use Model", USB-IF); for others the interfaces speak.
        """
        associated = any(function.facts.associated for function in self.functions)
        return (0xEF, 0x02, 0x01) if associated else (0, 0, 0)

    @property
    def serial(self) -> str:
        """12 upper-case hexadecimal digits, as BOT §4.1.1 wants; another for each name."""
        return f"524947{zlib.crc32(self.name.encode()) & 0xFFFFFF:06X}"

    @property
    def title(self) -> str:
        """What the device is, for people."""
        return " + ".join(function.facts.title for function in self.functions)


def build_steps(spec: GadgetSpec) -> tuple[Step, ...]:
    """The steps that make the gadget, up to but without binding it to a UDC.

    Raises:
        UserError: The gadget's name is none for a directory.
    """
    top = spec.name
    if not top or "/" in top or top in (".", ".."):
        raise UserError(f"'{top}' cannot be a gadget's name.", hint="Take letters and digits.")
    configuration = f"{top}/configs/c.1"
    return (
        MakeDirectory(top),
        *_device_attributes(spec),
        MakeDirectory(f"{top}/strings/{LANGUAGE}"),
        *_attributes(
            f"{top}/strings/{LANGUAGE}",
            serialnumber=spec.serial,
            manufacturer=MANUFACTURER,
            product=spec.title,
        ),
        MakeDirectory(configuration),
        *_attributes(configuration, MaxPower="100"),
        MakeDirectory(f"{configuration}/strings/{LANGUAGE}"),
        *_attributes(f"{configuration}/strings/{LANGUAGE}", configuration=spec.title),
        *(step for function in spec.functions for step in _function_steps(top, function)),
        # In the order of the interfaces' numbers.
        *(
            Link(f"{configuration}/{function.directory}", f"{top}/functions/{function.directory}")
            for function in spec.functions
        ),
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


def removal_steps(name: str, directories: Iterable[str]) -> tuple[Step, ...]:
    """The steps that remove a gadget of which only its functions' directories are known.

    That is what a process that was killed leaves behind.

    Args:
        name: Of the gadget.
        directories: Names of its functions' directories; those of kinds that are not ours are
            passed over, and the gadget then stays.
    """
    functions = tuple(f for directory in directories if (f := leftover(directory)) is not None)
    return undo_steps(build_steps(GadgetSpec(name, functions)))


def _device_attributes(spec: GadgetSpec) -> tuple[WriteAttribute, ...]:
    vendor_id, product_id = spec.device_id
    device_class, subclass, protocol = spec.device_class
    return _attributes(
        spec.name,
        idVendor=f"0x{vendor_id:04x}",
        idProduct=f"0x{product_id:04x}",
        bcdDevice="0x0100",
        bDeviceClass=f"0x{device_class:02x}",
        bDeviceSubClass=f"0x{subclass:02x}",
        bDeviceProtocol=f"0x{protocol:02x}",
        max_speed=str(spec.max_speed),
    )


def _function_steps(top: str, function: Function) -> tuple[Step, ...]:
    directory = f"{top}/functions/{function.directory}"
    return (
        MakeDirectory(directory),
        *(_write(directory, attribute) for attribute in function.attributes),
    )


def _write(directory: str, attribute: Attribute) -> WriteAttribute:
    undo = _write(directory, attribute.undo) if attribute.undo else None
    return WriteAttribute(f"{directory}/{attribute.path}", attribute.value, undo)


def _attributes(directory: str, **values: str) -> tuple[WriteAttribute, ...]:
    return tuple(WriteAttribute(f"{directory}/{name}", value) for name, value in values.items())
