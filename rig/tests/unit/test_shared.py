"""The link through shared memory: how two ends meet, talk, wake one another and part."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.errors import RemoteProtocolError, UserError
from rig.splitdriver.messages import Hello, Message, Ping, Role, Submit
from rig.splitdriver.policy import Policy
from rig.splitdriver.transport.link import Link
from rig.splitdriver.transport.shared import MIN_WINDOW_BYTES, SharedStream, Window

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def sockets() -> Iterator[Pair]:
    pair = socket.socketpair()
    for one in pair:
        one.setblocking(False)
    yield pair
    for one in pair:
        one.close()


def window(tmp_path: Path, name: str = "window", size: int = MIN_WINDOW_BYTES) -> Window:
    path = tmp_path / name
    if not path.exists():
        path.write_bytes(bytes(size))
    return Window(str(path))


@pytest.fixture
def ends(sockets: Pair, tmp_path: Path) -> tuple[SharedStream, SharedStream]:
    """The front's and the back's, not paired yet."""
    front = SharedStream(sockets[0], window(tmp_path), Role.FRONT)
    back = SharedStream(sockets[1], window(tmp_path), Role.BACK)
    return front, back


@pytest.fixture
def links(ends: tuple[SharedStream, SharedStream]) -> tuple[Link, Link]:
    """The front's and the back's, paired."""
    front, back = map(Link, ends)
    assert back.receive() == []
    assert front.receive() == []
    return front, back


def is_readable(link: Link | SharedStream) -> bool:
    return bool(select.select([link], [], [], 0)[0])


def test_what_is_sent_before_the_ends_have_met_is_sent_when_they_have(
    ends: tuple[SharedStream, SharedStream],
) -> None:
    front, back = map(Link, ends)
    front.send([Ping(1)])
    back.send([Ping(2)])
    assert back.receive() == []  # the greeting
    assert front.receive() == [Ping(2)]  # behind the answer
    assert back.receive() == [Ping(1)]


def test_messages_travel_both_ways(links: tuple[Link, Link]) -> None:
    front, back = links
    front.send([Ping(1), Ping(2)])
    back.send([Ping(3)])
    assert back.receive() == [Ping(1), Ping(2)]
    assert front.receive() == [Ping(3)]


def test_an_end_that_sleeps_hears_the_bell(
    ends: tuple[SharedStream, SharedStream], links: tuple[Link, Link]
) -> None:
    front, back = links
    assert ends[1].rest()
    front.send([Ping(1)])
    assert is_readable(back)


def test_an_end_that_looks_hears_no_bell(
    ends: tuple[SharedStream, SharedStream], links: tuple[Link, Link]
) -> None:
    front, back = links
    assert ends[1].rest()
    ends[1].rise()
    front.send([Ping(1)])
    assert not is_readable(back)
    assert ends[1].pending()


def test_more_than_the_memory_holds_goes_in_turns(links: tuple[Link, Link]) -> None:
    front, back = links
    data = bytes(range(256)) * 4096
    front.send([Submit(1, 1, 1, 0, len(data), bytes(8), data)])
    assert not front.waits_for_room, "the descriptor is always writable"
    came: list[Message] = []
    for _ in range(1000):
        came += back.receive()
        if came:
            break
        if is_readable(front):
            front.receive()
    (message,) = came
    assert isinstance(message, Submit)
    assert bytes(message.data) == data


def test_ends_that_see_other_memory_find_out(sockets: Pair, tmp_path: Path) -> None:
    SharedStream(sockets[0], window(tmp_path, "one"), Role.FRONT)
    back = Link(SharedStream(sockets[1], window(tmp_path, "other"), Role.BACK))
    with pytest.raises(RemoteProtocolError, match="do not share"):
        back.receive()


def test_an_end_without_shared_memory_is_told_so(sockets: Pair, tmp_path: Path) -> None:
    back = Link(SharedStream(sockets[1], window(tmp_path), Role.BACK))
    Link(sockets[0]).send([Hello(Role.FRONT, Policy.HOLD, "front")])
    with pytest.raises(RemoteProtocolError, match="--shared-memory"):
        back.receive()


def test_the_end_of_the_connection_is_the_end_of_the_link(
    sockets: Pair, links: tuple[Link, Link]
) -> None:
    sockets[0].close()
    with pytest.raises(RemoteProtocolError, match="closed the link"):
        links[1].receive()


def test_what_was_said_last_is_heard(sockets: Pair, links: tuple[Link, Link]) -> None:
    front, back = links
    front.send([Ping(9)])
    sockets[0].close()
    assert back.receive() == [Ping(9)]


def test_memory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing-here"):
        Window(str(tmp_path / "nothing-here"))


def test_memory_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few"):
        window(tmp_path, size=100)
