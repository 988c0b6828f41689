"""Rules as a person or a program gives them one by one: words, JSON or TOML.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from rig.errors import UserError
from rig.faults.reader import toml_table
from rig.faults.rules.base import Rule
from rig.faults.rules.endpoint import EndpointFault, Place
from rig.faults.writer import Table


def tables_of(text: str) -> list[Table]:
    """Read rules from JSON (an object, or an array of them) or TOML.

    TOML may be a whole plan's, of which the ``[[fault]]`` tables are taken, or one rule's keys.

    Raises:
        UserError: It is neither.
    """
    found = _json(text) if text.lstrip()[:1] in ("{", "[") and not _is_header(text) else _toml(text)
    tables = found if isinstance(found, list) else [found]
    if not tables or not all(isinstance(table, dict) for table in tables):
        raise UserError(
            "That is no rule.", hint="Give its keys and values, as a [[fault]] of a plan has them."
        )
    return tables


def table_of_words(words: Sequence[str]) -> Table:
    """Read a rule from words ``KEY=VALUE``; a value that is no TOML value is a string.

    Raises:
        UserError: A word has no ``=``, or a key comes twice.
    """
    table: Table = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"'{word}' is not KEY=VALUE.", hint="Write, for instance, nth=1.")
        if key in table:
            raise UserError(f"The key '{key}' is given twice.")
        try:
            table[key] = toml_table(f"v = {value}")["v"]
        except ValueError:
            table[key] = value
    return table


def free_name(layer: str, taken: Iterable[str]) -> str:
    """Return LAYER-NUMBER, with the smallest number whose name is not taken."""
    names = set(taken)
    number = 1
    while f"{layer}-{number}" in names:
        number += 1
    return f"{layer}-{number}"


def check_place(rule: Rule[Any, Any], here: Place) -> None:
    """Make sure that an endpoint rule is of this place.

    Raises:
        UserError: It is of the other one.
    """
    if isinstance(rule, EndpointFault) and rule.place is not here:
        raise UserError(
            f"Fault '{rule.name}' has the place '{rule.place}', and this process is the '{here}'."
        )


def _is_header(text: str) -> bool:
    return text.lstrip().startswith("[[")


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"The rule is not valid JSON: {error}.") from error


def _toml(text: str) -> Any:
    try:
        table = toml_table(text)
    except ValueError as error:
        raise UserError(f"The rule is not valid TOML: {error}.") from error
    return table.get("fault", table)
