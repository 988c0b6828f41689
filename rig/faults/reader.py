"""Reads a fault plan from TOML text; a bad plan is told in one sentence that names the place.

Pure: `rig.faults.load` does the file's I/O.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, TypeVar

import msgspec

from rig.errors import UserError
from rig.faults.plan import FAULT_TYPES, Fault, Head, Plan, layer_of
from rig.faults.rules.base import Layer

_HEADER = re.compile(r"^\s*\[\[\s*fault\s*\]\]")
# msgspec says what is wrong in Python's words and where as a JSON path; only the key is used.
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_PATH = re.compile(r" - at `\$\.(\w+)[^`]*`$")
_QUOTED = re.compile(r"'(\w+)'")
Table = TypeVar("Table", Fault, Head)


def parse_plan(text: str, source: str) -> Plan:
    """Read a plan.

    Args:
        text: The plan in TOML.
        source: What errors call it: the file's name.

    Raises:
        UserError: The plan is bad; the sentence names the source, the line if it can be told,
            the rule and the key.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source}: not valid TOML: {error}.") from error
    except RecursionError as error:
        raise UserError(f"{source}: not valid TOML: it is nested too deeply.") from error
    tables = table.pop("fault", [])
    if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
        raise UserError(f"{source}: 'fault' must be written as [[fault]] tables.")
    lines = _Lines(text, len(tables))
    head = _read(table, Head, ("fault",), _Place(source, lines))
    faults = [
        parse_rule(entry, _Place(source, lines, number))
        for number, entry in enumerate(tables, start=1)
    ]
    return Plan(**msgspec.structs.asdict(head), faults=_named(faults, source, lines))


def parse_rule(entry: dict[str, Any], place: _Place | None = None) -> Fault:
    """Read one rule.

    Args:
        entry: Its table, or what a command line or a socket said.
        place: Where it stands in a file; None for a rule that is in none.

    Raises:
        UserError: It is bad; the sentence names the place and the key.
    """
    place = place or _Place("", _Lines("", 0))
    layer = entry.get("layer")
    kind = FAULT_TYPES.get(layer) if isinstance(layer, str) else None
    if kind is None:
        said = "no 'layer'" if layer is None else f"unknown layer {layer!r}"
        raise place.error("layer", f"{said}; known layers: {', '.join(FAULT_TYPES)}")
    place.layer = str(layer)
    return _read(entry, kind, ("layer",), place)


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

    meant = nearest(key, known)
    asked = f" (did you mean '{meant}'?)" if meant else ""
    return f"unknown key '{key}'{asked}; known keys: {', '.join(known)}"


def _explain(message: str, entry: dict[str, Any], kind: type[msgspec.Struct]) -> tuple[str, str]:
    """Turn msgspec's message into the key that it is about and a sentence's end in our words."""
    from rig.faults.wants import wants  # noqa: PLC0415 - see _unknown_key

    missing = _MISSING.match(message)
    if missing:
        return "", f"'{missing[1]}' is missing; it must be {wants(kind, missing[1])}"
    found = _PATH.search(message)
    key = found[1] if found else ""
    return key, f"'{key}' is {entry.get(key)!r}; it must be {wants(kind, key)}"


def _named(faults: list[Fault], source: str, lines: _Lines) -> tuple[Fault, ...]:
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


class _Lines:
    """Finds the line of a key of the n-th ``[[fault]]`` table, which tomllib does not tell."""

    def __init__(self, text: str, tables: int) -> None:
        self._lines = text.splitlines()
        self._headers = [i for i, line in enumerate(self._lines) if _HEADER.match(line)]
        # Written in another way: say nothing, not a wrong line.
        self._known = len(self._headers) == tables

    def of(self, number: int, key: str) -> int | None:
        """The line, from 1, of a key, or else of the table's header; table 0 is what is before."""
        if not self._known:
            return None
        starts = [-1, *self._headers, len(self._lines)]
        first, end = starts[number], starts[number + 1]
        pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
        for index in range(first + 1, end):
            if key and pattern.match(self._lines[index]):
                return index + 1
        return first + 1 if number else None


class _Place:
    """A table of a plan's file, as errors name it; number 0 is the plan's own."""

    def __init__(self, source: str, lines: _Lines, number: int = 0, layer: str = "") -> None:
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
        return UserError(": ".join(part for part in (source, fault, said) if part) + ".")
