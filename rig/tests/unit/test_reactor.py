from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from rig.reactor import EDGE, READABLE, WRITABLE, Reactor


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    one = Reactor()
    # A test that would wait for ever ends here instead.
    one.at("deadline", time.monotonic() + 5.0, one.stop)
    yield one
    one.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_readable_descriptor_calls_its_handler(reactor: Reactor, pipe: tuple[int, int]) -> None:
    seen: list[bytes] = []

    def on_readable(events: int) -> None:
        assert events & READABLE
        seen.append(os.read(pipe[0], 10))
        reactor.stop()

    reactor.watch(pipe[0], READABLE, on_readable)
    os.write(pipe[1], b"x")
    reactor.run()
    assert seen == [b"x"]


def test_anything_with_a_descriptor_can_be_watched(reactor: Reactor, pipe: tuple[int, int]) -> None:
    with os.fdopen(os.dup(pipe[1]), "wb") as stream:
        reactor.watch(stream, WRITABLE, lambda _: reactor.stop())
        started = time.monotonic()
        reactor.run()
        assert time.monotonic() - started < 4
        reactor.unwatch(stream)


def test_watching_again_replaces_events_and_handler(
    reactor: Reactor, pipe: tuple[int, int]
) -> None:
    seen: list[str] = []
    reactor.watch(pipe[1], WRITABLE, lambda _: seen.append("first"))
    reactor.watch(pipe[1], WRITABLE | EDGE, lambda _: seen.append("second"))
    reactor.at("stop", time.monotonic() + 0.02, reactor.stop)
    reactor.run()
    assert seen == ["second"]  # edge-triggered: once


def test_what_is_not_watched_any_more_is_not_called(
    reactor: Reactor, pipe: tuple[int, int]
) -> None:
    reactor.watch(pipe[1], WRITABLE, lambda _: pytest.fail("called"))
    reactor.unwatch(pipe[1])
    reactor.unwatch(pipe[1])
    reactor.at("stop", time.monotonic(), reactor.stop)
    reactor.run()


def test_a_handler_may_unwatch_another_of_the_same_round(reactor: Reactor) -> None:
    first, second = os.pipe(), os.pipe()
    called: list[int] = []

    def on_writable(own: int, other: int) -> None:
        called.append(own)
        reactor.unwatch(other)
        reactor.stop()

    reactor.watch(first[1], WRITABLE, lambda _: on_writable(first[1], second[1]))
    reactor.watch(second[1], WRITABLE, lambda _: on_writable(second[1], first[1]))
    reactor.run()
    assert len(called) == 1
    for end in (*first, *second):
        os.close(end)


def test_what_was_true_of_a_closed_descriptor_is_not_told_of_its_successor(
    reactor: Reactor, pipe: tuple[int, int]
) -> None:
    first, second = os.pipe(), os.pipe()
    ends = {first[0]: first[1], second[0]: second[1]}

    def on_readable(other: int) -> None:
        os.read(({first[0], second[0]} - {other}).pop(), 1)
        reactor.unwatch(other)
        os.close(other)
        assert os.dup(pipe[0]) == other
        reactor.watch(other, READABLE, lambda _: pytest.fail("the successor has nothing to read"))
        reactor.at("stop", time.monotonic(), reactor.stop)

    reactor.watch(first[0], READABLE, lambda _: on_readable(second[0]))
    reactor.watch(second[0], READABLE, lambda _: on_readable(first[0]))
    for writer in ends.values():
        os.write(writer, b"x")
    reactor.run()
    for end in (*first, *second):
        os.close(end)


def test_timers_fire_when_due_and_once(reactor: Reactor) -> None:
    seen: list[str] = []
    now = time.monotonic()
    reactor.at("late", now + 60, lambda: seen.append("late"))
    reactor.at("due", now, lambda: seen.append("due"))
    reactor.at("stop", now + 0.01, reactor.stop)
    reactor.run()
    assert seen == ["due"]


def test_a_timer_replaces_one_of_its_name(reactor: Reactor) -> None:
    seen: list[int] = []
    reactor.at("timer", time.monotonic(), lambda: seen.append(1))
    reactor.at("timer", time.monotonic(), lambda: seen.append(2))
    reactor.at("stop", time.monotonic(), reactor.stop)
    reactor.run()
    assert seen == [2]


def test_a_timer_may_put_off_and_cancel_others_that_are_due(reactor: Reactor) -> None:
    now = time.monotonic()

    def first() -> None:
        reactor.at("other", now + 60, lambda: pytest.fail("fired early"))
        reactor.cancel("third")

    reactor.at("first", now, first)
    reactor.at("other", now, lambda: pytest.fail("was put off"))
    reactor.at("third", now, lambda: pytest.fail("was cancelled"))
    reactor.at("stop", now, reactor.stop)
    reactor.run()


def test_a_cancelled_timer_does_not_fire(reactor: Reactor) -> None:
    reactor.at("timer", time.monotonic(), lambda: pytest.fail("called"))
    reactor.cancel("timer")
    reactor.cancel("timer")
    reactor.at("stop", time.monotonic(), reactor.stop)
    reactor.run()


def test_the_end_of_the_other_side_is_told_without_being_asked_for(reactor: Reactor) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    reactor.watch(write_end, 0, lambda _: reactor.stop())
    started = time.monotonic()
    reactor.run()
    assert time.monotonic() - started < 4
    os.close(write_end)
