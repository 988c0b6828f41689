"""A run's end is held against what its plan says of it."""

from __future__ import annotations

import msgspec
import pytest

from rig.faults.plan import DataClass, Expect, Head
from rig.integrity.judgement import SectorClass
from rig.report.expected import surprise
from rig.report.verdict import Outcome
from rig.tests.unit.test_summary import PASS


def told(expect: Expect, outcome: Outcome, *classes: DataClass, lost: int = 0) -> str:
    sectors = {SectorClass.OK: 8, SectorClass.LOST: lost}
    verdict = msgspec.structs.replace(PASS, verdict=outcome, sectors=sectors)
    return surprise(Head(name="p", expect=expect, classes=classes), verdict)


@pytest.mark.parametrize(
    ("expect", "fine"),
    [
        (Expect.PASS, {Outcome.PASS}),
        (Expect.INDETERMINATE, {Outcome.PASS, Outcome.INDETERMINATE}),
        (Expect.FAIL, {Outcome.FAIL}),
    ],
)
def test_each_expectation_has_its_outcomes(expect: Expect, fine: set[Outcome]) -> None:
    assert {one for one in Outcome if not told(expect, one)} == fine


def test_another_outcome_is_told() -> None:
    said = told(Expect.PASS, Outcome.FAIL)
    assert said == "Plan 'p' expects 'pass', and the verdict is not that."


def test_a_failure_must_be_of_one_of_the_classes() -> None:
    classes = (DataClass.LOST, DataClass.ZEROED)
    assert told(Expect.FAIL, Outcome.FAIL, *classes, lost=1) == ""
    assert told(Expect.FAIL, Outcome.FAIL, *classes) == (
        "Plan 'p' expects sectors that are lost or zeroed."
    )
