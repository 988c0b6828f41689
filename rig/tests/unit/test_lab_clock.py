"""How far two clocks are apart, for any delays on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError
from rig.lab.clock import MachineClock, Offset, Stamp, Trip, estimate

SECOND = 1_000_000_000
OFFSETS = st.integers(-10 * SECOND, 10 * SECOND)
DELAYS = st.integers(0, SECOND)
START_NS = 1_700_000_000 * SECOND


def trips(offset_ns: int, delays: list[tuple[int, int]]) -> list[Trip]:
    """Trips that take so long there and back, a second apart."""
    made = []
    for number, (there_ns, back_ns) in enumerate(delays):
        sent_ns = START_NS + number * SECOND
        told_ns = sent_ns + there_ns + offset_ns
        made.append(Trip(sent_ns, told_ns, sent_ns + there_ns + back_ns))
    return made


@given(OFFSETS, st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=8))
def test_the_truth_is_within_the_error_however_lopsided_the_way(
    offset_ns: int, delays: list[tuple[int, int]]
) -> None:
    found = estimate(trips(offset_ns, delays))
    assert abs(found.offset_ns - offset_ns) <= found.error_ns
    # Never worse than half of the quickest round trip.
    assert found.error_ns <= (min(map(sum, delays)) + 1) // 2
    assert found.trips == len(delays)


@given(OFFSETS, st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=6), DELAYS, DELAYS)
def test_another_trip_never_makes_it_less_sure(
    offset_ns: int, delays: list[tuple[int, int]], there_ns: int, back_ns: int
) -> None:
    more = [*delays, (there_ns, back_ns)]
    assert estimate(trips(offset_ns, more)).error_ns <= estimate(trips(offset_ns, delays)).error_ns


def test_a_clock_that_is_set_meanwhile_leaves_the_quickest_trip() -> None:
    slow = Trip(START_NS, START_NS + 5 * SECOND, START_NS + 100)
    quick = Trip(START_NS + SECOND, START_NS + 9 * SECOND + 20, START_NS + SECOND + 40)
    assert estimate([slow, quick]) == Offset(START_NS + SECOND // 2 + 20, 8 * SECOND, 20, 2)


def test_without_a_trip_that_came_back_nothing_is_said() -> None:
    with pytest.raises(ApiViolationError):
        estimate([Trip(START_NS, START_NS, START_NS - 1)])


def test_the_stations_own_clock_is_right() -> None:
    assert MachineClock().stamp(START_NS) == Stamp(START_NS, 0)


def test_before_and_after_all_measurements_the_nearest_counts() -> None:
    clock = MachineClock([Offset(START_NS, 50, 3), Offset(START_NS + SECOND, 50, 7)])
    assert clock.stamp(START_NS - SECOND).t_ns == START_NS - SECOND - 50
    assert clock.stamp(START_NS + 9 * SECOND).t_ns == START_NS + 9 * SECOND - 50


@given(
    OFFSETS,
    st.integers(-SECOND // 100, SECOND // 100),
    st.integers(0, SECOND),
    st.tuples(DELAYS, DELAYS),
    st.tuples(DELAYS, DELAYS),
)
def test_a_clock_that_drifts_is_right_within_the_error(
    offset_ns: int,
    drift_ns: int,
    passed_ns: int,
    first: tuple[int, int],
    last: tuple[int, int],
) -> None:
    begin, end = START_NS, START_NS + 10 * SECOND

    def machine_ns(station_ns: int) -> int:
        return station_ns + offset_ns + drift_ns * (station_ns - begin) // (end - begin)

    offsets = []
    for at_ns, (there_ns, back_ns) in ((begin, first), (end, last)):
        told_ns = machine_ns(at_ns + there_ns)
        offsets.append(estimate([Trip(at_ns, told_ns, at_ns + there_ns + back_ns)]))
    moment_ns = begin + SECOND + passed_ns
    stamp = MachineClock(offsets).stamp(machine_ns(moment_ns))
    assert abs(stamp.t_ns - moment_ns) <= stamp.error_ns + SECOND // 100
