"""What the screen's pure parts say: figures, plots, rules, growing lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rig
from rig.control.rules import table_of_words
from rig.faults.reader import parse_rule
from rig.session.screen.graph import ceiling, columns
from rig.session.screen.items import Item, found
from rig.session.screen.keys import KEYS
from rig.session.screen.offers import everything, recipe_line
from rig.session.screen.picks import MEDIUM, rule_line, subjects
from rig.session.screen.words import common_start, duration, endpoint_name, fresh, rate
from rig.session.talk.commands import COMMANDS
from rig.session.talk.recipes import RECIPES
from rig.tests.harness.fake_session_screen import live

ALL = [(subject, choice) for subject in subjects(live()) for choice in subject.choices]


@pytest.mark.parametrize(("subject", "choice"), ALL, ids=[f"{s.key} {c.keys}" for s, c in ALL])
def test_every_offered_effect_is_a_rule(subject, choice) -> None:  # type: ignore[no-untyped-def]
    trigger, value = ("at_s", "0") if choice.by_clock else ("nth", "3")
    line = rule_line(subject, choice, trigger, value, lbas="8-15", name="one")
    rule = parse_rule(table_of_words(line.split()))
    assert rule.name == "one"
    assert not rule.contradiction()
    assert rule.at_once is choice.by_clock


def test_one_lba_is_a_range_of_its_own() -> None:
    line = rule_line(MEDIUM, MEDIUM.choices[0], "nth", "1", lbas=" 7 ")
    assert "lba=[7,7]" in line


def test_figures_have_units() -> None:
    assert (rate(0), rate(999), rate(3.24e6)) == ("0 B/s", "999 B/s", "3.2 MB/s")
    assert (duration(None), duration(0.0041), duration(31.2)) == ("-", "4.1 ms", "31.2 s")
    assert [endpoint_name(a) for a in (0, 0x80, 0x81, 0x02)] == ["0", "0", "1 in", "2 out"]


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)), st.integers(0, 20))
def test_what_is_fresh_completes_what_was_seen(
    before: list[int], added: list[int], lost: int
) -> None:
    now = [*before, *added][lost:]
    new = list(fresh(before, now))
    assert now[len(now) - len(new) :] == new
    # Never more than was added and is still there: lines that are alike may hide each other.
    assert len(new) <= min(len(added), len(now))


def test_lines_that_differ_are_all_told_apart() -> None:
    assert fresh([1, 2, 3], [2, 3, 4, 5]) == [4, 5]
    assert fresh([1, 2], [7, 8]) == [7, 8]
    assert fresh([], [7]) == [7]
    assert fresh([7], []) == []


@given(st.floats(1e-6, 1e12))
def test_an_axis_ends_a_little_above_the_most(most: float) -> None:
    assert most * (1 - 1e-6) <= ceiling(most) <= most * 2.5 * (1 + 1e-6)


@given(
    st.lists(st.none() | st.floats(0, 1e9)),
    st.integers(0, 30),
    st.integers(1, 8),
    st.floats(1, 1e9),
)
def test_a_plot_fills_its_place(
    values: list[float | None], width: int, height: int, top: float
) -> None:
    lines = columns(values, width, height, top)
    assert len(lines) == height
    assert all(len(line) == width for line in lines)


def test_a_plot_grows_from_below_the_newest_at_the_right() -> None:
    assert columns([0.0, 0.5, 1.0, None], 5, 2, 1.0) == ["   █ ", "  ██·"]


def test_little_is_not_nothing() -> None:
    assert columns([1e-9], 1, 1, 1.0) == ["▁"]


def test_lines_are_completed_as_far_as_they_agree() -> None:
    assert common_start(["pause", "policy"]) == "p"
    assert common_start(["pause"]) == "pause"
    assert common_start(["po", "policy"]) == "po"
    assert common_start([]) == ""


def test_a_search_finds_all_words_in_any_order() -> None:
    items = [Item("a", "Stall of an endpoint", "EPIPE"), Item("b", "Babble", "EOVERFLOW")]
    assert [item.key for item in found(items, "epipe STALL")] == ["a"]
    assert [item.key for item in found(items, "")] == ["a", "b"]
    assert found(items, "nothing") == []


def test_a_ready_fault_is_about_the_picked_endpoint_if_it_can_be() -> None:
    assert recipe_line("write-lost", 0x02) == "recipe write-lost endpoint=2"
    assert recipe_line("write-lost", 0x81) == "recipe write-lost"
    assert recipe_line("write-lost", None) == "recipe write-lost"
    assert recipe_line("link-cut", 0x02) == "recipe link-cut"


def test_the_palette_has_every_key_command_and_recipe() -> None:
    listed = {item.key for item in everything()}
    assert listed >= {f"line:{name}" for name in COMMANDS} | {f"recipe:{n}" for n in RECIPES}
    assert listed >= {f"key:{key.action}" for key in KEYS}


def test_the_manual_has_every_key() -> None:
    manual = (Path(rig.__file__).parent.parent / "docs" / "manual.md").read_text()
    for key in KEYS:
        assert f"| `{key.shown}` | {key.words} |" in manual
