"""What others wrote, as a sentence may show it: short, on one line, and harmless to a terminal.

Pure.
"""

from __future__ import annotations

LONGEST = 200
"""Characters of a value that is shown; who wrote a longer one knows it by its beginning."""
_LONGEST_NUMBER = 10**30


def printable(text: str) -> str:
    r"""Return a text with escapes (``\x1b``, ``\n``, ``\u202e``) for all that is not printed."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shown(value: object) -> str:
    """Return a value as Python writes it, unless that would be long."""
    if isinstance(value, int) and abs(value) >= _LONGEST_NUMBER:
        # Python refuses to write one of more than 4,300 digits at all.
        return "a number too long to be shown"
    try:
        said = repr(value)
    except (ValueError, RecursionError):
        return "a value too long to be shown"
    return cut(printable(said))


def cut(text: str) -> str:
    """Return a text, or its beginning if it is longer than `LONGEST`."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def many(count: int, what: str) -> str:
    """Say how many there are of something: ``1 rule``, ``3 rules``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
