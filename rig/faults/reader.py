"""Reads a fault plan from TOML text; a bad plan is told in one sentence that names the place.

Pure: `rig.faults.load` does the file's I/O.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from rig.errors import UserError
from rig.faults.lines import Lines
from rig.faults.plan import FAULT_TYPES, Fault, Head, Plan, layer_of
from rig.faults.rules.base import Layer
from rig.faults.shown import cut, printable, shown

# msgspec says what is wrong in Python's words and where as a JSON path; only the key is used.
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_PATH = re.compile(r" - at `\$\.(\w+)[^`]*`$")
_QUOTED = re.compile(r"'(\w+)'")
_LONG_NUMBER = re.compile(r"[0-9][0-9_]{999,}")
_TOO_LARGE = "9" * 999
"""A number that Python reads, and no key takes."""
Table = TypeVar("Table", Fault, Head)


def parse_plan(text: str, source: str, phases: Collection[str] | None = None) -> Plan:
    """Read a plan.

    Args:
        text: The plan in TOML.
        source: What errors call it: the file, as the user named it.
        phases: Those that the workload has (`rig.faults.phases`); None: it is not known.

    Raises:
        UserError: The plan is bad; the sentence names the source, the line if it can be told,
            the rule and the key.
    """
    try:
        table = toml_table(text)
    except ValueError as error:
        raise UserError(printable(f"{source}: not valid TOML: {error}.")) from error
    tables = table.pop("fault", [])
    if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
        said = "'fault' must be written as [[fault]] tables"
        raise _Place(source, Lines(text, 0)).error("fault", said)
    lines = Lines(text, len(tables))
    head = _read(table, Head, ("fault",), _Place(source, lines))
    faults = [
        parse_rule(entry, _Place(source, lines, number), phases)
        for number, entry in enumerate(tables, start=1)
    ]
    return Plan(**msgspec.structs.asdict(head), faults=_named(faults, source, lines))


def parse_rule(
    entry: dict[str, Any], place: _Place | None = None, phases: Collection[str] | None = None
) -> Fault:
    """Read one rule.

    Args:
        entry: Its table, or what a command line or a socket said.
        place: Where it stands in a file; None for a rule that is in none.
        phases: See `parse_plan`.

    Raises:
        UserError: It is bad; the sentence names the place and the key.
    """
    place = place or _Place("", Lines("", 0))
    layer = entry.get("layer")
    kind = FAULT_TYPES.get(layer) if isinstance(layer, str) else None
    if kind is None:
        said = "no 'layer'" if layer is None else f"unknown layer {shown(layer)}"
        raise place.error("layer", f"{said}; known layers: {', '.join(FAULT_TYPES)}")
    place.layer = str(layer)
    rule = _read(entry, kind, ("layer",), place)
    if phases is not None and rule.phase not in (None, *phases):
        known = ", ".join(phases)
        said = f"no workload has a phase {shown(rule.phase)}; known phases: {known}"
        raise place.error("phase", said)
    return rule


def toml_table(text: str) -> dict[str, Any]:
    """Read TOML; a number that is too long to be read becomes another that is too large.

    Raises:
        ValueError: It is no TOML; says why.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError:  # Python reads no number of more than 4,300 digits, and does not say which
        return tomllib.loads(_LONG_NUMBER.sub(_TOO_LARGE, text))


def _read(
    entry: dict[str, Any], kind: type[Table], more_keys: tuple[str, ...], place: _Place
) -> Table:
    """Read one table whose keys are the fields of `kind` and `more_keys`."""
    keys = (*more_keys, *(field.encode_name for field in msgspec.structs.fields(kind)))
    for key in entry:
        if key not in keys:
            raise place.error(key, _unknown_key(key, keys))
    try:
        read = msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        raise place.error(*_explain(str(error), entry, kind)) from error
    wrong = read.contradiction()
    if wrong:
        named = _QUOTED.search(wrong)  # the first key that the sentence names
        raise place.error(named[1] if named else "", wrong)
    return read


def _unknown_key(key: str, known: tuple[str, ...]) -> str:
    # A daemon on a machine reads plans that are good: it need not pay for this import.
    from rig.faults.wants import nearest  # noqa: PLC0415

    meant = nearest(cut(key), known)
    asked = f" (did you mean '{meant}'?)" if meant else ""
    return f"unknown key '{cut(key)}'{asked}; known keys: {', '.join(known)}"


def _explain(message: str, entry: dict[str, Any], kind: type[msgspec.Struct]) -> tuple[str, str]:
    """Turn msgspec's message into the key that it is about and a sentence's end in our words."""
    from rig.faults.wants import wants  # noqa: PLC0415 - see _unknown_key

    missing = _MISSING.match(message)
    if missing:
        return "", f"'{missing[1]}' is missing; it must be {wants(kind, missing[1])}"
    found = _PATH.search(message)
    key = found[1] if found else ""
    return key, f"'{key}' is {shown(entry.get(key))}; it must be {wants(kind, key)}"


def _named(faults: list[Fault], source: str, lines: Lines) -> tuple[Fault, ...]:
    """Give the nameless rules their names; refuse a name that is taken."""
    counts: dict[Layer, int] = {}
    taken: dict[str, int] = {}
    result = []
    for number, fault in enumerate(faults, start=1):
        layer = layer_of(fault)
        counts[layer] = counts.get(layer, 0) + 1
        named = msgspec.structs.replace(fault, name=fault.name or f"{layer}-{counts[layer]}")
        if named.name in taken:
            said = f"'{named.name}' is already fault {taken[named.name]}'s name"
            raise _Place(source, lines, number, layer).error("name", said)
        taken[named.name] = number
        result.append(named)
    return tuple(result)


class _Place:
    """A table of a plan's file, as errors name it; number 0 is the plan's own."""

    def __init__(self, source: str, lines: Lines, number: int = 0, layer: str = "") -> None:
        self._source = source
        self._lines = lines
        self._number = number
        self.layer = layer

    def error(self, key: str, said: str) -> UserError:
        """Say what is wrong about a key; about the table if the key is empty."""
        line = self._lines.of(self._number, key)
        source = self._source + (f", line {line}" if line else "")
        fault = f"fault {self._number}" if self._number else ""
        fault += f" ({self.layer})" if fault and self.layer else ""
        return UserError(printable(": ".join(part for part in (source, fault, said) if part) + "."))
