from __future__ import annotations

import io
import json
import logging
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.daemon import MAX_LINE_BYTES, Command, CommandLines, Events, decode_command
from rig.errors import RemoteProtocolError, UserError

DAEMON = """
from rig.daemon import Events
from rig.reactor import Reactor, supervise
import sys
reactor, events = Reactor(), Events(sys.stdout.buffer)
supervise(reactor, events, lambda command: command.do.upper(), supervised=True)
events.emit("ready")
reactor.run()
events.emit("stopped")
"""


def test_a_command_is_read_with_its_arguments() -> None:
    line = b'{"id": 1, "do": "phase", "name": "write"}'
    assert decode_command(line) == Command(1, "phase", {"name": "write"})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"nonsense", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b'{"do": "x"}', "lacks a number 'id'"),
        (b'{"id": "1", "do": "x"}', "lacks a number 'id'"),
        (b'{"id": 1}', "or a string 'do'"),
        (b'{"id": 1, "do": 2}', "or a string 'do'"),
    ],
)
def test_a_line_that_is_no_command_is_refused(line: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode_command(line)


@given(st.binary(max_size=40))
def test_random_octets_raise_nothing_but_remote_protocol_errors(octets: bytes) -> None:
    lines = CommandLines()
    try:
        commands = list(lines.feed(octets + b"\n"))
    except RemoteProtocolError:
        return
    assert all(isinstance(command, Command) for command in commands)


@given(st.data())
def test_any_split_gives_the_same_commands(data: st.DataObject) -> None:
    octets = b'{"id": 1, "do": "a"}\n\n{"id": 2, "do": "b", "x": "\xc3\xa4"}\n'
    lines = CommandLines()
    seen: list[Command] = []
    while octets:
        count = data.draw(st.integers(1, len(octets)))
        seen += lines.feed(octets[:count])
        octets = octets[count:]
    assert seen == [Command(1, "a", {}), Command(2, "b", {"x": "ä"})]


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="longer than"):
        CommandLines().feed(b"x" * (MAX_LINE_BYTES + 1))


def told(out: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_time() -> None:
    out = io.BytesIO()
    Events(out).emit("plugged", device="3-1")
    (event,) = told(out)
    assert isinstance(event.pop("t"), float)
    assert event == {"event": "plugged", "device": "3-1"}


def test_unsupervised_events_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rig.event"):
        Events(None).emit("plugged", device="3-1")
    assert caplog.messages == ["plugged device=3-1"]


def test_a_station_that_is_gone_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as out:
        events = Events(out)
        events.emit("one")
        events.emit("two")


def test_a_command_is_answered_with_its_result() -> None:
    out = io.BytesIO()
    Events(out).answer(Command(7, "x", {}), lambda command: command.do)
    assert told(out)[0] | {"t": 0} == {
        "event": "reply", "t": 0, "id": 7, "ok": True, "result": "x",
    }  # fmt: skip


@pytest.mark.parametrize("error", [UserError("It cannot be.", hint="Do that."), OSError("broken")])
def test_a_command_that_fails_is_answered_with_a_sentence(error: Exception) -> None:
    def fail(_: Command) -> object:
        raise error

    out = io.BytesIO()
    Events(out).answer(Command(7, "x", {}), fail)
    (reply,) = told(out)
    assert (reply["id"], reply["ok"], reply["error"]) == (7, False, str(error))


def test_an_error_of_our_own_is_not_hidden_in_a_reply() -> None:
    def fail(_: Command) -> object:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Events(io.BytesIO()).answer(Command(7, "x", {}), fail)


class Supervised:
    """A daemon in a process of its own, as the lab runs one."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DAEMON], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def hear(self) -> dict[str, Any]:
        ready, _, _ = select.select([self.stdout], [], [], 20)
        assert ready, "the daemon says nothing"
        event: dict[str, Any] = json.loads(self.stdout.readline())
        return event

    def say(self, line: bytes) -> None:
        self.stdin.write(line + b"\n")
        self.stdin.flush()

    def end(self) -> int:
        self.stdin.close()
        self.stdout.close()
        return self.process.wait(20)


def test_a_supervised_daemon_obeys_and_ends_with_its_standard_input() -> None:
    daemon = Supervised()
    assert daemon.hear()["event"] == "ready"
    daemon.say(b'{"id": 3, "do": "status"}')
    reply = daemon.hear()
    assert (reply["id"], reply["ok"], reply["result"]) == (3, True, "STATUS")
    daemon.stdin.close()
    assert daemon.hear()["event"] == "stopped"
    assert daemon.end() == 0


def test_a_supervised_daemon_ends_on_a_signal() -> None:
    daemon = Supervised()
    daemon.hear()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.hear()["event"] == "stopped"
    assert daemon.end() == 0


def test_a_supervised_daemon_that_hears_nonsense_says_so_and_ends() -> None:
    daemon = Supervised()
    daemon.hear()
    daemon.say(b"nonsense")
    assert "not a JSON object" in daemon.hear()["error"]
    assert daemon.hear()["event"] == "stopped"
    assert daemon.end() == 0


@pytest.mark.parametrize("commands", [b"", b'{"id": 1, "do": "status"}\n'])
def test_a_supervised_daemon_whose_input_is_a_file_obeys_and_ends(
    tmp_path: Path, commands: bytes
) -> None:
    file = tmp_path / "commands"
    file.write_bytes(commands)
    with file.open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-c", DAEMON],
            check=False,
            stdin=stdin,
            capture_output=True,
            timeout=20,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert sorted(events) == sorted(["ready", "stopped", *["reply"] * bool(commands)])
