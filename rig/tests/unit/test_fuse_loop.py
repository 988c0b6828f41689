"""The loop that pyfuse3 runs on: one task that waits for one descriptor, and bystanders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from rig.gadget.fuse_loop import STAND_IN, drive

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
