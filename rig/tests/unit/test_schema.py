"""The schema of a plan says what the reader takes."""

from __future__ import annotations

import tomllib

import jsonschema
import pytest
from hypothesis import Phase, find, given, settings

from rig.errors import UserError
from rig.faults.load import read_plan_text, shipped_plans
from rig.faults.plan import FAULT_TYPES, Fault, Head
from rig.faults.reader import parse_rule
from rig.faults.schema import attributes, plan_schema
from rig.tests.harness.plans import DISTURBED_RULES, rules_of

VALIDATOR = jsonschema.Draft202012Validator(plan_schema())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(plan_schema())


@pytest.mark.parametrize("name", list(shipped_plans()))
def test_every_shipped_plan_fits_the_schema(name: str) -> None:
    VALIDATOR.validate(tomllib.loads(read_plan_text(name)))


@pytest.mark.parametrize(
    "change",
    [
        {"nht": 3},
        {"nth": 0},
        {"every": 2},
        {"status": "EWHAT"},
        {"layer": "lnk"},
        {"at_bytes": "half"},
        {"phase": None},
    ],
)
def test_what_the_reader_refuses_does_not_fit(change: dict[str, object]) -> None:
    good = {
        "layer": "endpoint",
        "direction": "out",
        "status": "EPROTO",
        "when": "before",
        "nth": 1,
    }
    assert VALIDATOR.is_valid({"name": "x", "fault": [good]})
    assert not VALIDATOR.is_valid({"name": "x", "fault": [good | change]})


@pytest.mark.parametrize("kind", [Head, *FAULT_TYPES.values()])
def test_every_key_is_explained_by_its_docstring(kind: type[Head]) -> None:
    assert set(attributes(kind)) >= set(kind.__struct_fields__)


@given(rule=DISTURBED_RULES)
def test_what_the_reader_takes_fits(rule: dict[str, object]) -> None:
    try:
        parse_rule(rule)
    except UserError:
        return
    VALIDATOR.validate({"name": "x", "fault": [rule]})


@pytest.mark.parametrize("kind", FAULT_TYPES.values())
def test_good_rules_are_among_those_that_are_made_up(kind: type[Fault]) -> None:
    def is_good(rule: dict[str, object]) -> bool:
        try:
            parse_rule(rule)
        except UserError:
            return False
        return True

    find(rules_of(kind), is_good, settings=settings(max_examples=2000, phases=[Phase.generate]))
