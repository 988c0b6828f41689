"""The schema of a plan says what the reader takes."""

from __future__ import annotations

import tomllib

import jsonschema
import pytest

from rig.faults.load import read_plan_text, shipped_plans
from rig.faults.plan import FAULT_TYPES, Head
from rig.faults.schema import attributes, plan_schema

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
