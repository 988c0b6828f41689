"""A plot made of characters: columns that grow by eighths of a line.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_GAP = "·"
_NICE = (1.0, 2.0, 5.0, 10.0)


def ceiling(most: float) -> float:
    """The end of an axis: the next of 1, 2, 5, 10, 20, ... that is no less; 1 for nothing."""
    if most <= 0:
        return 1.0
    power = 1.0
    while power > most:
        power /= 10
    while power * 10 < most:
        power *= 10
    return next(nice * power for nice in _NICE if nice * power >= most * (1 - 1e-9))


def columns(values: Sequence[float | None], width: int, height: int, top: float) -> list[str]:
    """Draw the last values as columns, the newest at the right.

    Args:
        values: One for each column; None where there is none, which is drawn as a dot.
        width: In characters.
        height: In lines.
        top: The value that fills a column.

    Returns:
        Lines from the top, each of `width` characters.
    """
    shown = list(values[-width:]) if width > 0 else []
    padding = " " * (width - len(shown))
    eighths = [None if v is None else _eighths(v, top, height) for v in shown]
    lines = []
    for line in range(height - 1, -1, -1):
        cells = (_cell(filled, line) for filled in eighths)
        lines.append(padding + "".join(cells))
    return lines


def _eighths(value: float, top: float, height: int) -> int:
    full = height * 8
    drawn = min(full, round(value / top * full))
    # Whatever is above nothing is seen.
    return max(drawn, 1) if value > 0 else drawn


def _cell(filled: int | None, line: int) -> str:
    if filled is None:
        return _GAP if line == 0 else " "
    return _EIGHTHS[max(0, min(8, filled - line * 8))]
