"""Rules as a person gives them: words, JSON, TOML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.control.rules import check_place, free_name, table_of_words, tables_of
from rig.errors import UserError
from rig.faults.load import load_plan, shipped_plans
from rig.faults.reader import parse_rule
from rig.faults.rules.endpoint import Place
from rig.faults.writer import table_of

RULE = {"layer": "medium", "op": "write", "nth": 3}


def test_words_are_keys_and_toml_values_or_else_strings() -> None:
    words = ["layer=medium", "op=write", "nth=3", "opcode=0x2A", "lba=[1, 2]", "reset=true"]
    assert table_of_words(words) == {**RULE, "opcode": 42, "lba": [1, 2], "reset": True}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [(["nth"], "not KEY=VALUE"), (["=3"], "not KEY=VALUE"), (["a=1", "a=2"], "given twice")],
)
def test_words_that_say_nothing_are_refused(words: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        table_of_words(words)


@pytest.mark.parametrize(
    "text",
    [
        '{"layer": "medium", "op": "write", "nth": 3}',
        '[{"layer": "medium", "op": "write", "nth": 3}]',
        'layer = "medium"\nop = "write"\nnth = 3',
        '[[fault]]\nlayer = "medium"\nop = "write"\nnth = 3',
        'name = "plan"\n[[fault]]\nlayer = "medium"\nop = "write"\nnth = 3',
    ],
)
def test_a_rule_is_read_from_json_and_toml(text: str) -> None:
    assert tables_of(text) == [RULE]


@given(st.text(max_size=60))
def test_any_text_is_rules_or_a_sentence(text: str) -> None:
    try:
        tables = tables_of(text)
    except UserError:
        return
    assert tables
    assert all(isinstance(table, dict) for table in tables)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}x", "[]", "[1]", "fault = 3"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        tables_of(text)


@pytest.mark.parametrize("name", list(shipped_plans()))
def test_a_rule_that_is_said_and_read_again_is_the_same(name: str) -> None:
    for rule in load_plan(name).faults:
        assert parse_rule(table_of(rule)) == rule


def test_a_free_name_is_the_first_one() -> None:
    assert free_name("link", ["link-1", "link-3"]) == "link-2"


def test_an_endpoint_rule_of_the_other_place_is_refused() -> None:
    rule = parse_rule(
        {"layer": "endpoint", "direction": "in", "status": "EPIPE", "when": "before", "nth": 1}
    )
    check_place(rule, Place.PORT)
    with pytest.raises(UserError, match="has the place 'port', and this process is the 'cable'"):
        check_place(rule, Place.CABLE)


def test_a_number_of_any_length_is_a_number_that_no_key_takes() -> None:
    rule = table_of_words(["layer=medium", "op=write", f"nth={'7' * 5000}"])
    with pytest.raises(UserError, match="'nth' is a number too long to be shown"):
        parse_rule(rule)
    (table,) = tables_of(f'layer = "medium"\nop = "write"\nnth = {"7" * 5000}')
    with pytest.raises(UserError, match="'nth' is a number too long to be shown"):
        parse_rule(table)
