"""What can be chosen from a list, and how it is searched.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Item(NamedTuple):
    """What can be chosen.

    Attributes:
        key: What the choice gives.
        label: The line.
        more: What is said of it while the cursor is on it.
    """

    key: str
    label: str
    more: str = ""


def found(items: Sequence[Item], text: str) -> list[Item]:
    """The items that have all words of a text, in whatever case and order."""
    words = text.lower().split()
    return [item for item in items if all(word in _all_of(item) for word in words)]


def _all_of(item: Item) -> str:
    return f"{item.key} {item.label} {item.more}".lower()
