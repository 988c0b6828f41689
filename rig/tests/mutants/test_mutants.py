"""The rig sees: every mutant is killed by whom it must be, and nothing correct raises an alarm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rig.errors import UserError
from rig.experiments.run.client import Client
from rig.faults.phases import PHASES
from rig.faults.reader import parse_plan
from rig.integrity.filesystems import FILE_SYSTEMS
from rig.integrity.workloads.table import WORKLOADS
from rig.tests.mutants import __main__ as command
from rig.tests.mutants import daemon
from rig.tests.mutants.__main__ import VM_CORRECT_RUNS, main, row_of_correct, summary
from rig.tests.mutants.correct import play_correct
from rig.tests.mutants.kit import MUTANTS, Kind, Mutant, score
from rig.tests.mutants.trial import play
from rig.tests.mutants.vm import CorrectScore, added_up
from rig.tests.mutants.vm_bench import COPIED
from rig.tests.mutants.vm_correct import correct_run


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed_by_the_right_one(mutant: Mutant) -> None:
    scored = score(mutant)
    assert scored.killed, scored.alarms


def test_nothing_correct_raises_an_alarm() -> None:
    calm = play_correct(range(40))
    assert not calm.alarms


def test_correct_runs_are_not_calm_ones() -> None:
    calm = play_correct(range(20))
    assert calm.losses > 5
    assert calm.moves > 20_000


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_nothing_correct_raises_an_alarm_in_a_thousand_runs() -> None:
    calm = play_correct(range(1000))
    assert not calm.alarms


def test_a_run_is_a_function_of_its_seed() -> None:
    assert play(7) == play(7)


@pytest.mark.parametrize("kind", Kind)
def test_there_are_mutants_of_every_kind(kind: Kind) -> None:
    assert [mutant for mutant in MUTANTS if mutant.kind is kind]


def test_no_two_mutants_have_one_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_mutant_that_nobody_sees_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "score", lambda mutant, _: score(mutant, 0))
    assert main(["driver/resumes-too-early", "--correct", "0"]) == 1
    assert "SURVIVED  driver/resumes-too-early" in capsys.readouterr().out


def test_the_scores_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device/reads-zeros", "--correct", "2"]) == 0
    printed = capsys.readouterr().out
    assert "killed    device/reads-zeros" in printed
    assert "1 of 1 mutants killed." in printed
    assert "2 correct runs" in printed


@pytest.mark.parametrize("wanted", [["moon"], ["none", "driver/"], ["moon", "--vm"]])
def test_a_name_that_no_mutant_has_is_refused(wanted: list[str]) -> None:
    with pytest.raises(UserError, match=r"No mutant's name holds '(moon|none)'"):
        main([*wanted, "--correct", "0"])


@pytest.mark.parametrize("wrong", ["--trials=0", "--correct=-4", "--first=-1"])
def test_numbers_that_prove_nothing_are_refused(wrong: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["none", wrong])


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a daemon as a machine does."""
    return subprocess.run(
        [sys.executable, "-c", daemon.START, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize("end", ["back", "front"])
def test_a_broken_end_has_the_options_of_a_whole_one(end: str) -> None:
    assert "--urb-log" in start("flips_a_bit", end, "--help").stdout


def test_a_broken_end_needs_nothing_that_a_machine_lacks() -> None:
    code = (
        "import sys, rig.tests.mutants.daemon;"
        "print(*{'numpy', 'pytest', 'typer', 'labgrid', 'hypothesis'} & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.strip() == ""


def test_what_a_machine_gets_is_all_that_its_daemon_imports() -> None:
    code = (
        "import sys, rig.tests.mutants.daemon;"
        "print(*(m for m in sys.modules if m.startswith('rig.tests.')))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    package = Path(daemon.__file__).parent
    names = {name.rpartition(".")[2] + ".py" for name in told.stdout.split()}
    assert names - {"mutants.py"} <= COPIED
    assert all((package / name).is_file() for name in COPIED)


def test_the_correct_runs_in_guests_can_be_run_and_have_all_there_is(tmp_path: Path) -> None:
    runs = [correct_run(number) for number in range(VM_CORRECT_RUNS)]
    for run in runs:
        assert run.options(tmp_path).file_systems == (run.file_system,)
    assert {run.file_system for run in runs} == {*FILE_SYSTEMS, "raw"}
    assert {run.workload for run in runs} == {*WORKLOADS}
    assert {run.client for run in runs} == {*Client}


def test_most_correct_runs_in_guests_are_not_calm_ones() -> None:
    plans = [
        parse_plan(correct_run(n).plan, "plan", PHASES).with_seed(n) for n in range(VM_CORRECT_RUNS)
    ]
    assert sum(bool(plan.faults) for plan in plans) > VM_CORRECT_RUNS // 2
    assert len({type(fault) for plan in plans for fault in plan.faults}) == 2


def test_an_alarm_of_a_correct_run_in_guests_is_told_with_its_number() -> None:
    silent = CorrectScore(correct_run(0), {}, fired=3, urbs=600, sectors=4096, total_s=20.0)
    loud = CorrectScore(correct_run(1), {"host/lost": "LBA 7."}, 1, 500, 4000, 30.0)
    assert row_of_correct(silent).startswith("silent    vm/correct/0-")
    assert row_of_correct(loud).startswith("ALARM     vm/correct/1-")
    assert summary([], added_up([silent, loud])).splitlines()[1:] == [
        "2 correct runs, in which 4 faults fired, 1100 URBs were watched and 8096 sectors were"
        " right, 25 s each: 1 alarms.",
        "  seed 1: host/lost: LBA 7.",
    ]
