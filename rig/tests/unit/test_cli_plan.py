"""``rig plan`` at the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rig.cli.main import run
from rig.errors import UserError
from rig.faults.load import shipped_plans

RULE = '[[fault]]\nlayer = "medium"\nop = "write"\nnth = 1\n'


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "schema"]) == 0
    assert "fault" in json.loads(capsys.readouterr().out)["properties"]


def test_good_plans_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "check", "demo", *shipped_plans()]) == 0
    assert "demo: 10 rules (endpoint, medium): valid.\n" in capsys.readouterr().out


def test_a_bad_plan_is_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('name = "x"\n[[fault]]\nlayer = "endpoint"\ndirections = "out"\n')
    with pytest.raises(UserError, match=r"bad.toml, line 4: .* \(did you mean 'direction'\?\)"):
        run(["plan", "check", str(file)])


def test_a_plan_is_explained_under_another_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "explain", "demo", "--seed", "5"]) == 0
    told = capsys.readouterr().out
    assert "Plan 'demo', seed 5: 10 rules." in told
    assert "at match 8 in phase 'write'" in told


def test_every_shipped_plan_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "list"]) == 0
    told = capsys.readouterr().out
    for name in shipped_plans():
        assert name in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('\nattachment = "bogus"', "line 3: There is no attachment 'bogus'"),
        (RULE + 'phase = "wirte"', "line 6: fault 1 (medium): no workload has a phase 'wirte'"),
    ],
)
def test_what_no_run_could_have_is_refused_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('name = "x"\n' + text)
    with pytest.raises(UserError, match=re.escape(f"{file}, {said}")):
        run(["plan", "check", str(file)])


@pytest.mark.parametrize("command", ["explain", "rehearse"])
def test_no_command_takes_a_phase_that_no_workload_has(tmp_path: Path, command: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('name = "x"\n' + RULE + 'phase = "wirte"')
    with pytest.raises(UserError, match="no workload has a phase 'wirte'"):
        run(["plan", command, str(file)])


def test_one_fault_is_not_called_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.toml"
    file.write_text('name = "x"\n' + RULE)
    assert run(["plan", "rehearse", str(file)]) == 0
    assert "\n1 fault fired, and no rule" in capsys.readouterr().out


def rehearsed(capsys: pytest.CaptureFixture[str], plan: str) -> str:
    assert run(["plan", "rehearse", plan]) == 0
    return capsys.readouterr().out


def test_the_first_flush_of_a_rehearsal_promises_what_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "promised.toml"
    file.write_text(
        'name = "x"\n[[fault]]\nlayer = "medium"\nop = "flush"\nphase = "write/promised"\n'
        'nth = 1\ntimes = -1\neffect = "lie"\n'
    )
    assert "9 faults fired" in rehearsed(capsys, str(file))


def test_rules_that_the_simulation_has_no_place_for_are_named_by_their_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mixed.toml"
    cut = '[[fault]]\nlayer = "link"\neffect = "cut"\nnth = 1\nname = '
    file.write_text(f'name = "x"\n{RULE}{cut}"one"\n{cut}"two"\n')
    told = rehearsed(capsys, str(file))
    assert told.endswith(
        "1 fault fired, and no rule of the split driver is broken.\n"
        "Left out, for the simulation has no place for them: link: one, two.\n"
    )


def test_a_plan_of_which_nothing_is_rehearsed_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = rehearsed(capsys, "link-cut")
    assert "Left out, for the simulation has no place for them: link: " in told
    assert told.endswith("That is all of the plan: only 'rig run' can try it.\n")


def test_rules_without_a_match_in_the_simulation_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "late.toml"
    file.write_text('name = "x"\n' + RULE.replace("nth = 1", 'nth = 1000000\nname = "late"'))
    told = rehearsed(capsys, str(file))
    assert told.endswith("Not fired, for the simulation brought them no match: medium: late.\n")


def test_all_is_said_of_a_plan_whose_every_rule_fires(capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsed(capsys, "demo").endswith("no rule of the split driver is broken.\n")
