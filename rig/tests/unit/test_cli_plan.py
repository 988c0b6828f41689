"""``rig plan`` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig.cli.main import run
from rig.errors import UserError
from rig.faults.load import shipped_plans


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
