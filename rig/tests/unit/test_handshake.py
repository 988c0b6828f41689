"""The gate of the back end: whoever may not come in holds up nobody."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from rig.net.address import listen
from rig.reactor import Reactor
from rig.splitdriver.messages import Message, Ping, Refused, Role
from rig.splitdriver.session import DEAD_AFTER_S
from rig.splitdriver.transport.handshake import MAX_PENDING, Gate, Handshake
from rig.splitdriver.transport.link import Link, SocketStream, Stream
from rig.splitdriver.transport.security import ANYBODY, Security
from rig.splitdriver.transport.tls import TlsStream
from rig.tests.harness.certificates import context, security
from rig.tests.harness.frames import octets_of
from rig.tests.harness.until import run_until

DEADLINE_S = 20.0


class Caller:
    """A front end's side of a handshake, on the same reactor."""

    def __init__(self, world: World, who: Security) -> None:
        self.streams: list[Stream] = []
        self.names: list[str] = []
        self.reasons: list[str] = []
        self.handshake = Handshake(
            world.connect(), who, world.reactor, ready=self._ready, failed=self.reasons.append
        )
        self.handshake.start()

    def _ready(self, stream: Stream, name: str) -> None:
        self.streams.append(stream)
        self.names.append(name)


class World:
    """A gate, and those who come to it."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.admitted: list[tuple[Stream, str]] = []
        self.rejected: list[tuple[str, str]] = []
        self.sockets: list[socket.socket] = []
        self.gate: Gate | None = None
        self._address: tuple[str, int] | None = None

    def open(self, back: Security) -> None:
        listener = listen(("127.0.0.1", 0))
        self._address = listener.getsockname()
        self.gate = Gate(
            listener,
            back,
            self.reactor,
            admitted=lambda *one: self.admitted.append(one),
            rejected=lambda *one: self.rejected.append(one),
        )

    def connect(self) -> socket.socket:
        """Come to the gate and say nothing."""
        assert self._address is not None
        one = socket.create_connection(self._address, timeout=DEADLINE_S)
        self.sockets.append(one)
        return one

    def call(self, who: Security) -> Caller:
        return Caller(self, who)

    def run_until(self, true: Callable[[], object]) -> None:
        run_until(self.reactor, true, DEADLINE_S)

    def close(self) -> None:
        if self.gate is not None:
            self.gate.close()
        self.reactor.close()
        for stream, _ in self.admitted:
            stream.close()
        for one in self.sockets:
            one.close()


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    yield one
    one.close()


def hears(link: Link, heard: list[Message]) -> Callable[[], bool]:
    """Whether something has come over a link, which goes to `heard`."""

    def heard_it() -> bool:
        heard.extend(link.receive())
        return bool(heard)

    return heard_it


def hurry(monkeypatch: pytest.MonkeyPatch, deadline_s: float) -> None:
    """Let handshakes last no longer."""
    defaults = Handshake.__init__.__kwdefaults__
    assert defaults == {"deadline_s": DEAD_AFTER_S}
    monkeypatch.setitem(defaults, "deadline_s", deadline_s)


BACK = ("back", Role.BACK)
FRONT = security("front", Role.FRONT, "back")


def test_a_listed_front_end_comes_in_under_its_name(world: World) -> None:
    world.open(security(*BACK, "front"))
    caller = world.call(FRONT)
    world.run_until(lambda: world.admitted and caller.streams)
    ((stream, name),) = world.admitted
    assert (name, caller.names) == ("front", ["back"])
    Link(caller.streams[0]).send([Ping(1)])
    link = Link(stream)
    heard: list[Message] = []
    world.run_until(hears(link, heard))
    assert heard == [Ping(1)]
    assert not world.rejected


def test_without_certificates_everybody_comes_in_at_once(world: World) -> None:
    world.open(Security(Role.BACK))
    caller = world.call(Security(Role.FRONT))
    assert caller.names == [""]
    world.run_until(lambda: world.admitted)
    assert world.admitted[0][1] == "127.0.0.1"


def test_every_machine_of_the_ca_comes_in_where_anybody_may(world: World) -> None:
    world.open(security(*BACK, ANYBODY))
    world.call(security("stranger", Role.FRONT, "back"))
    world.run_until(lambda: world.admitted)
    assert world.admitted[0][1] == "stranger"


def test_a_machine_that_is_not_listed_is_told_why(world: World) -> None:
    world.open(security(*BACK, "front", "elsewhere"))
    caller = world.call(security("stranger", Role.FRONT, "back"))
    world.run_until(lambda: world.rejected and caller.streams)
    mend = "This back end does not serve stranger. If it should, start it with --peer stranger."
    assert world.rejected == [("127.0.0.1", mend)]
    heard: list[Message] = []
    link = Link(caller.streams[0])
    world.run_until(hears(link, heard))
    assert heard == [Refused(mend)]
    assert not world.admitted


def test_a_back_end_of_another_name_is_not_talked_to(world: World) -> None:
    world.open(security(*BACK, "front"))
    caller = world.call(security("front", Role.FRONT, "garage"))
    world.run_until(lambda: caller.reasons)
    assert caller.reasons == [
        "The back end's certificate is for back, 127.0.0.1, not for garage."
        " Say which back end is wanted with 'rig front --back-name NAME'."
    ]
    assert not caller.streams


def test_a_plain_front_end_is_told_in_its_own_words(world: World) -> None:
    world.open(security(*BACK, "front"))
    plain = Link(SocketStream(world.connect()))
    plain.send([Ping(1)])
    world.run_until(lambda: world.rejected)
    assert "front end does not speak TLS" in world.rejected[0][1]
    heard: list[Message] = []
    world.run_until(hears(plain, heard))
    assert heard == [Refused("This end speaks TLS, and the other one does not.")]


def test_a_tls_front_end_at_a_plain_gate_gives_up_with_a_sentence(world: World) -> None:
    world.open(Security(Role.BACK))
    caller = world.call(FRONT)
    world.run_until(lambda: world.admitted)
    world.admitted[0][0].sendmsg([octets_of([Ping(1)])])
    world.run_until(lambda: caller.reasons)
    assert "back end does not speak TLS" in caller.reasons[0]


def test_a_wrong_certificate_is_told_on_both_sides_and_the_gate_goes_on(world: World) -> None:
    world.open(security(*BACK, "front"))
    expired = TlsStream(world.connect(), context("expired", Role.FRONT), Role.FRONT)
    expired.advance()
    world.run_until(lambda: world.admitted or world.rejected or expired.advance())
    world.run_until(lambda: world.rejected)
    assert "certificate has expired" in world.rejected[0][1]
    world.call(FRONT)
    world.run_until(lambda: world.admitted)


def test_a_silent_caller_holds_up_nobody_and_is_cut_off_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, 0.3)
    world.open(security(*BACK, "front"))
    silent = world.connect()
    world.run_until(lambda: world.gate and world.gate._pending)
    world.call(FRONT)
    world.run_until(lambda: world.admitted)
    assert not world.rejected
    world.run_until(lambda: world.rejected)
    assert world.rejected[0][1] == "The other end did not end its TLS handshake in 0.3 s."
    silent.settimeout(DEADLINE_S)
    assert silent.recv(10) == b""


def test_a_crowd_of_silent_callers_keeps_nobody_out(world: World) -> None:
    world.open(security(*BACK, "front"))
    gate = world.gate
    assert gate
    for number in range(MAX_PENDING + 5):
        world.connect()
        world.run_until(partial(lambda before: gate._count > before, number))
    world.call(FRONT)
    world.run_until(lambda: world.admitted)
    assert len(world.rejected) == 6
    assert len(gate._pending) == MAX_PENDING - 1
    assert "others came before it proved who it is" in world.rejected[0][1]


def test_one_who_dribbles_is_cut_off_by_the_same_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, 0.1)
    world.open(security(*BACK, "front"))
    dribbler = world.connect()

    def dribble() -> bool:
        dribbler.send(b"\x16")
        return bool(world.rejected)

    world.run_until(dribble)


def test_closing_the_gate_ends_what_is_pending(world: World) -> None:
    world.open(security(*BACK, "front"))
    world.connect()
    assert world.gate
    gate = world.gate
    world.run_until(lambda: gate._pending)
    gate.close()
    assert world.rejected == [("127.0.0.1", "The back end is being stopped.")]
    assert not world.reactor._timers
    assert not world.reactor._handlers


def test_a_handshake_that_was_given_up_says_so_once(world: World) -> None:
    world.open(security(*BACK, "front"))
    caller = world.call(FRONT)
    caller.handshake.close("The front end is being stopped.")
    caller.handshake.close()
    assert caller.reasons == ["The front end is being stopped."]


def test_nothing_is_left_behind_by_a_handshake(world: World) -> None:
    world.open(security(*BACK, "front"))
    caller = world.call(FRONT)
    world.run_until(lambda: world.admitted and caller.streams)
    world.reactor.cancel("look")
    assert not world.reactor._timers
    assert len(world.reactor._handlers) == 1  # the gate's listener


@pytest.mark.parametrize("reset", [False, True])
def test_a_caller_who_is_gone_before_he_is_looked_at_is_no_error(world: World, reset: bool) -> None:
    world.open(security(*BACK, "front"))
    caller = world.connect()
    if reset:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()
    world.run_until(lambda: world.rejected)
    assert "hung up" in world.rejected[0][1] or "broke" in world.rejected[0][1]
