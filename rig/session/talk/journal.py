"""What was done in a session, and when: entries, one JSON object a line.  Pure.

An entry is told to whoever writes it down as soon as it is made, so that nothing is lost however
the session ends.  What was undone stays, struck out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from rig.faults.plan import Fault


class Deed(StrEnum):
    """What an entry did, as far as a plan must know it."""

    ADDED = "added"
    """`Entry.rules` are there from then on."""
    REMOVED = "removed"
    ARMED = "armed"
    DISARMED = "disarmed"
    FIRED = "fired"
    """By hand."""
    OTHER = "other"
    """No rule's business: a note, a reset, another policy."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done.

    Attributes:
        at_s: When, in seconds since the writing phase began; what was done before has 0.
        line: The command as it was typed.
        deed: What it did.
        rules: Those that it added, as they were brought to their processes, with their names.
        names: Of the rules that it changed.
        fired: Of rules that it removed: how often each had fired.
        answer: What the person was told.
        undoes: The number of the entry that this one took back; -1: none.
    """

    at_s: float
    line: str
    deed: Deed = Deed.OTHER
    rules: tuple[Fault, ...] = ()
    names: tuple[str, ...] = ()
    fired: tuple[int, ...] = ()
    answer: tuple[str, ...] = ()
    undoes: int = -1


class Journal:
    """All entries of a session, in order.

    Args:
        write: Is given each entry as a line of JSON, with its end.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._entries: list[Entry] = []
        self._struck: set[int] = set()

    def add(self, entry: Entry) -> int:
        """Write an entry down; return its number."""
        self._entries.append(entry)
        if entry.undoes >= 0:
            self._struck.add(entry.undoes)
        self._write(msgspec.json.encode(entry).decode() + "\n")
        return len(self._entries) - 1

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them."""
        return tuple(self._entries)

    def entry(self, number: int) -> Entry:
        """One of them."""
        return self._entries[number]

    def is_struck(self, number: int) -> bool:
        """Whether an entry was undone."""
        return number in self._struck

    def lines(self) -> list[str]:
        """All of them for a person: moment, command, and whether it was undone."""
        return [
            f"{entry.at_s:.1f} s  {entry.line}" + ("  (undone)" if self.is_struck(number) else "")
            for number, entry in enumerate(self._entries)
        ]
