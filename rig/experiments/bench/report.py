"""What a benchmark found: rates, latencies and ratios, each with its spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from rig.experiments.bench.plan import Row
from rig.lab.paths import PathName


class Sample(msgspec.Struct, frozen=True):
    """One row over one path in one round.

    Attributes:
        taken_us: How long each request took, in microseconds.
        commands: How many SCSI commands the kernel made of all of them.
    """

    taken_us: list[int]
    commands: int


Samples = Mapping[PathName, Sequence[Sample]]
"""Of each path the rounds."""

COMPARED = (PathName.USBIP, PathName.DIRECT)
"""What the split driver is compared with."""


class Spread(msgspec.Struct, frozen=True):
    """A value that was measured in several rounds.

    Attributes:
        median: Of the rounds.
        low: The first quartile.
        high: The third quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return what one or more values have in the middle."""
        return cls(*(round(quantile(values, share), 4) for share in (0.5, 0.25, 0.75)))


class Latency(msgspec.Struct, frozen=True):
    """How long a request took, over all rounds, in ms: quantiles and the longest."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, taken_us: Sequence[int]) -> Latency:
        """Return the quantiles of one or more requests."""
        return cls(*(round(quantile(taken_us, s) / 1000, 3) for s in (0.5, 0.9, 0.99, 1.0)))


class PathFigures(msgspec.Struct, frozen=True):
    """One row over one path.

    Attributes:
        path: Its name.
        rate: In the row's unit.
        latency: Of one request.
        commands: SCSI commands that the kernel made of one request.
    """

    path: PathName
    rate: Spread
    latency: Latency
    commands: float


class Ratio(msgspec.Struct, frozen=True):
    """How much of another path's rate the split driver reaches.

    Attributes:
        to: The other path.
        value: Of the ratios of each round, not the ratio of the medians: what slows the station
            down slows both paths of a round, and cancels.
    """

    to: PathName
    value: Spread


class RowReport(msgspec.Struct, frozen=True):
    """One row.

    Attributes:
        name: For people.
        request_bytes: Size of each request.
        delay_ms: What the link took longer in each direction.
        unit: Of the rates: ``MB/s`` (10^6 octets) or ``1/s`` (requests).
        paths: In the order of the table.
        ratios: Of the split driver to each other path.
    """

    name: str
    request_bytes: int
    delay_ms: int
    unit: str
    paths: tuple[PathFigures, ...]
    ratios: tuple[Ratio, ...]

    @property
    def title(self) -> str:
        """The row's name, with the link's delay if there is one."""
        return f"{self.name}, link +{self.delay_ms} ms" if self.delay_ms else self.name

    def ratio(self, to: PathName) -> Spread | None:
        """Return the ratio to a path, if the row was measured over that."""
        return next((ratio.value for ratio in self.ratios if ratio.to is to), None)

    def figures(self, path: PathName) -> PathFigures | None:
        """Return what was measured over a path, if the row was."""
        return next((figures for figures in self.paths if figures.path is path), None)


class Report(msgspec.Struct, frozen=True):
    """A whole benchmark.

    Attributes:
        kernel: The machines'.
        accelerator: ``kvm`` or ``tcg``.
        speed: Of the device: ``high`` or ``super``.
        policy: The split driver's.
        link: What joins its two ends.
        rows: What was measured.
    """

    kernel: str
    accelerator: str
    speed: str
    policy: str
    link: str
    rows: tuple[RowReport, ...]

    def short_of(self, at_least: float) -> list[RowReport]:
        """Return the rows in which the split driver reaches less of USB/IP's rate.

        Rows with a slow link are not judged: they compare what each path does with waiting.
        """
        return [
            row
            for row in self.rows
            if not row.delay_ms and (ratio := row.ratio(PathName.USBIP)) and ratio.median < at_least
        ]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies, interpolated between two of them."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def rate(row: Row, taken_us: Sequence[int]) -> float:
    """Return the rate of one round, in the row's unit."""
    taken_s = max(sum(taken_us), 1) / 1e6
    return len(taken_us) / taken_s * (1 if row.random else row.request_bytes / 1e6)


def row_report(row: Row, samples: Samples) -> RowReport:
    """Return what a row's samples say.

    Args:
        row: The row.
        samples: As many rounds of each of its paths, at least one.
    """
    rates = {path: [rate(row, one.taken_us) for one in samples[path]] for path in row.paths}
    split = rates[PathName.SPLIT]
    ratios = {
        to: [ours / other for ours, other in zip(split, rates[to], strict=True)]
        for to in COMPARED
        if to in rates
    }
    return RowReport(
        name=row.name,
        request_bytes=row.request_bytes,
        delay_ms=row.delay_ms,
        unit="1/s" if row.random else "MB/s",
        paths=tuple(_figures(path, rates[path], samples[path]) for path in row.paths),
        ratios=tuple(Ratio(to, Spread.of(values)) for to, values in ratios.items()),
    )


def _figures(path: PathName, rates: Sequence[float], samples: Sequence[Sample]) -> PathFigures:
    taken_us = [one for sample in samples for one in sample.taken_us]
    commands = sum(sample.commands for sample in samples) / len(taken_us)
    return PathFigures(path, Spread.of(rates), Latency.of(taken_us), round(commands, 2))
