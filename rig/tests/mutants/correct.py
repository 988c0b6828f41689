"""Runs of what is not broken: no alarm is due, whatever befalls them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rig.tests.mutants.trial import Parts, play

WINDOW = 3


class Calm(msgspec.Struct, frozen=True):
    """How correct runs went.

    Attributes:
        runs: How many.
        alarms: Seed and alarm, with its first sentence, of each that was false.
        moves: How many things happened in all of them.
        losses: How often a device went away.
        gave_up: Commands that never succeeded.
    """

    runs: int
    alarms: list[tuple[int, str, str]]
    moves: int = 0
    losses: int = 0
    gave_up: int = 0

    @property
    def words(self) -> str:
        """What happened in them."""
        return f", in which {self.moves} things happened and a device went away {self.losses} times"


def parts_of(seed: int) -> Parts:
    """Every fourth run has several URBs in the controller."""
    return Parts(window=WINDOW if seed % 4 == 3 else 1)


def play_correct(seeds: Iterable[int]) -> Calm:
    """Play the runs of these seeds."""
    alarms: list[tuple[int, str, str]] = []
    runs = moves = losses = gave_up = 0
    for seed in seeds:
        trial = play(seed, parts_of(seed))
        alarms += [(seed, alarm, text) for alarm, text in trial.alarms.items()]
        runs += 1
        moves += trial.moves
        losses += trial.losses
        gave_up += trial.gave_up
    return Calm(runs, alarms, moves, losses, gave_up)
