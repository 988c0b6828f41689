"""Reads a fault plan from TOML text; a bad plan is told in one sentence that names the place.

Pure: `rig.faults.load` does the file's I/O.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import msgspec

from rig.errors import UserError
from rig.faults.plan import FAULT_TYPES, Fault, Plan, layer_of
from rig.faults.rules.base import Layer
from rig.faults.wants import nearest, wants

PLAN_KEYS = ("name", "seed", "fault")
_HEADER = re.compile(r"^\s*\[\[\s*fault\s*\]\]")
# msgspec says what is wrong in Python's words and where as a JSON path; only the key is used.
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_QUOTED = re.compile(r"'(\w+)'")
_PATH = re.compile(r" - at `\$\.(\w+)[^`]*`$")


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
    unknown = [key for key in table if key not in PLAN_KEYS]
    if unknown:
        raise UserError(f"{source}: {_unknown_key(unknown[0], PLAN_KEYS)}.")
    name, seed, tables = table.get("name"), table.get("seed", 0), table.get("fault", [])
    if not isinstance(name, str) or not name:
        raise UserError(f"{source}: 'name' must be given, a text that is not empty.")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"{source}: 'seed' is {seed!r}, but must be a whole number, at least 0.")
    if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
        raise UserError(f"{source}: 'fault' must be written as [[fault]] tables.")
    lines = _Lines(text, len(tables))
    faults: list[Fault] = []
    for number, entry in enumerate(tables, start=1):
        faults.append(_fault(entry, number, source, lines))
    return Plan(name=name, seed=seed, faults=_named(faults, source, lines))


def _fault(entry: dict[str, Any], number: int, source: str, lines: _Lines) -> Fault:
    layer = entry.get("layer")
    kind = FAULT_TYPES.get(layer) if isinstance(layer, str) else None
    if kind is None:
        said = "no 'layer'" if layer is None else f"unknown layer {layer!r}"
        known = ", ".join(FAULT_TYPES)
        raise UserError(
            f"{source}{lines.of(number, 'layer')}: fault {number}: {said}; known layers: {known}."
        )
    keys = ("layer", *(field.encode_name for field in msgspec.structs.fields(kind)))
    for key in entry:
        if key not in keys:
            where = f"{source}{lines.of(number, key)}: fault {number} ({layer})"
            raise UserError(f"{where}: {_unknown_key(key, keys)}.")
    try:
        fault = msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        key, said = _explain(str(error), entry, kind)
        where = f"{source}{lines.of(number, key)}: fault {number} ({layer})"
        raise UserError(f"{where}: {said}.") from error
    wrong = fault.contradiction()
    if wrong:
        named = _QUOTED.search(wrong)  # the first key that the sentence names
        where = f"{source}{lines.of(number, named[1] if named else '')}: fault {number} ({layer})"
        raise UserError(f"{where}: {wrong}.")
    return fault


def _unknown_key(key: str, known: Sequence[str]) -> str:
    meant = nearest(key, known)
    asked = f" (did you mean '{meant}'?)" if meant else ""
    return f"unknown key '{key}'{asked}; known keys: {', '.join(known)}"


def _explain(message: str, entry: dict[str, Any], kind: type[Fault]) -> tuple[str, str]:
    """Turn msgspec's message into the key that it is about and a sentence's end in our words."""
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
            where = f"{source}{lines.of(number, 'name')}: fault {number} ({layer})"
            raise UserError(f"{where}: '{named.name}' is already fault {taken[named.name]}'s name.")
        taken[named.name] = number
        result.append(named)
    return tuple(result)


class _Lines:
    """Finds the line of a key of the n-th ``[[fault]]`` table, which tomllib does not tell."""

    def __init__(self, text: str, tables: int) -> None:
        self._lines = text.splitlines()
        self._headers = [i for i, line in enumerate(self._lines) if _HEADER.match(line)]
        if len(self._headers) != tables:  # written in another way: say nothing, not a wrong line
            self._headers = []

    def of(self, number: int, key: str = "") -> str:
        """``", line N"`` of a key, or of the table's header; empty when it cannot be told."""
        if not self._headers:
            return ""
        first = self._headers[number - 1]
        end = self._headers[number] if number < len(self._headers) else len(self._lines)
        pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
        for index in range(first + 1, end):
            if key and pattern.match(self._lines[index]):
                return f", line {index + 1}"
        return f", line {first + 1}"
