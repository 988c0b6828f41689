"""The compiled module, if it was made of this code.

It stays where it was built when the code goes on, and a lane that takes other arguments than it is
given would end its daemon.  So its number must be that of this code; else it is as if it were not
there, and the daemon says so.
"""

from __future__ import annotations

from rig.splitdriver.lane import StaleError, _lane

INTERFACE = 1
"""Of ``lane.h``: advanced with whatever a lane takes, hands back, or promises."""

__all__ = ["INTERFACE", "back", "check", "front"]


def check(theirs: int) -> None:
    """See whether a module with that number can be used.

    Raises:
        StaleError: It cannot.
    """
    if theirs != INTERFACE:
        raise StaleError(
            f"The compiled lane has interface {theirs}, and this rig needs {INTERFACE}: all is"
            " forwarded by Python, and slower, until './bootstrap' has compiled it anew."
        )


check(getattr(_lane, "INTERFACE", 0))
front, back = _lane.front, _lane.back
