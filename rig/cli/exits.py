"""Exit statuses of ``rig``."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a command's end means."""

    PASS = 0
    FAIL = 1
    """Data is not where it belongs."""
    USAGE = 2
    """What was asked for cannot be; nothing was started."""
    INFRASTRUCTURE = 3
    """A machine or a program on it did not do its part; nothing is said about the data."""
    INDETERMINATE = 4
    """The run cannot tell, for instance because planned faults did not fire."""
