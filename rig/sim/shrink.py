"""Makes a schedule that breaks a rule as short as it can.  Pure, and deterministic.

Fewer and smaller octets mean less to happen (`rig.sim.scenario`).  What counts first is the number
of moves until the rule is broken, then the length, then the octets themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from rig.sim.promise import Rule
from rig.sim.scenario import DISTURBS_FROM, HEADER_BYTES, TROUBLE

TRIES = 20_000
"""Schedules that are played at most: some seconds."""

_LONGEST_CALM = 12

_HEADER_VALUES = (*range(24), 32, 64, 96, *range(128, 160), 192, 224)
"""All that a header's octet can mean, but for the rarest combinations."""


class Played(msgspec.Struct, frozen=True):
    """How a schedule ended.

    Attributes:
        rule: The rule that it broke, or None.
        text: What happened.
        moves: How many moves were made.
        failed_for_nothing: URBs that the policy failed although nothing had happened to them.
    """

    rule: Rule | None
    text: str
    moves: int
    failed_for_nothing: int


Play = Callable[[bytes], Played]


def shrink(schedule: bytes, play: Play, tried: Callable[[int], None]) -> bytes:
    """Return a schedule that breaks the same rule in fewer moves.

    Args:
        schedule: One that breaks a rule.
        play: Plays a schedule.
        tried: Told now and then how many have been played.
    """
    return _Shrinker(schedule, play, tried).run()


class _Shrinker:
    def __init__(self, schedule: bytes, play: Play, tried: Callable[[int], None]) -> None:
        self._play = play
        self._tried = tried
        self._seen: set[bytes] = set()
        played = play(schedule)
        self._rule = played.rule
        self._best = schedule
        self._cost = cost(played.moves, schedule)

    def run(self) -> bytes:
        while len(self._seen) < TRIES:
            before = self._best
            for candidates in (
                _one_disturbance,
                _shorter,
                _without_a_piece,
                _simpler_header,
                _simpler_choices,
            ):
                self._follow(candidates)
            if self._best == before:
                break
        return self._best

    def _follow(self, candidates: Callable[[bytes], Iterator[bytes]]) -> None:
        """Try candidates until none of them is better than what they were made from."""
        better = True
        while better and len(self._seen) < TRIES:
            better = any(self._is_better(each) for each in candidates(self._best))

    def _is_better(self, schedule: bytes) -> bool:
        if schedule in self._seen:
            return False
        self._seen.add(schedule)
        self._tried(len(self._seen))
        played = self._play(schedule)
        if played.rule is not self._rule:
            return False
        found = cost(played.moves, schedule)
        if found >= self._cost:
            return False
        self._best, self._cost = schedule, found
        return True


def cost(moves: int, schedule: bytes) -> tuple[int, int, bytes]:
    """Return what is to become small."""
    return moves, len(schedule), schedule


def _one_disturbance(schedule: bytes) -> Iterator[bytes]:
    """A calm beginning, and one fault or unlink: the simplest that can be told."""
    for trouble in (1, 3):
        header = _with(schedule[:HEADER_BYTES], TROUBLE, trouble)
        for calm in range(_LONGEST_CALM):
            for how in range(DISTURBS_FROM, 256, 8):
                yield header + bytes(calm) + bytes((how,))


def _shorter(schedule: bytes) -> Iterator[bytes]:
    for length in range(HEADER_BYTES, len(schedule), max(1, len(schedule) // 16)):
        yield schedule[:length]
    yield schedule.rstrip(b"\0").ljust(HEADER_BYTES, b"\0")
    yield schedule[:-1].ljust(HEADER_BYTES, b"\0")


def _without_a_piece(schedule: bytes) -> Iterator[bytes]:
    for size in (16, 8, 4, 2, 1):
        for start in range(HEADER_BYTES, len(schedule) - size + 1):
            yield schedule[:start] + schedule[start + size :]


def _simpler_header(schedule: bytes) -> Iterator[bytes]:
    for place in range(HEADER_BYTES):
        for value in _HEADER_VALUES:
            if value < schedule[place]:
                yield _with(schedule, place, value)


def _simpler_choices(schedule: bytes) -> Iterator[bytes]:
    for place in range(HEADER_BYTES, len(schedule)):
        octet = schedule[place]
        lowest = DISTURBS_FROM if octet >= DISTURBS_FROM else 0
        for value in (0, *range(lowest, min(octet, lowest + 24))):
            if value < octet:
                yield _with(schedule, place, value)


def _with(schedule: bytes, place: int, value: int) -> bytes:
    return schedule[:place] + bytes((value,)) + schedule[place + 1 :]
