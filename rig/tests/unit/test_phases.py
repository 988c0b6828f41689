"""The list of phases is that of the workloads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rig
from rig.errors import UserError
from rig.experiments.run.options import check_wishes
from rig.faults.phases import PHASES, Phase, lies_within
from rig.faults.reader import parse_plan, parse_rule

RULE = '[[fault]]\nlayer = "medium"\nop = "write"\nnth = 1\nphase = "PHASE"\n'
RUN = Path(rig.__file__).parent / "experiments" / "run"


def told_by(file: Path) -> set[str]:
    """The phases that a module names when it tells one."""
    calls = (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call))
    told = (n.args[0] for n in calls if ast.unparse(n.func).endswith("set_phase") and n.args)
    return {str(n.value) for n in told if isinstance(n, ast.Constant) and n.value is not None}


def test_every_phase_that_a_run_tells_by_name_is_listed() -> None:
    told = set().union(*map(told_by, RUN.glob("*.py")))
    assert told <= set(PHASES)


@pytest.mark.parametrize("phase", PHASES)
def test_a_listed_phase_is_taken(phase: str) -> None:
    text = 'name = "x"\n' + RULE.replace("PHASE", phase)
    assert parse_plan(text, "x.toml", PHASES).faults[0].phase == phase


def test_a_phase_that_no_workload_has_is_refused_with_the_list() -> None:
    with pytest.raises(UserError) as caught:
        parse_plan('name = "x"\n' + RULE.replace("PHASE", "wirte"), "x.toml", PHASES)
    assert str(caught.value) == (
        "x.toml, line 6: fault 1 (medium): no workload has a phase 'wirte'; known phases: "
        + ", ".join(PHASES)
        + "."
    )


def test_any_phase_is_taken_where_the_workload_is_not_known() -> None:
    rule = {"layer": "medium", "op": "write", "nth": 1, "phase": "cell-7"}
    assert parse_rule(rule).phase == "cell-7"


def test_a_run_refuses_a_phase_that_it_does_not_have(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('name = "x"\n' + RULE.replace("PHASE", "wirte"))
    with pytest.raises(UserError, match="no workload has a phase 'wirte'"):
        check_wishes(str(plan), "ext4", "6.12", None)


def test_a_phase_lies_within_those_whose_part_it_is() -> None:
    assert lies_within(Phase.PROMISED) == (Phase.WRITE, Phase.PROMISED)
    assert lies_within(Phase.READ) == (Phase.READ,)
    assert lies_within(None) == ()


@pytest.mark.parametrize("name", ["promised", "read/promised", "write/", "write/promised/more"])
def test_what_is_no_part_of_a_phase_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="known phases: write, write/promised, read"):
        parse_plan('name = "x"\n' + RULE.replace("PHASE", name), "x.toml", PHASES)
