"""``rig explore``: what it prints, and its exit status."""

from __future__ import annotations

import json
import re

import pytest

from rig.cli.main import run
from rig.errors import UserError


def test_naive_breaks_a_rule_and_exits_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["explore", "--policy", "naive", "--schedules", "1000"]) == 1
    said = capsys.readouterr().out
    assert "Rule 'runs-behind' is broken. URB 2 of 0x01 runs behind URB 1" in said
    assert "controller" in said


def test_hold_breaks_none_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explore", "--schedules", "200"]) == 0
    assert "No rule was broken." in capsys.readouterr().out


def test_what_was_printed_replays_the_same_events(capsys: pytest.CaptureFixture[str]) -> None:
    run(["explore", "--policy", "naive", "--schedules", "1000"])
    said = capsys.readouterr().out
    again = re.search(r"rig (explore .*--replay [0-9a-f]+)", said)
    assert again is not None
    assert run(again[1].split()) == 1
    replayed = capsys.readouterr().out.splitlines()
    assert replayed[:-1] == said.splitlines()[: len(replayed) - 1]


def test_a_schedule_is_replayed_by_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explore", "--replay", "2005:17"]) == 0
    assert "No rule is broken." in capsys.readouterr().out


def test_keep_going_counts_every_broken_rule(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--policy", "aca", "--schedules", "100", "--keep-going", "--json"]
    assert run(["explore", *arguments]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["schedules"] == 100
    assert said["broken"]["endless"] > 1
    assert said["failed_for_nothing"] > 0
    assert [finding["rule"] for finding in said["findings"]].count("endless") == 1


def test_the_clients_are_those_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--policy", "aca", "--client", "retry", "--schedules", "50", "--json"]
    assert run(["explore", *arguments]) == 1
    assert json.loads(capsys.readouterr().out)["clients"] == ["retry"]


@pytest.mark.parametrize("word", ["", "zz", "1:", "0x1", "abc", "-1:2"])
def test_what_is_no_schedule_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="is no schedule"):
        run(["explore", "--replay", word])


def test_a_replay_can_be_read_by_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--policy", "naive", "--replay", "000001010001000000000000c0", "--json"]
    assert run(["explore", *arguments]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["policy"], said["rule"]) == ("naive", "runs-behind")
    assert said["schedule"] == "000001010001000000000000c0"
    assert "submits URB 1" in said["story"][0]


def test_a_window_without_hold_is_refused() -> None:
    with pytest.raises(UserError, match="A window is for policy hold, not for aca"):
        run(["explore", "--policy", "aca", "--window", "4"])


def test_a_client_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="No client does 'cry'"):
        run(["explore", "--client", "cry"])


@pytest.mark.parametrize("more", [["--schedules", "5"], ["--seed", "1"], ["--keep-going"]])
def test_a_replay_takes_nothing_that_chooses_schedules(more: list[str]) -> None:
    with pytest.raises(UserError, match="--replay plays the one schedule"):
        run(["explore", "--replay", "2005:0", *more])
