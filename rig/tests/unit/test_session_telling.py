from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.session.snapshot import FaultRow, LogLine, Snapshot
from rig.session.talk.telling import fault_lines, log_lines, news, octets, status_lines
from rig.tests.harness.fake_deeds import LIVE


@given(st.lists(st.integers(), unique=True), st.integers(0, 9), st.integers(0, 9))
def test_what_is_new_is_told_once(told: list[int], lost: int, new: int) -> None:
    lines = [str(one) for one in told]
    before, after = lines[: len(lines) - new], lines[lost:]
    expected = lines[max(len(before), lost) :]
    assert news(before, after) == expected


def test_a_line_that_comes_again_is_new() -> None:
    assert news(["a", "b"], ["a", "b", "b"]) == ["b"]


def test_every_row_has_its_line() -> None:
    assert all(line and "\n" not in line for line in status_lines(LIVE))
    assert len(status_lines(LIVE)) == 13


def test_a_session_that_has_just_begun_can_be_told_too() -> None:
    assert status_lines(Snapshot()) == ["The session is starting.", "verdict not known yet"]
    assert status_lines(Snapshot(), "port") == ["There is nothing to be told of it yet."]


def test_a_rule_without_a_limit_tells_none() -> None:
    row = FaultRow("back/store", "x", "medium", False, 3, -1, 1, "op write")
    assert fault_lines([row]) == ["x (back/store): disarmed, fired 3 at 1 match; op write"]


def test_the_last_lines_of_one_kernel_are_told() -> None:
    log = [LogLine(n, name, f"line {n}") for n in range(9) for name in ("back", "front")]
    assert log_lines(log, "back", 2) == ["7.0 s  back  line 7", "8.0 s  back  line 8"]
    assert len(log_lines(log)) == 10


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e6, "2.0 MB")]
)  # fmt: skip
def test_octets_are_told_in_steps_of_a_thousand(count: float, said: str) -> None:
    assert octets(count) == said
