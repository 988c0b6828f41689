"""What is written of a plan is read as the same plan."""

from __future__ import annotations

import pytest

from rig.faults.load import load_plan, shipped_plans
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan
from rig.faults.writer import table_of, text_of


@pytest.mark.parametrize("name", list(shipped_plans()))
def test_a_written_plan_is_read_as_the_same(name: str) -> None:
    plan = load_plan(name)
    assert parse_plan(text_of(plan), "written") == plan


def test_what_has_its_usual_value_is_not_written() -> None:
    assert text_of(Plan(name="calm")) == 'name = "calm"\n'
    assert table_of(load_plan("demo").faults[0]).keys() >= {"name", "layer", "nth", "status"}
    assert "probability" not in text_of(load_plan("demo"))
