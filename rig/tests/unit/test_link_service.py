"""The relay with real sockets."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.daemon import Command, Events
from rig.errors import UserError
from rig.faults.reader import parse_plan
from rig.faults.rules.link import LinkFault
from rig.faults.triggers import Injector
from rig.link import junction
from rig.link import service as link_service
from rig.link.service import LinkService
from rig.net import connecting
from rig.net.address import listen
from rig.tests.harness.stepped import SteppedReactor
from rig.tests.unit.test_link_relay import A, B, frame

LOOPBACK = ("127.0.0.1", 0)
BIG = frame(bytes(range(256)) * 4096)


class Site:
    """A relay with a back end that listens, in one thread."""

    def __init__(self, *rules: str) -> None:
        text = "".join(
            f'[[fault]]\nname = "{i}"\nlayer = "link"\n{r}\n' for i, r in enumerate(rules)
        )
        plan = parse_plan(f'name = "x"\n{text}', "x.toml")
        self.reactor = SteppedReactor()
        self.told = io.BytesIO()
        self.back = socket.create_server(LOOPBACK)
        self.back.settimeout(5)
        listener = listen(LOOPBACK)
        self.address = listener.getsockname()
        self.service = LinkService(
            listener,
            self.back.getsockname(),
            Injector(plan, LinkFault, time.monotonic),
            events=Events(self.told),
            reactor=self.reactor,
        )
        self.streams: list[socket.socket] = [self.back]

    def call(self) -> socket.socket:
        stream = socket.create_connection(self.address, timeout=5)
        self.streams.append(stream)
        self.reactor.turn(1.0)
        return stream

    def answer(self) -> socket.socket:
        stream, _ = self.back.accept()
        stream.settimeout(5)
        self.streams.append(stream)
        self.reactor.turn(1.0)
        return stream

    def pair(self) -> tuple[socket.socket, socket.socket]:
        front = self.call()
        return front, self.answer()

    def read(self, stream: socket.socket, count: int) -> bytes:
        """Read so many octets; fewer if the other end closes before."""
        stream.setblocking(False)
        found = b""

        def done() -> bool:
            nonlocal found
            try:
                while len(found) < count and (data := stream.recv(count - len(found))):
                    found += data
            except BlockingIOError:
                return False
            return True

        self.reactor.until(done)
        return found

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.told.getvalue().splitlines()]

    def do(self, command: str, **args: object) -> Any:
        return self.service.obey(Command(1, command, args))

    def close(self) -> None:
        self.service.close()
        self.reactor.close()
        for stream in self.streams:
            stream.close()


@pytest.fixture
def sites() -> Iterator[list[Site]]:
    opened: list[Site] = []
    yield opened
    for site in opened:
        site.close()


def make(sites: list[Site], *rules: str) -> Site:
    sites.append(Site(*rules))
    return sites[-1]


def test_octets_go_both_ways_and_the_end_of_one_is_the_end_of_the_other(sites: list[Site]) -> None:
    site = make(sites)
    front, back = site.pair()
    front.sendall(A)
    back.sendall(B)
    assert site.read(back, len(A)) == A
    assert site.read(front, len(B)) == B
    front.close()
    assert site.read(back, 1) == b""
    assert [e["event"] for e in site.events] == ["circuit", "circuit-gone"]


def test_an_end_that_does_not_read_holds_up_the_one_that_writes_and_loses_nothing(
    sites: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(junction, "MAX_BACKLOG_BYTES", 1 << 16)
    site = make(sites)
    front, back = site.pair()
    front.setblocking(False)
    sent = 0
    for _ in range(500):  # until both sockets and the relay are full
        try:
            sent += front.send(BIG[sent % len(BIG) :])
        except BlockingIOError:
            site.reactor.turn()
            if sent > 8 * len(BIG):
                break
    whole = BIG * (sent // len(BIG) + 1)
    assert site.read(back, sent // len(BIG) * len(BIG)) == whole[: sent // len(BIG) * len(BIG)]


def test_a_back_end_that_is_away_is_a_closed_connection_to_the_front_end(sites: list[Site]) -> None:
    site = make(sites)
    site.back.close()
    front = site.call()
    with pytest.raises(ConnectionResetError):
        site.read(front, 1)


def test_a_back_end_whose_name_is_slow_to_be_known_holds_up_nobody(
    sites: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer = threading.Event()
    place: connecting.Place = (socket.AF_INET, None)

    def slow(back: tuple[str, int], flags: int = 0) -> list[connecting.Place]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        assert may_answer.wait(10)
        return [place]

    monkeypatch.setattr(connecting, "_places", slow)
    site = make(sites)
    place = (socket.AF_INET, site.back.getsockname())
    front = site.call()
    front.sendall(A)
    assert site.do("status")["circuits"] == [1]
    front.close()
    site.reactor.turn(1.0)
    assert [e["event"] for e in site.events] == ["circuit"]  # what was said may be sent yet
    may_answer.set()
    site.reactor.turn(5.0)
    assert site.read(site.answer(), len(A)) == A


def test_a_call_to_a_back_end_that_is_given_up_is_gone(
    sites: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer = threading.Event()

    def slow(back: tuple[str, int], flags: int = 0) -> list[connecting.Place]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        assert may_answer.wait(10)
        return []

    monkeypatch.setattr(connecting, "_places", slow)
    site = make(sites, 'effect = "cut"\nphase = "write"\nat_s = 0')
    site.call()
    site.do("phase", name="write")
    assert [e["event"] for e in site.events] == ["circuit", "circuit-gone", "fault"]
    may_answer.set()


def test_a_call_for_which_there_is_no_descriptor_is_taken_when_another_connection_ends(
    sites: list[Site],
) -> None:
    site = make(sites)
    front, back = site.pair()
    spare, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = socket.socket()
    site.streams.append(late)
    with Path(os.devnull).open() as probe:
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno(), hard))
    try:
        late.connect(site.address)
        site.reactor.turn(1.0)  # a listener that is looked at would be ready for ever
        assert "accepting" in site.reactor.timers()
        front.close()
        back.close()
        site.reactor.until(lambda: len([e for e in site.events if e["event"] == "circuit"]) == 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))


def test_a_cut_passes_all_before_it(sites: list[Site]) -> None:
    site = make(sites, 'effect = "cut"\nway = "to-back"\noffset = 100000\nnth = 1')
    front, back = site.pair()
    front.sendall(BIG[:50000])
    site.reactor.turn()
    front.setblocking(False)
    rest = BIG[50000:]
    found = b""
    for _ in range(100):
        if rest:
            try:
                rest = rest[front.send(rest) :]
            except BlockingIOError:
                continue
            finally:
                site.reactor.turn()
    found = site.read(back, len(BIG))
    assert found == BIG[:100000]
    (fault,) = [e for e in site.events if e["event"] == "fault"]
    assert (fault["layer"], fault["rule"], fault["effect"]) == ("link", "0", "cut")
    assert (fault["way"], fault["offset_bytes"], fault["at_bytes"]) == ("to-back", 0, 100000)


def test_a_reset_is_a_reset(sites: list[Site]) -> None:
    site = make(sites, 'effect = "cut"\nreset = true\nnth = 1')
    front, back = site.pair()
    front.sendall(A)
    for stream in (front, back):
        with pytest.raises(ConnectionResetError):
            site.read(stream, 1)


def test_a_stall_is_released_by_command_and_told(sites: list[Site]) -> None:
    site = make(sites, 'effect = "stall"\nfor_s = 60\nphase = "write"\nat_s = 0')
    front, back = site.pair()
    assert site.do("phase", name="write") is None
    front.sendall(A)
    site.reactor.turn(1.0)
    assert site.do("status")["standing"] == ["0"]
    back.setblocking(False)
    with pytest.raises(BlockingIOError):
        back.recv(1)
    assert site.do("release") == {"released": 1}
    assert site.read(back, len(A)) == A
    assert site.events[-1]["event"] == "released"
    assert site.events[-1]["by"] == "command"
    counts = {"planned": {"0": 1}, "fired": {"0": 1}}
    assert site.do("faults") == {**counts, "layers": {"0": "link"}}


def test_a_stall_ends_by_itself(sites: list[Site]) -> None:
    site = make(sites, 'effect = "stall"\nfor_s = 0.05\nnth = 1')
    front, back = site.pair()
    front.sendall(A)
    site.reactor.turn(1.0)
    assert site.reactor.timers() >= {"tick"}
    time_is_up = time.monotonic() + 5
    while site.do("status")["standing"]:
        assert time.monotonic() < time_is_up
        site.reactor.fire("tick")
    assert site.read(back, len(A)) == A


def test_an_unknown_command_is_refused(sites: list[Site]) -> None:
    with pytest.raises(UserError, match="dance"):
        make(sites).do("dance")


@pytest.mark.parametrize(
    "words", [("--listen", "a:b:"), ("--listen", "127.0.0.1:0", "--seed", "1")]
)
def test_the_daemon_refuses_what_it_cannot_do(words: tuple[str, ...]) -> None:
    assert link_service.main([*words, "--connect", "127.0.0.1:1"]) == 2


def test_a_place_for_control_that_cannot_be_used_is_an_error_before_anything_starts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["--listen", "127.0.0.1:0", "--connect", "127.0.0.1:1", "--supervised"]
    assert link_service.main([*words, "--control", str(tmp_path / "file")]) == 2
    said = capfd.readouterr()
    assert "no control socket" in said.err
    assert said.out == ""


def test_the_daemon_serves_until_its_input_ends() -> None:
    argv = [sys.executable, "-m", "rig", "link", "--supervised"]
    argv += ["--listen", "127.0.0.1:0", "--connect", "127.0.0.1:1"]
    done = subprocess.run(argv, input="", capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout)["event"] == "listening"


def test_a_rule_that_is_added_while_it_runs_fires_at_once_if_it_goes_by_the_clock(
    sites: list[Site],
) -> None:
    site = make(sites)
    front, back = site.pair()
    site.do("phase", name="write")
    cut = {"name": "now", "layer": "link", "effect": "cut", "at_s": 0}
    assert site.do("add", rules=[cut]) == ["now"]
    assert site.read(back, 1) == site.read(front, 1) == b""
    assert site.do("faults")["fired"] == {"now": 1}
