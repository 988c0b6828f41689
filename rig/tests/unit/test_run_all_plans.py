"""The table of all plans: what counts as a difference, and what need not be run again."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from rig.errors import UserError
from rig.experiments.run.options import RunOptions
from rig.faults.load import shipped_plans
from rig.integrity.judgement import SectorClass
from rig.report.rundir import RunDirectory
from rig.report.verdict import Outcome, Verdict
from rig.tests import plans
from rig.tests.unit.test_summary import PASS


class Rig:
    """Runs nothing, and says of each plan what it is told to."""

    def __init__(self) -> None:
        self.ends: dict[str, tuple[Outcome, dict[SectorClass, int]]] = {}
        self.ran: list[str] = []

    def __call__(self, options: RunOptions, path: Path) -> Verdict:
        self.ran.append(path.name)
        outcome, sectors = self.ends.get(options.plan.name, (Outcome.PASS, {}))
        verdict = msgspec.structs.replace(
            PASS,
            verdict=outcome,
            sectors=sectors,
            plan=options.plan.name,
            seed=options.plan.seed,
            attachment=options.attachment.name,
        )
        directory = RunDirectory.create("", path)
        directory.write("plan.toml", options.plan_text)
        directory.conclude(verdict)
        return verdict


@pytest.fixture
def rig() -> Rig:
    return Rig()


def call(rig: Rig, monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["plans", "--out", str(out), *words])
    return plans.main(rig)


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


def test_all_that_is_shipped_is_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call(rig, monkeypatch, tmp_path)
    assert rig.ran == list(shipped_plans())


@pytest.mark.parametrize(
    ("plan", "outcome", "sectors", "status"),
    [
        ("calm", Outcome.PASS, {}, 0),
        ("calm", Outcome.INDETERMINATE, {}, 1),
        ("calm", Outcome.INFRASTRUCTURE, {}, 1),
        ("link-cut", Outcome.INDETERMINATE, {}, 0),
        ("link-cut", Outcome.FAIL, {SectorClass.LOST: 1}, 1),
        ("medium-flip", Outcome.FAIL, {SectorClass.CORRUPT: 3}, 0),
        ("medium-flip", Outcome.FAIL, {SectorClass.LOST: 3}, 1),
        ("medium-flip", Outcome.PASS, {}, 1),
    ],
)
def test_a_verdict_that_is_not_what_the_plan_expects_is_a_difference(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    plan: str,
    outcome: Outcome,
    sectors: dict[SectorClass, int],
    status: int,
) -> None:
    rig.ends[plan] = (outcome, sectors)
    assert call(rig, monkeypatch, tmp_path, *only("calm", plan)) == status


def test_the_table_tells_of_each_plan_how_it_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rig.ends["medium-flip"] = (Outcome.FAIL, {SectorClass.OK: 9, SectorClass.LOST: 2})
    call(rig, monkeypatch, tmp_path, *only("cable-ehci", "medium-flip"))
    assert (tmp_path / "table.md").read_text().splitlines()[2:] == [
        "| cable-ehci | ehci | pass | pass | 13 (no limit) | - | 56 |",
        "| medium-flip | dummy | fail corrupt | fail (!) | 13 (no limit) | lost 2 | 56 |",
    ]


def test_a_verdict_that_is_there_is_not_asked_for_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call(rig, monkeypatch, tmp_path, *only("calm"))
    call(rig, monkeypatch, tmp_path, *only("calm", "demo"))
    assert rig.ran == ["calm", "demo"]


def test_a_verdict_of_an_earlier_run_is_told_as_that(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call(rig, monkeypatch, tmp_path, *only("calm"))
    assert "of an earlier run" not in capsys.readouterr().out
    call(rig, monkeypatch, tmp_path, *only("calm", "link-cut"))
    said = capsys.readouterr().out
    assert "calm: pass (of an earlier run)." in said
    assert said.count("(of an earlier run)") == 1
    assert "1 of 2 were run earlier; a new '--out' runs all of them." in said


def test_what_another_seed_gave_another_plan_or_a_machine_that_failed_does_not_count(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rig.ends["calm"] = (Outcome.INFRASTRUCTURE, {})
    call(rig, monkeypatch, tmp_path, *only("calm"))
    rig.ends.clear()
    call(rig, monkeypatch, tmp_path, *only("calm"))
    (tmp_path / "calm-2" / "plan.toml").write_text("another")
    call(rig, monkeypatch, tmp_path, *only("calm"))
    call(rig, monkeypatch, tmp_path, *only("calm"), "--seed", "99")
    assert rig.ran == ["calm", "calm-2", "calm-3", "calm-4"]


def test_a_run_that_was_ended_before_its_end_does_not_count(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "calm").mkdir()
    call(rig, monkeypatch, tmp_path, *only("calm"))
    assert rig.ran == ["calm-2"]


def test_what_is_ended_by_hand_says_how_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: RunOptions, path: Path) -> Verdict:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["plans", "--out", str(tmp_path)])
    with pytest.raises(KeyboardInterrupt):
        plans.main(interrupted)
    assert f"'--out {tmp_path}' goes on" in capsys.readouterr().err


def test_a_plan_that_there_is_not_is_a_sentence(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="There is no plan 'clam'"):
        call(rig, monkeypatch, out, *only("clam"))
    assert not out.exists()


def test_a_directory_that_cannot_be_made_is_a_sentence(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file' cannot be made: File exists"):
        call(rig, monkeypatch, tmp_path / "file")
    assert rig.ran == []


def test_the_help_keeps_its_lines(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["plans", "--help"])
    with pytest.raises(SystemExit):
        plans.main(rig)
    assert "\n    python -m rig.tests.plans --out DIRECTORY " in capsys.readouterr().out
