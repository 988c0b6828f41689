"""What a benchmark measures: rows of requests, and in which order over which paths."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rig.lab.paths import PathName

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """Requests of one kind, one after another: the next begins when the last has ended.

    Attributes:
        name: For people.
        write: Whether they write.
        random: Whether each is somewhere else, or where the last one ended.
        request_bytes: Size of each.
        requests: So many make a sample.
        delay_ms: What the link takes longer in each direction while it is measured.
    """

    name: str
    write: bool
    random: bool
    request_bytes: int
    requests: int
    delay_ms: int = 0

    @property
    def paths(self) -> tuple[PathName, ...]:
        """The paths that it is measured over: a slow link is none of ``direct``'s business."""
        return BY_LINK if self.delay_ms else (PathName.DIRECT, *BY_LINK)

    def offsets(self, disk_bytes: int, number: int) -> list[int]:
        """Return where the requests of a round are, in octets; alike for all paths.

        Args:
            disk_bytes: The disk's size.
            number: The round's.
        """
        places = disk_bytes // self.request_bytes
        if self.random:
            choose = random.Random(f"{self.name} {number}")  # noqa: S311 - no secret
            chosen = [choose.randrange(places) for _ in range(self.requests)]
        else:
            first = number * self.requests
            chosen = [(first + index) % places for index in range(self.requests)]
        return [place * self.request_bytes for place in chosen]


BY_LINK = (PathName.USBIP, PathName.SPLIT)
"""The paths that a link between the two machines is part of."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are measured in turn.

    Attributes:
        rows: All with the same delay.
        rounds: How often each is measured over each path.
    """

    rows: tuple[Row, ...]
    rounds: int

    @property
    def delay_ms(self) -> int:
        """What the link takes longer in each direction."""
        return self.rows[0].delay_ms

    def turns(self, number: int) -> Iterator[tuple[Row, PathName]]:
        """Return what is measured in a round, in order.

        The paths follow one another immediately, so that what else the station does slows all of
        them alike, and each round begins with another one of them.
        """
        for row in self.rows:
            for path in rotated(row.paths, number):
                yield row, path


def rotated(paths: Sequence[PathName], by: int) -> list[PathName]:
    """Return the paths, beginning with another one."""
    turn = by % len(paths)
    return [*paths[turn:], *paths[:turn]]


def rows(large: int, small: int, delay_ms: int = 0) -> tuple[Row, ...]:
    """Return the four rows.

    Args:
        large: So many requests of 1 MiB make a sample.
        small: So many requests of 4 KiB make a sample.
        delay_ms: Of the link, in each direction.
    """
    return (
        Row("read 1 MiB, sequential", False, False, MIB, large, delay_ms),
        Row("write 1 MiB, sequential", True, False, MIB, large, delay_ms),
        Row("read 4 KiB, random", False, True, 4 * KIB, small, delay_ms),
        Row("write 4 KiB, random", True, True, 4 * KIB, small, delay_ms),
    )


QUICK = (Part(rows(4, 16), rounds=8),)
"""Half a minute of measuring, emulated on two cores."""

LONG = (Part(rows(8, 32), rounds=20), Part(rows(1, 4, delay_ms=20), rounds=5))
"""Some minutes."""
