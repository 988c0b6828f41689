"""The end of what a fault made last: what every layer says of it in the same words.  Pure."""

from __future__ import annotations

from enum import StrEnum


class ReleasedBy(StrEnum):
    """Why something lasts no longer."""

    DEADLINE = "deadline"
    """Its time is over."""
    COMMAND = "command"
    """Somebody asked for it."""
    END = "end"
    """What it befell is gone, or is about to be taken away."""
    MOMENT = "moment"
    """The whole device is about to be ejected, disconnected or unbound, and would have to wait."""
