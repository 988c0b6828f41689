"""Finds the line of a key in a plan's text, which tomllib does not tell.

Only a text that tomllib has read is looked at, so nothing is checked here: strings and comments are
passed over, and a statement ends with the line on which no bracket is open.  Pure.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cached_property

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # up to two quotation marks may stand before the closing three
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}=\n]",
    re.DOTALL,
)
_DEPTH = {"[": 1, "{": 1, "]": -1, "}": -1}


class Lines:
    """Lines of the keys of a plan and of its ``[[fault]]`` tables.

    Args:
        text: The plan; valid TOML.
        tables: How many ``[[fault]]`` tables it has.
    """

    def __init__(self, text: str, tables: int) -> None:
        self._text = text
        self._tables = tables

    def of(self, number: int, key: str) -> int | None:
        """Return the line, from 1, of a key, or else of its table's header.

        Args:
            number: The table's, from 1; 0 for what belongs to none.
            key: Its first part, if it has several; empty for the table itself.

        Returns:
            None if there is no such line, or the tables are written in another way: nothing is
            said rather than a wrong line.
        """
        if number and (self._tables, "") not in self._found:
            return None
        return self._found.get((number, key), self._found.get((number, "")))

    @cached_property
    def _found(self) -> dict[tuple[int, str], int]:
        found: dict[tuple[int, str], int] = {}
        number, inside = 0, ""
        for line, head, is_header in _statements(self._text):
            path = _path(head if is_header else f"{head} = 0")
            if not is_header:
                found.setdefault((number, inside or path[0]), line)
                continue
            of_fault = path[0] == "fault" and (number > 0 or head.startswith("[["))
            inside = path[0]
            if of_fault and len(path) == 1:
                number, inside = number + 1, ""
            elif of_fault:
                inside = path[1]
            found.setdefault((number if of_fault else 0, inside), line)
            if not of_fault:
                number = 0
        return found


def _statements(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield each statement's line, its header or its key, and whether it is a header."""
    start = depth = 0
    line = begun = 1
    end: int | None = None  # of the header, or the key
    for token in _TOKEN.finditer(f"{text}\n"):
        said = token[0]
        if said == "\n" and not depth:
            if end is not None:
                head = text[start:end].strip()
                yield begun, head, head.startswith("[")
            start, end, begun = token.end(), None, line + 1
        elif said.startswith("#") and end is None:
            start = token.end()
        elif end is None and said == "=":
            end = token.start()
        depth += _DEPTH.get(said, 0)
        if end is None and said == "]" and not depth:
            end = token.end()
        line += said.count("\n")


def _path(statement: str) -> list[str]:
    """Return the parts of the one key that a header or an assignment has."""
    node: object = tomllib.loads(statement)
    parts = []
    while isinstance(node, dict) and node:
        part, node = next(iter(node.items()))
        parts.append(part)
        if isinstance(node, list):
            node = node[0]
    return parts
