"""Tables in Markdown.  Pure."""

from __future__ import annotations


def row(*cells: object) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(str(one) for one in cells)} |"


def rule(left: int, right: int = 0, more: int = 0) -> str:
    """Return what stands below the heads of so many columns: left, right, and again left."""
    return row(*["---"] * left, *["---:"] * right, *["---"] * more)
