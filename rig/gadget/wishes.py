"""Functions as a user asks for them, ``KIND[,SETTING=VALUE...]``, and what that makes.  Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from rig.errors import UserError
from rig.faults.rules.device import DeviceFault, DeviceKind
from rig.gadget.functions import (
    LUN,
    Attribute,
    Function,
    bot_storage,
    hid_keyboard,
    mass_storage,
    ncm,
)
from rig.gadget.kinds import DISKS, Kind

_SWITCH = re.compile(r"[01]")
_NUMBER = re.compile(r"\d{1,9}")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")

_SOURCE_SINK = (
    *("pattern", "isoc_interval", "isoc_maxpacket", "isoc_mult", "isoc_maxburst"),
    *("bulk_buflen", "bulk_qlen", "iso_qlen"),
)

SETTINGS: dict[Kind, dict[str, tuple[str, re.Pattern[str]]]] = {
    Kind.MASS_STORAGE: {
        "stall": ("stall", _SWITCH),
        "removable": (f"{LUN}/removable", _SWITCH),
        "ro": (f"{LUN}/ro", _SWITCH),
        "nofua": (f"{LUN}/nofua", _SWITCH),
    },
    Kind.BOT_STORAGE: {},
    Kind.ACM: {},
    Kind.NCM: {
        "dev_addr": ("dev_addr", _MAC),
        "host_addr": ("host_addr", _MAC),
        "qmult": ("qmult", _NUMBER),
    },
    Kind.HID: {"no_out_endpoint": ("no_out_endpoint", _SWITCH)},
    Kind.SOURCE_SINK: {name: (name, _NUMBER) for name in _SOURCE_SINK},
    Kind.LOOPBACK: {name: (name, _NUMBER) for name in ("qlen", "bulk_buflen")},
}
"""Of each kind what a user may set: the attribute, and the form of its value."""


class Wish(msgspec.Struct, frozen=True):
    """A function that a user asks for.

    Attributes:
        kind: See `Kind`.
        settings: Values by the names in `SETTINGS`, checked.
    """

    kind: Kind
    settings: dict[str, str] = {}


def parse_wish(text: str) -> Wish:
    """Read ``KIND[,SETTING=VALUE...]``, like ``acm`` or ``source-sink,pattern=1,bulk_qlen=8``.

    Raises:
        UserError: There is no such kind or setting, or the value has not its form.
    """
    name, *pairs = text.split(",")
    if name not in list(Kind):
        raise UserError(
            f"'{name}' is no function of a gadget.", hint=f"Take one of {', '.join(Kind)}."
        )
    kind = Kind(name)
    settings = {}
    for pair in pairs:
        setting, _, value = pair.partition("=")
        known = SETTINGS[kind]
        if setting not in known:
            raise UserError(
                f"Function {kind} has no setting '{setting}'.",
                hint=f"It has {', '.join(known) or 'none'}.",
            )
        if not known[setting][1].fullmatch(value):
            raise UserError(f"'{value}' cannot be the {setting} of function {kind}.")
        settings[setting] = value
    return Wish(kind, settings)


def wants_store(wishes: Iterable[Wish]) -> bool:
    """Whether a store has to be there: whether a disk is among the wishes."""
    return any(wish.kind in DISKS for wish in wishes)


def check_rules(rules: Iterable[DeviceFault], wishes: Iterable[Wish]) -> None:
    """Refuse a plan's rules that the gadget could never bring about.

    Raises:
        UserError: One is about commands, and the disk is not the one that knows them; or about a
            medium, and there is no disk.
    """
    kinds = {wish.kind for wish in wishes}
    for rule in rules:
        if rule.of_commands and Kind.BOT_STORAGE not in kinds:
            raise UserError(
                f"Fault '{rule.name}' is about the commands of a disk that the gadget has not.",
                hint=f"Play it with --function {Kind.BOT_STORAGE}.",
            )
        if rule.kind is DeviceKind.EJECT and not kinds & set(DISKS):
            raise UserError(
                f"Fault '{rule.name}' takes a medium out, and the gadget has no disk.",
                hint=f"Add --function {Kind.MASS_STORAGE}.",
            )


def functions_of(wishes: Iterable[Wish], gadget: str, backing_file: str) -> tuple[Function, ...]:
    """The functions that were asked for, in order.

    Args:
        wishes: What was asked for.
        gadget: The gadget's name.
        backing_file: Absolute path of the file behind the disk, if there is one.

    Raises:
        UserError: Nothing was asked for, or two disks.
    """
    numbers: Counter[Kind] = Counter()
    functions = []
    for wish in wishes:
        number = numbers[wish.kind]
        numbers[wish.kind] += 1
        functions.append(_with_settings(_plain(wish.kind, number, gadget, backing_file), wish))
    if not functions:
        raise UserError("A gadget needs a function.", hint=f"Take one of {', '.join(Kind)}.")
    if sum(numbers[kind] for kind in DISKS) > 1:
        raise UserError(
            "A gadget has one disk at most: it has one store.",
            hint="Play a second gadget on another UDC.",
        )
    return tuple(functions)


def _plain(kind: Kind, number: int, gadget: str, backing_file: str) -> Function:
    match kind:
        case Kind.MASS_STORAGE:
            return mass_storage(backing_file, number=number)
        case Kind.BOT_STORAGE:
            return bot_storage(gadget)
        case Kind.NCM:
            return ncm(gadget, number)
        case Kind.HID:
            return hid_keyboard(number)
        case _:
            return Function(kind, number)


def _with_settings(function: Function, wish: Wish) -> Function:
    """Put a user's settings in the place of the usual values, or before all others."""
    known = SETTINGS[wish.kind]
    wanted = {known[name][0]: value for name, value in wish.settings.items()}
    usual = {attribute.path for attribute in function.attributes}
    attributes = [Attribute(path, value) for path, value in wanted.items() if path not in usual]
    attributes += [
        msgspec.structs.replace(attribute, value=wanted.get(attribute.path, attribute.value))
        for attribute in function.attributes
    ]
    return msgspec.structs.replace(function, attributes=tuple(attributes))
