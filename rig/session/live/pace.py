"""How long a workload rests between two passes, so that the medium's journal has room.  Pure.

The store writes down every octet that it is given (`rig.gadget.journal`): at full speed a machine's
disk would be full in minutes.  So the less room there is, the longer the workload rests.
"""

from __future__ import annotations

QUICK_BYTES = 640 << 20
"""With more room than that, it hardly rests."""
LAST_BYTES = 96 << 20
"""With less room it writes no more: the rest is for the file systems' own blocks."""
SHORTEST_S = 0.1
"""For what else wants the processor."""
SLOWEST = 12.0
"""With little room it rests so many times as long as it writes."""


def rest_s(took_s: float, room_bytes: int | None) -> float:
    """Return how long to rest, in seconds; infinity: until there is more room.

    Args:
        took_s: How long the pass took.
        room_bytes: That is left; None: not known.
    """
    if room_bytes is None or room_bytes >= QUICK_BYTES:
        return SHORTEST_S
    if room_bytes < LAST_BYTES:
        return float("inf")
    used = (QUICK_BYTES - room_bytes) / (QUICK_BYTES - LAST_BYTES)
    return max(SHORTEST_S, took_s * used * SLOWEST)
