"""The loop that pyfuse3 runs on: tasks that wait for one descriptor, pauses, and bystanders."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rig.gadget.fuse_loop import STAND_IN, Pause, drive, wait_for

LONG_S = 1000.0
"""Longer than any test lasts."""

lowlevel = vars(STAND_IN)["lowlevel"]
open_nursery = vars(STAND_IN)["open_nursery"]
Lock = vars(STAND_IN)["Lock"]


class Pipe:
    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def put(self, data: bytes) -> None:
        os.write(self.write_end, data)

    def take(self) -> bytes:
        return os.read(self.read_end, 1)


@pytest.fixture
def pipes() -> Iterator[Callable[[], Pipe]]:
    made: list[Pipe] = []

    def make() -> Pipe:
        made.append(Pipe())
        return made[-1]

    yield make
    for pipe in made:
        os.close(pipe.read_end)
        os.close(pipe.write_end)


class Session:
    """Shaped like pyfuse3's main: a nursery, a lock, and a wait for each request."""

    def __init__(self, pipe: Pipe, requests: int) -> None:
        self.pipe, self.requests = pipe, requests
        self.served: list[bytes] = []
        self.closed = False

    async def main(self) -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(self.loop, nursery, name="session")

    async def loop(self, _nursery: object) -> None:
        try:
            while len(self.served) < self.requests:
                async with Lock():
                    await lowlevel.wait_readable(self.pipe.read_end)
                self.served.append(self.pipe.take())
        finally:
            self.closed = True


def test_a_session_serves_each_request_and_ends_by_itself(pipes: Callable[[], Pipe]) -> None:
    session = Session(pipes(), requests=3)
    session.pipe.put(b"abc")
    drive(session.main(), {}, lambda: True)
    assert session.served == [b"a", b"b", b"c"]


def test_a_bystander_stops_a_waiting_session_and_it_is_closed(pipes: Callable[[], Pipe]) -> None:
    session, signals = Session(pipes(), requests=1), pipes()
    signals.put(b"x")
    drive(session.main(), {signals.read_end: lambda: False}, lambda: True)
    assert session.served == []
    assert session.closed


def test_a_bystander_is_called_for_what_comes_and_the_session_goes_on(
    pipes: Callable[[], Pipe],
) -> None:
    session, commands = Session(pipes(), requests=1), pipes()
    seen: list[bytes] = []

    def command() -> bool:
        seen.append(commands.take())
        if len(seen) == 2:
            session.pipe.put(b"r")
        return True

    commands.put(b"12")
    drive(session.main(), {commands.read_end: command}, lambda: True)
    assert seen == [b"1", b"2"]
    assert session.served == [b"r"]


def test_a_session_whose_store_failed_is_stopped_after_that_request(
    pipes: Callable[[], Pipe],
) -> None:
    session = Session(pipes(), requests=9)
    session.pipe.put(b"ab")
    drive(session.main(), {}, lambda: not session.served)
    assert session.served == [b"a"]
    assert session.closed


def test_a_session_that_raises_is_not_silenced(pipes: Callable[[], Pipe]) -> None:
    async def broken() -> None:
        await lowlevel.wait_readable(pipe.read_end)
        raise ValueError("broken")

    pipe = pipes()
    pipe.put(b"a")
    with pytest.raises(ValueError, match="broken"):
        drive(broken(), {}, lambda: True)


class Pausing:
    """Shaped like pyfuse3's session: tasks that take a request each and start one another."""

    def __init__(self, pipe: Pipe, most: int) -> None:
        self.pipe, self.most = pipe, most
        self.pauses: dict[bytes, Pause] = {}
        self.served: list[bytes] = []
        self.taken = 0
        self._tasks, self._active = 1, 0

    async def main(self) -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(self.loop, nursery)

    async def loop(self, nursery: Any) -> None:
        while True:
            self._active += 1
            async with Lock():
                await lowlevel.wait_readable(self.pipe.read_end)
            self._active -= 1
            request = self.pipe.take()
            self.taken += 1
            if not self._active and self._tasks < self.most:
                self._tasks += 1
                nursery.start_soon(self.loop, nursery)
            if request == b"!":
                return
            if request in self.pauses:
                await wait_for(self.pauses[request])
            self.served.append(request)


class Clock:
    """A clock that goes on a little whenever somebody looks at it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.001
        return self.now_s


def test_a_pause_lets_other_requests_be_answered_first(pipes: Callable[[], Pipe]) -> None:
    session = Pausing(pipes(), most=4)
    session.pauses[b"p"] = Pause(0.02)
    session.pipe.put(b"pab")
    drive(session.main(), {}, lambda: len(session.served) < 3, clock=Clock())
    assert session.served == [b"a", b"b", b"p"]


def test_pauses_end_when_they_are_due_not_in_the_order_they_began(
    pipes: Callable[[], Pipe],
) -> None:
    session = Pausing(pipes(), most=4)
    session.pauses.update({b"p": Pause(0.05), b"q": Pause(0.01)})
    session.pipe.put(b"pq")
    drive(session.main(), {}, lambda: len(session.served) < 2, clock=Clock())
    assert session.served == [b"q", b"p"]


def test_a_command_releases_a_pause_that_would_last_for_ever(pipes: Callable[[], Pipe]) -> None:
    session, commands = Pausing(pipes(), most=4), pipes()
    session.pauses[b"p"] = Pause(time.monotonic() + LONG_S)
    session.pipe.put(b"pa")

    def command() -> bool:
        commands.take()
        session.pauses[b"p"].release()
        return True

    commands.put(b"r")
    drive(session.main(), {commands.read_end: command}, lambda: len(session.served) < 2)
    assert sorted(session.served) == [b"a", b"p"]


def test_when_every_task_pauses_the_next_request_waits_for_one(pipes: Callable[[], Pipe]) -> None:
    session = Pausing(pipes(), most=2)
    session.pauses.update({b"p": Pause(0.02), b"q": Pause(0.04)})
    session.pipe.put(b"pqa")
    drive(session.main(), {}, lambda: len(session.served) < 3, clock=Clock())
    assert session.served == [b"p", b"a", b"q"]


def test_what_pauses_when_the_service_is_stopped_is_answered(pipes: Callable[[], Pipe]) -> None:
    session, signals = Pausing(pipes(), most=4), pipes()
    session.pauses[b"p"] = Pause(time.monotonic() + LONG_S)
    session.pipe.put(b"p")

    def before_each_wait() -> bool:
        if session.taken:
            signals.put(b"x")
        return True

    drive(session.main(), {signals.read_end: lambda: False}, before_each_wait)
    assert session.served == [b"p"]


def test_what_pauses_when_the_session_ends_is_answered(pipes: Callable[[], Pipe]) -> None:
    session = Pausing(pipes(), most=4)
    session.pauses[b"p"] = Pause(time.monotonic() + LONG_S)
    session.pipe.put(b"p!!!")
    drive(session.main(), {}, lambda: True)
    assert session.served == [b"p"]


def test_what_goes_by_the_clock_is_done_though_nothing_is_asked_for(
    pipes: Callable[[], Pipe],
) -> None:
    session = Session(pipes(), requests=1)
    moments: list[float] = []

    def pass_time() -> float:
        moments.append(time.monotonic())
        if len(moments) == 1:
            return moments[0] + 0.02
        session.pipe.put(b"x")  # which ends it
        return math.inf

    drive(session.main(), {}, lambda: True, pass_time)
    first_s, second_s = moments
    assert second_s >= first_s + 0.02
    assert session.served == [b"x"]


def test_a_bystander_may_change_what_goes_by_the_clock(pipes: Callable[[], Pipe]) -> None:
    session, commands = Session(pipes(), requests=1), pipes()
    commands.put(b"c")
    asked: list[int] = []

    def command() -> bool:
        commands.take()
        session.pipe.put(b"x")
        return True

    def pass_time() -> float:
        asked.append(len(session.served))
        return math.inf

    drive(session.main(), {commands.read_end: command}, lambda: True, pass_time)
    assert asked == [0, 0]
