from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rig.cli.app import call
from rig.cli.exits import Exit
from rig.errors import UserError
from rig.experiments.conformance import conformance
from rig.experiments.conformance.conformance import Wishes
from rig.experiments.conformance.report import CaseResult, PathReport, Report, Result
from rig.progress import Progress


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def end_with(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(wishes: Wishes, directory: Path, progress: Progress) -> Report:
        case = CaseResult(24, "unlinks", result, "0", 0.5)
        return Report("6.12.1", "tcg", "hold", 1, (PathReport("split", 1, (case,)),))

    monkeypatch.setattr(conformance, "run", run)


@pytest.mark.parametrize(("result", "status"), [(Result.PASS, Exit.PASS), (Result.HANG, Exit.FAIL)])
def test_the_exit_status_says_whether_every_case_passed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    result: Result,
    status: Exit,
) -> None:
    end_with(result, monkeypatch)
    assert call(["conformance", "--out", "here"]) == status
    out = capsys.readouterr().out
    assert result.value in out
    assert out.endswith("All of it is in here/\n")


def test_json_is_the_report_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end_with(Result.PASS, monkeypatch)
    call(["conformance", "--json", "--out", "here"])
    report = msgspec.json.decode(capsys.readouterr().out, type=Report)
    assert report.paths[0].cases[0].case == 24


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--path xen", "There is no path 'xen'"),
        ("--case 15", "'15' names no test case"),
        ("--kernel 5.4", "There is no guest kernel '5.4'"),
        ("--times 0", "Invalid value for '--times'"),
    ],
)
def test_a_wrong_wish_is_told_and_starts_nothing(argv: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        call(["conformance", *argv.split()])
    assert list(Path().iterdir()) == []
