"""The rig sees: every mutant is killed by whom it must be, and nothing correct raises an alarm."""

from __future__ import annotations

import pytest

from rig.tests.mutants.__main__ import main
from rig.tests.mutants.correct import play_correct
from rig.tests.mutants.kit import MUTANTS, Kind, Mutant, score
from rig.tests.mutants.trial import play


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


def test_a_mutant_that_nobody_sees_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["driver/resumes-too-early", "--trials", "0", "--correct", "0"]) == 1
    assert "SURVIVED  driver/resumes-too-early" in capsys.readouterr().out


def test_the_scores_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device/reads-zeros", "--correct", "2"]) == 0
    printed = capsys.readouterr().out
    assert "killed    device/reads-zeros" in printed
    assert "1 of 1 mutants killed." in printed
    assert "2 correct runs" in printed
