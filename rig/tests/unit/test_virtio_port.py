"""A port of virtio-serial as a link; a terminal in raw mode stands for the port."""

from __future__ import annotations

import errno
import logging
import os
import pty
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.errors import RemoteProtocolError, UserError
from rig.splitdriver.messages import Complete, Message, Ping
from rig.splitdriver.transport.link import Link, Stream
from rig.splitdriver.transport.rendezvous import (
    BEACON_BYTES,
    MAGIC,
    NONCE_BYTES,
    SEAL_BYTES,
    Rendezvous,
)
from rig.splitdriver.transport.virtio_port import PortCaller, PortDoor, VirtioStream, find, name_of
from rig.tests.harness.frames import octets_of
from rig.tests.harness.stepped import SteppedReactor

NONCE = b"n" * NONCE_BYTES
SEAL = NONCE[:SEAL_BYTES]


class Port:
    """The port, and the other end of it."""

    def __init__(self) -> None:
        self.other, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(self.other, False)
        self.path = Path(os.ttyname(slave))
        self._slave = slave  # else the other end would hang up where nobody has the port open
        self.rendezvous = Rendezvous(NONCE)

    def hear(self) -> bytes:
        """What has been written to the port since."""
        octets = b""
        while True:
            try:
                octets += os.read(self.other, 1 << 16)
            except BlockingIOError:
                return octets

    def say(self, octets: bytes) -> None:
        assert os.write(self.other, octets) == len(octets)

    def answer(self) -> None:
        """Answer what was heard with a beacon."""
        self.rendezvous.received(self.hear())
        self.say(self.rendezvous.beacon())

    def close(self) -> None:
        os.close(self.other)
        os.close(self._slave)


class World:
    """Somebody who looks for the other end."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.reactor = SteppedReactor()
        self.reached: list[Stream] = []
        self.caller = PortCaller(port.path, self.reactor, self.reached.append)

    def meet(self) -> Stream:
        self.caller.call()
        for _ in range(3):
            self.port.answer()
            self.reactor.turn(0.05)
            if self.reached:
                break
            self.reactor.fire("meeting")
        return self.reached.pop()

    def close(self) -> None:
        self.caller.close()
        for stream in self.reached:
            stream.close()
        self.reactor.close()


@pytest.fixture
def port() -> Iterator[Port]:
    one = Port()
    yield one
    one.close()


@pytest.fixture
def world(port: Port) -> Iterator[World]:
    one = World(port)
    yield one
    one.close()


def beacons(octets: bytes) -> list[tuple[bytes, bytes]]:
    """The nonces of the beacons in a row."""
    assert len(octets) % BEACON_BYTES == 0
    rows = [octets[n : n + BEACON_BYTES] for n in range(0, len(octets), BEACON_BYTES)]
    assert all(row.startswith(MAGIC) for row in rows)
    return [(row[len(MAGIC) : -NONCE_BYTES], row[-NONCE_BYTES:]) for row in rows]


def received(link: Link) -> list[Message]:
    """What comes, at once or soon."""
    for _ in range(1000):
        if messages := link.receive():
            return messages
    return []


# Who meets whom.


def test_a_beacon_is_sent_until_the_other_end_has_answered(world: World) -> None:
    world.caller.call()
    world.reactor.fire("meeting")
    first, second = beacons(world.port.hear())
    assert first == second
    assert first[1] == bytes(NONCE_BYTES)
    assert world.reactor.timers() == {"meeting"}
    assert world.reached == []


def test_who_is_met_is_told_so_and_no_timer_is_left(world: World) -> None:
    stream = world.meet()
    assert beacons(world.port.hear())[-1][1] == NONCE
    assert world.reactor.timers() == set()
    stream.close()


def test_what_was_written_before_anybody_looked_is_not_the_links(world: World) -> None:
    world.port.say(octets_of([Ping(1), Ping(2)], SEAL) + MAGIC + bytes(5))
    link = Link(world.meet())
    world.port.say(octets_of([Ping(3)], SEAL))
    assert received(link) == [Ping(3)]
    link.close()


def test_a_stream_that_comes_with_the_beacon_is_not_lost(world: World) -> None:
    world.caller.call()
    world.port.rendezvous.received(world.port.hear())
    beacon = world.port.rendezvous.beacon()
    world.port.say(beacon + beacon + octets_of([Ping(3), Ping(4)], SEAL))
    world.reactor.turn(0.2)
    link = Link(world.reached.pop())
    assert link.receive() == [Ping(3), Ping(4)]
    link.close()


def test_a_link_that_was_lost_is_looked_for_again_under_another_nonce(world: World) -> None:
    world.meet().close()
    world.caller.lost("gone", served=True)
    before = beacons(world.port.hear())[-1][0]
    world.reactor.fire("meeting")
    ((nonce, heard),) = beacons(world.port.hear())
    assert nonce != before
    assert heard == bytes(NONCE_BYTES)


def test_an_end_that_was_started_anew_costs_the_link_at_once(world: World) -> None:
    link = Link(world.meet())
    world.port.say(octets_of([Ping(1)], SEAL))
    assert received(link) == [Ping(1)]
    world.port.say(Rendezvous(b"m" * NONCE_BYTES).beacon())
    with pytest.raises(RemoteProtocolError, match="A frame of"):
        received(link)
    link.close()


def test_beacons_do_not_fill_the_frame_within_which_their_senders_predecessor_died(
    world: World,
) -> None:
    link = Link(world.meet())
    whole = octets_of([Complete(1, 1, 0, 200, data=bytes(200))], SEAL)
    world.port.say(whole[:-80])
    for _ in range(3):
        world.port.say(Rendezvous(b"m" * NONCE_BYTES).beacon())
    with pytest.raises(RemoteProtocolError, match="lacks its seal"):
        received(link)
    link.close()


def test_a_port_that_cannot_be_opened_is_tried_again_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reactor = SteppedReactor()
    caller = PortCaller(tmp_path / "none", reactor, lambda stream: None)
    with caplog.at_level(logging.INFO):
        caller.call()
        reactor.fire("meeting")
    assert caplog.text.count("cannot be opened") == 1
    assert reactor.timers() == {"meeting"}
    caller.close()
    assert reactor.timers() == set()
    reactor.close()


def test_a_port_that_is_unplugged_is_opened_again_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.caller.call()
    world.port.say(b"x")
    with caplog.at_level(logging.INFO), monkeypatch.context() as patch:
        patch.setattr(os, "read", unplugged)
        world.reactor.turn(0.2)
    assert "cannot be read" in caplog.text
    assert world.caller._descriptor == -1
    world.reactor.fire("meeting")
    world.port.answer()
    world.reactor.turn(0.2)
    assert len(world.reached) == 1


def test_who_was_closed_does_not_look_again(world: World) -> None:
    world.meet().close()
    world.caller.close()
    world.caller.lost("gone", served=False)
    assert world.reactor.timers() == set()


def test_closing_while_looking_closes_the_port(world: World) -> None:
    world.caller.call()
    world.caller.close()
    assert world.reactor.timers() == set()
    assert world.caller._descriptor == -1


def test_a_beacon_that_cannot_be_written_is_owed_until_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the other end would never know that it was heard."""
    world.caller.call()
    world.port.rendezvous.received(world.port.hear())
    write = os.write
    monkeypatch.setattr(os, "write", refuse)
    write(world.port.other, world.port.rendezvous.beacon())
    world.reactor.turn(0.2)
    assert world.reached == []
    monkeypatch.setattr(os, "write", write)
    world.reactor.fire("meeting")
    assert beacons(world.port.hear())[-1][1] == NONCE
    assert len(world.reached) == 1


def unplugged(descriptor: int, count: int) -> bytes:
    raise OSError(errno.ENODEV, "told to fail")


def refuse(descriptor: int, octets: bytes) -> int:
    raise BlockingIOError


def test_a_door_lets_in_who_is_at_the_other_end_and_names_its_place(port: Port) -> None:
    reactor = SteppedReactor()
    admitted: list[tuple[Stream, str]] = []
    door = PortDoor(
        port.path, reactor, lambda *who: admitted.append(who), lambda *who: pytest.fail("nobody")
    )
    assert door.place == {"device": str(port.path)}
    port.answer()
    reactor.turn(0.2)
    ((stream, name),) = admitted
    assert name == port.path.name
    stream.close()
    door.lost("gone")
    assert reactor.timers() == {"meeting"}
    door.close()
    assert reactor.timers() == set()
    reactor.close()


# The stream.


def test_the_descriptor_carries_nothing_but_the_stream_once_it_has_begun(world: World) -> None:
    stream = world.meet()
    assert isinstance(stream, VirtioStream)
    assert not stream.plain
    link = Link(stream)
    assert link.lend() is None
    world.port.say(octets_of([Ping(1)], SEAL))
    assert received(link) == [Ping(1)]
    assert stream.plain
    assert link.lend() == (stream.fileno(), *stream.seals)
    link.close()


def test_little_room_takes_the_streams_beginning_piece_by_piece(world: World) -> None:
    world.caller.call()
    world.port.rendezvous.received(world.port.hear())
    world.port.say(world.port.rendezvous.beacon() + bytes(range(10)))
    world.reactor.turn(0.2)
    (stream,) = world.reached
    room = bytearray(4)
    assert isinstance(stream, VirtioStream)
    got = b""
    for size in (4, 4, 2):
        assert not stream.plain
        assert stream.recv_into(memoryview(room)) == size
        got += room[:size]
    assert got == bytes(range(10))
    assert stream.plain


def test_a_large_frame_goes_through_however_little_the_port_takes(world: World) -> None:
    stream = world.meet()
    assert isinstance(stream, VirtioStream)
    link = Link(stream)
    data = bytes(range(256)) * 1200
    octets = octets_of([Complete(1, 1, 0, len(data), data=data)], stream.seals[0])
    world.port.hear()
    link.send([Complete(1, 1, 0, len(data), data=data)])
    seen = b""
    while link.waits_for_room or len(seen) < len(octets):
        seen += world.port.hear()
        link.flush()
    assert seen == octets
    link.close()


# Names.


def test_an_address_of_another_kind_names_no_port() -> None:
    assert name_of("127.0.0.1:7205") is None
    assert name_of("virtio:link") == "link"


def test_a_port_is_found_by_its_name(tmp_path: Path) -> None:
    for number, name in enumerate(("console", "link")):
        (tmp_path / f"vport{number}p1").mkdir()
        (tmp_path / f"vport{number}p1" / "name").write_text(f"{name}\n")
    assert find("link", tmp_path, Path("/dev")) == Path("/dev/vport1p1")
    with pytest.raises(UserError, match="no port of virtio-serial named 'disk'") as error:
        find("disk", tmp_path, Path("/dev"))
    assert "console, link" in str(error.value.hint)


def test_a_machine_without_ports_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        find("link", tmp_path)
    assert "virtserialport" in str(error.value.hint)
