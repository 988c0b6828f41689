"""The store's process as its parent sees it: replies, events, silence and death."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.errors import CommandFailure, LaunchFailure, MachineError
from rig.gadget.store_process import Event, StoreProcess

FAKE = Path(__file__).parents[1] / "harness" / "fake_store.py"
Start = Callable[[str], StoreProcess]


@pytest.fixture
def seen() -> list[Event]:
    return []


@pytest.fixture
def start(tmp_path: Path, seen: list[Event]) -> Iterator[Start]:
    started: list[StoreProcess] = []

    def starter(mode: str) -> StoreProcess:
        process = StoreProcess([sys.executable, str(FAKE), str(tmp_path), mode], seen.append)
        started.append(process)
        return process

    yield starter
    for process in started:
        process.kill()
        process.stop(5)


def test_an_event_that_came_already_is_not_waited_for(start: Start) -> None:
    process = start("good")
    assert process.wait_event("mounted", 10)["event"] == "mounted"
    assert process.wait_event("mounted", 0)["event"] == "mounted"


def test_a_command_returns_its_result_and_events_go_on(start: Start, seen: list[Event]) -> None:
    process = start("good")
    assert process.ask("faults", 10) == {"did": "faults"}
    assert [event["event"] for event in seen] == ["mounted", "fault"]


def test_what_the_store_cannot_do_is_told_in_its_words(start: Start) -> None:
    with pytest.raises(CommandFailure, match=r"^No\.$"):
        start("good").ask("fail", 10)


def test_a_silent_store_is_told_after_the_deadline(start: Start) -> None:
    process = start("mute")
    process.wait_event("mounted", 10)
    with pytest.raises(MachineError, match=r"did not send the reply to 'status' within 0\.05 s"):
        process.ask("status", 0.05)


def test_a_store_that_ends_before_it_is_mounted_is_told_with_its_sentence(start: Start) -> None:
    with pytest.raises(MachineError, match=r"ended before event 'mounted'\. The medium is in use"):
        start("dead").wait_event("mounted", 10)


def test_a_store_that_dies_ends_the_wait_for_its_reply(start: Start) -> None:
    process = start("dies")
    with pytest.raises(MachineError, match="ended before the reply to 'status'"):
        process.ask("status", 10)


def test_lines_that_are_no_events_do_no_harm(start: Start) -> None:
    assert start("chatty").ask("status", 10) == {"did": "status"}


def test_a_program_that_is_missing_is_a_launch_failure(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailure, match="did not start: No such file"):
        StoreProcess([str(tmp_path / "none")], lambda _event: None)
