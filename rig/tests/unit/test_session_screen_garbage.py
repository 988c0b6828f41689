"""Garbage is collected while nobody types."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from rig.session.screen.garbage import EVERY_S, LONGEST_S, QUIET_S, Garbage, collected_in_pauses
from rig.tests.harness.clock import Clock


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock, around which what was passed over is taken up again."""
    yield Clock()
    gc.unfreeze()


def test_a_collection_waits_for_its_time(clock: Clock) -> None:
    garbage = Garbage(clock)
    clock.now_s += EVERY_S - 0.1
    assert not garbage.look()
    clock.now_s += 0.1
    assert garbage.look()
    assert not garbage.look()


def test_a_collection_waits_for_a_pause(clock: Clock) -> None:
    garbage = Garbage(clock)
    clock.now_s += EVERY_S
    garbage.typed()
    clock.now_s += QUIET_S - 0.1
    assert not garbage.look()
    clock.now_s += 0.1
    assert garbage.look()


def test_who_never_pauses_gets_one_in_the_end(clock: Clock) -> None:
    garbage = Garbage(clock)
    collected = 0
    for _ in range(int(LONGEST_S) + 1):
        clock.now_s += 1.0
        garbage.typed()
        collected += garbage.look()
    assert collected == 1


def test_what_is_left_is_passed_over_the_next_time(clock: Clock) -> None:
    kept: list[list[int]] = [[] for _ in range(10_000)]
    garbage = Garbage(clock)
    clock.now_s += EVERY_S
    assert garbage.look()
    assert gc.get_freeze_count() > len(kept)


def test_python_collects_as_before_when_the_screen_has_gone() -> None:
    before = gc.get_threshold()
    with collected_in_pauses():
        assert gc.get_threshold()[:2] == before[:2]
        assert gc.get_threshold()[2] > 1_000_000
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
