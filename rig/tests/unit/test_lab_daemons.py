from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.errors import CommandFailure, LostVMError, MachineError
from rig.lab.children import spawn
from rig.lab.daemons import Daemon
from rig.lab.health import Health

DAEMON = [sys.executable, "-m", "rig.tests.harness.fake_daemon"]
DEADLINE_S = 20.0


@pytest.fixture
def health() -> Health:
    return Health("back")


@pytest.fixture
def daemon(tmp_path: Path, health: Health) -> Iterator[Daemon]:
    pipe = subprocess.PIPE
    child = spawn(DAEMON, stdin=pipe, stdout=pipe, stderr=pipe)
    started = Daemon("back", "gadget", child, health, tmp_path)
    yield started
    started.stop(DEADLINE_S)


def test_an_event_is_found_by_its_fields(daemon: Daemon) -> None:
    assert daemon.wait_event("ready", DEADLINE_S, port=2)["port"] == 2


def test_an_event_that_came_already_counts(daemon: Daemon) -> None:
    daemon.wait_event("ready", DEADLINE_S, port=2)
    assert daemon.wait_event("ready", 0.0)["port"] == 1


def test_only_later_events_count_if_so_asked(daemon: Daemon) -> None:
    daemon.wait_event("ready", DEADLINE_S, port=2)
    with pytest.raises(MachineError, match=r"did not send its event 'ready' in 0\.01 s"):
        daemon.wait_event("ready", 0.01, since=len(daemon.events))


def test_a_question_gets_its_answer(daemon: Daemon) -> None:
    assert daemon.ask("add", DEADLINE_S, a=2, b=3) == 5


def test_what_comes_before_the_answer_is_heard_in_order(daemon: Daemon) -> None:
    daemon.wait_event("ready", DEADLINE_S, port=2)
    heard: list[str] = []
    words = [str(number) for number in range(50)]

    def hear(event: dict[str, str]) -> None:
        heard.append(event["word"])

    assert daemon.ask_hearing("say", hear, DEADLINE_S, words=words) == "said"
    assert heard == words


def test_who_hears_may_ask_others_and_the_same_daemon(daemon: Daemon) -> None:
    daemon.wait_event("ready", DEADLINE_S, port=2)
    sums: list[int] = []

    def hear(_: dict[str, str]) -> None:
        sums.append(daemon.ask("add", DEADLINE_S, a=2, b=3))

    daemon.ask_hearing("say", hear, DEADLINE_S, words=["a", "b"])
    assert sums == [5, 5]


def test_who_hears_waits_no_longer_than_the_deadline(daemon: Daemon) -> None:
    daemon.wait_event("ready", DEADLINE_S, port=2)
    heard: list[str] = []
    with pytest.raises(MachineError, match=r"did not send its reply to 'mute' in 0\.5 s"):
        daemon.ask_hearing("mute", lambda event: heard.append(event["word"]), 0.5, words=["a"])
    assert heard == ["a"]


def test_a_refusal_is_the_daemons_own_sentence(daemon: Daemon) -> None:
    with pytest.raises(CommandFailure, match=r"refused 'eject': There is no medium\. Insert one\."):
        daemon.ask("eject", DEADLINE_S)


def test_a_question_without_answer_ends_at_its_deadline(daemon: Daemon) -> None:
    with pytest.raises(MachineError, match=r"did not send its reply to 'mute' in 0\.01 s"):
        daemon.ask("mute", 0.01)


def test_an_unexpected_end_shows_status_and_last_words(daemon: Daemon, health: Health) -> None:
    with pytest.raises(MachineError, match="ended with status 3") as caught:
        daemon.ask("exit", DEADLINE_S)
    assert "last words" in caught.value.hint


def test_the_loss_of_the_machine_ends_every_wait(daemon: Daemon, health: Health) -> None:
    daemon.wait_event("ready", DEADLINE_S)
    health.lose(LostVMError("It panicked."))
    with pytest.raises(LostVMError, match="It panicked"):
        daemon.wait_event("never", DEADLINE_S)


def test_the_end_of_input_stops_the_daemon(daemon: Daemon) -> None:
    assert daemon.stop(DEADLINE_S) == 0
    assert daemon.events[-1]["event"] == "stopped"
    assert daemon.stop(DEADLINE_S) == 0


def test_a_stopped_daemon_answers_nothing(daemon: Daemon) -> None:
    daemon.stop(DEADLINE_S)
    with pytest.raises(MachineError, match="ended with status 0 before its reply"):
        daemon.ask("add", DEADLINE_S, a=1, b=1)


def test_a_full_disk_keeps_nobody_from_hearing_a_daemon(tmp_path: Path, health: Health) -> None:
    for name in ("full.log", "full.events.jsonl"):
        (tmp_path / name).symlink_to("/dev/full")
    pipe = subprocess.PIPE
    child = spawn(DAEMON, stdin=pipe, stdout=pipe, stderr=pipe)
    daemon = Daemon("back", "full", child, health, tmp_path)
    assert daemon.ask("add", DEADLINE_S, a=1, b=2) == 3
    with pytest.raises(MachineError, match="ended with status 3"):
        daemon.ask("exit", DEADLINE_S)
    daemon.stop(DEADLINE_S)


def test_a_daemon_that_lives_is_well(daemon: Daemon) -> None:
    daemon.wait_event("ready", DEADLINE_S)
    daemon.check()


def test_a_daemon_that_has_ended_is_named_with_its_own_sentence(
    tmp_path: Path, health: Health
) -> None:
    script = 'echo \'{"event": "error", "error": "The medium is full."}\'; exit 3'
    pipe = subprocess.PIPE
    child = spawn(["sh", "-c", script], stdin=pipe, stdout=pipe, stderr=pipe)
    daemon = Daemon("back", "gadget", child, health, tmp_path)
    with pytest.raises(MachineError, match="ended with status 3"):
        daemon.wait_event("never", DEADLINE_S)
    with pytest.raises(MachineError, match=r"'gadget' on 'back'.*status 3\. The medium is full\."):
        daemon.check()
    daemon.stop(DEADLINE_S)


def test_a_daemon_whose_machine_is_lost_is_not_well(daemon: Daemon, health: Health) -> None:
    health.lose(LostVMError("It panicked."))
    with pytest.raises(LostVMError, match="It panicked"):
        daemon.check()


def test_a_daemon_that_does_not_stop_is_cut_off(tmp_path: Path, health: Health) -> None:
    pipe = subprocess.PIPE
    child = spawn(["sleep", "60"], stdin=pipe, stdout=pipe, stderr=pipe)
    daemon = Daemon("back", "sleeper", child, health, tmp_path)
    assert daemon.stop(0.01) is None
    assert child.returncode == -9


def test_raw_events_and_log_are_kept(daemon: Daemon, tmp_path: Path) -> None:
    daemon.stop(DEADLINE_S)
    lines = (tmp_path / "gadget.events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines if line.startswith("{")] == [
        "ready",
        "ready",
        "stopped",
    ]
    assert (tmp_path / "gadget.log").read_text().rstrip().endswith("Z starting")
