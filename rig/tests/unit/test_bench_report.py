"""What a benchmark's samples come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.experiments.bench.plan import MIB, rows
from rig.experiments.bench.report import Latency, Report, Sample, Spread, quantile, rate, row_report
from rig.lab.paths import PathName

LARGE, _, SMALL, _ = rows(2, 2)

VALUES = st.lists(st.integers(0, 10**9), min_size=1)


def samples(direct: int, usbip: int, split: int, rounds: int = 3) -> dict[PathName, list[Sample]]:
    taken = {PathName.DIRECT: direct, PathName.USBIP: usbip, PathName.SPLIT: split}
    return {path: [Sample([us, us], 2)] * rounds for path, us in taken.items()}


def report(split_us: int) -> Report:
    row = row_report(SMALL, samples(100, 800, split_us))
    return Report("6.12", "tcg", "high", "default", "virtio", (row,))


@given(VALUES)
def test_quantiles_lie_between_the_ends_and_rise(values: list[int]) -> None:
    found = [quantile(values, share / 10) for share in range(11)]
    assert found[0] == min(values)
    assert found[-1] == max(values)
    assert found == sorted(found)


def test_a_quantile_between_two_values_is_interpolated() -> None:
    assert quantile([10, 20], 0.5) == 15


def test_large_requests_are_told_as_a_rate_of_octets() -> None:
    assert rate(LARGE, [500_000, 500_000]) == pytest.approx(2 * MIB / 1e6)


def test_small_requests_are_told_as_a_rate_of_requests() -> None:
    assert rate(SMALL, [1000, 3000]) == 500


def test_a_ratio_is_that_of_the_rates_of_the_same_round() -> None:
    # The second round was ten times slower for everybody.
    taken = {
        path: [Sample([100], 1), Sample([1000], 1)] for path in (PathName.USBIP, PathName.DIRECT)
    }
    made = row_report(SMALL, {**taken, PathName.SPLIT: [Sample([200], 1), Sample([2000], 1)]})
    assert made.ratio(PathName.USBIP) == Spread(0.5, 0.5, 0.5)


def test_a_row_with_a_slow_link_has_no_ratio_to_the_direct_path() -> None:
    slow = rows(1, 1, delay_ms=20)[0]
    made = row_report(
        slow, {PathName.USBIP: [Sample([100], 1)], PathName.SPLIT: [Sample([100], 1)]}
    )
    assert made.ratio(PathName.DIRECT) is None
    assert made.figures(PathName.DIRECT) is None
    assert "+20 ms" in made.title


def test_latencies_are_of_all_rounds_in_milliseconds() -> None:
    assert Latency.of([1000, 2000, 3000]) == Latency(2.0, 2.8, 2.98, 3.0)


@pytest.mark.parametrize(("split_us", "short"), [(1000, 0), (1001, 1)])
def test_a_row_below_the_wanted_share_of_usbip_is_short(split_us: int, short: int) -> None:
    assert len(report(split_us).short_of(0.8)) == short


def test_a_slow_link_is_not_judged() -> None:
    slow = rows(1, 1, delay_ms=20)[0]
    made = row_report(slow, {PathName.USBIP: [Sample([1], 1)], PathName.SPLIT: [Sample([1000], 1)]})
    assert not Report("6.12", "tcg", "high", "default", "virtio", (made,)).short_of(0.8)
