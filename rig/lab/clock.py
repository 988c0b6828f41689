"""How far a machine's clock is from the station's, and what that says of its time stamps.  Pure.

As in NTP (RFC 5905 §8) the machine is asked for its time in a round trip: it told it somewhere
between the question and the answer.  Each trip bounds the offset; the truth lies in all of these
bounds, so more trips make it surer.  It is measured several times in a run, for clocks drift, and
those of a machine that stood still or was booted anew jump.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from rig.errors import ApiViolationError


class Trip(msgspec.Struct, frozen=True):
    """One round trip; all times are Unix times in ns.

    Attributes:
        sent_ns: When the question went, by the station's clock.
        told_ns: What the machine answered, by its clock.
        received_ns: When the answer came, by the station's clock.
    """

    sent_ns: int
    told_ns: int
    received_ns: int


class Offset(msgspec.Struct, frozen=True):
    """How far a machine's clock is ahead of the station's.

    Attributes:
        at_ns: When, by the station's clock.
        offset_ns: So far; negative if it is behind.
        error_ns: The truth is not further from that than this.
        trips: So many were made.
    """

    at_ns: int
    offset_ns: int
    error_ns: int
    trips: int = 1

    @property
    def machine_ns(self) -> int:
        """When, by the machine's clock."""
        return self.at_ns + self.offset_ns


class Stamp(msgspec.Struct, frozen=True):
    """A moment by the station's clock, which is not further from the truth than `error_ns`."""

    t_ns: int
    error_ns: int


def estimate(trips: Sequence[Trip]) -> Offset:
    """Return the offset that fits all trips, or else the quickest.

    Raises:
        ApiViolationError: There is no trip that came back after it went.
    """
    good = [trip for trip in trips if trip.received_ns >= trip.sent_ns]
    if not good:
        raise ApiViolationError("An offset cannot be estimated without a round trip.")
    low_ns = max(trip.told_ns - trip.received_ns for trip in good)
    high_ns = min(trip.told_ns - trip.sent_ns for trip in good)
    if low_ns > high_ns:  # a clock was set meanwhile
        quick = min(good, key=lambda trip: trip.received_ns - trip.sent_ns)
        low_ns, high_ns = quick.told_ns - quick.received_ns, quick.told_ns - quick.sent_ns
    at_ns = (good[0].sent_ns + good[-1].received_ns) // 2
    # Rounded so that both bounds are within the error.
    return Offset(at_ns, (low_ns + high_ns) // 2, (high_ns - low_ns + 1) // 2, len(good))


class MachineClock:
    """Translates a machine's time stamps to the station's clock.

    Between two measurements the offset is taken to change evenly; before the first and after the
    last it is theirs.

    Args:
        offsets: Measured at different times; none for the station's own clock.
    """

    def __init__(self, offsets: Sequence[Offset] = ()) -> None:
        self._offsets = sorted(offsets, key=lambda offset: offset.machine_ns)
        self._moments = [offset.machine_ns for offset in self._offsets]

    def stamp(self, machine_ns: int) -> Stamp:
        """Return when that was by the station's clock."""
        if not self._offsets:
            return Stamp(machine_ns, 0)
        place = bisect_right(self._moments, machine_ns)
        before = self._offsets[max(0, place - 1)]
        after = self._offsets[min(place, len(self._offsets) - 1)]
        span_ns = after.machine_ns - before.machine_ns
        changed_ns = after.offset_ns - before.offset_ns
        passed_ns = min(max(0, machine_ns - before.machine_ns), span_ns)
        offset_ns = before.offset_ns + (changed_ns * passed_ns // span_ns if span_ns else 0)
        # It may as well have changed in one go.
        error_ns = max(before.error_ns, after.error_ns) + abs(changed_ns)
        return Stamp(machine_ns - offset_ns, error_ns)
