"""The six questions of the proposal of 2005, each with an experiment on real kernels.

``docs/recovery.md`` has the questions, and what the same experiments say with more repetitions.
All is with dummy_hcd below the back end.
"""

from __future__ import annotations

import json

import pytest

from rig.experiments.conformance.conformance import check_wishes
from rig.experiments.drivers.drivers import Trials
from rig.experiments.drivers.report import Trial
from rig.experiments.drivers.wishes import Wishes
from rig.experiments.hazard.hazard import Hazard
from rig.experiments.hazard.report import Row
from rig.experiments.hazard.wishes import read_wishes
from rig.experiments.run.options import Recovery
from rig.faults.rules.endpoint import EndpointStatus
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.lab.strategy import LabState
from rig.progress import Silent
from rig.splitdriver.policy import Policy
from rig.tests.conftest import LabKeeper
from rig.usb.urb import Direction

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

REPETITIONS = 2
DELAYS_MS = (0, 20)
READ_URBS = 2
"""That usbserial's generic driver has in flight."""

DEADLINE_S = 120.0
ACA = Recovery(Policy.ACA)

Rows = dict[tuple[str, int], Row]


@pytest.fixture(scope="module")
def rows(lab_keeper: LabKeeper) -> Rows:
    """A few repetitions of ``rig hazard``, by policy and delay."""
    wishes = read_wishes(policies=list(Policy), delays_ms=DELAYS_MS, repetitions=REPETITIONS)
    found = Hazard(lab_keeper.booted(), wishes, Silent()).run()
    assert all(row.fired == row.runs == REPETITIONS for row in found)
    return {(row.policy, row.delay_ms): row for row in found}


def trial(lab: Lab, recovery: Recovery, status: EndpointStatus) -> Trial:
    """Fail the URBs of a serial port whose driver submits them again in its completion handler."""
    wishes = Wishes(("usbserial",), (recovery,), (status,), READ_URBS, (Direction.IN,))
    (told,) = Trials(lab, wishes, Silent()).run()
    assert told.came_up, told.note
    return told


def case(lab: Lab, number: int, policy: Policy) -> str:
    """Run one of usbtest's cases; return "0" or the errno's name."""
    wishes = check_wishes(["split"], "6.12", policy, str(number), 1)
    lab.setup = wishes.setup(PathName.SPLIT)
    lab.transition(LabState.ATTACHED)
    done = lab.front.run(f"rig usbtest {lab.found} --case {number}", DEADLINE_S)
    return str(json.loads(done.stdout)["status"])


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_the_experiment_sees_the_hazard_where_nothing_is_done_about_it(
    rows: Rows, delay_ms: int
) -> None:
    row = rows[Policy.NAIVE, delay_ms]

    assert row.runs_wrong > 0
    assert row.ran_behind > 0


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_question_1_the_guarantee_is_kept_without_nesting_the_completions(
    rows: Rows, delay_ms: int
) -> None:
    row = rows[Policy.HOLD, delay_ms]

    assert (row.runs_wrong, row.ran_behind) == (0, 0)


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_question_2_aca_is_sufficient_against_blocks_at_a_wrong_lba(
    rows: Rows, delay_ms: int
) -> None:
    row = rows[Policy.ACA, delay_ms]

    assert (row.runs_wrong, row.ran_behind) == (0, 0)


def test_question_2_aca_is_stricter_than_linux(booted_lab: Lab) -> None:
    # Unlinks some URBs of a queue, and demands that the others succeed.
    assert case(booted_lab, 24, Policy.ACA) != "0"


def test_question_3_aca_starves_a_driver_that_submits_again_in_its_handler(
    booted_lab: Lab,
) -> None:
    starved = trial(booted_lab, ACA, EndpointStatus.EPROTO)

    assert not starved.flows_again
    assert starved.stood_s is None  # the endpoint never goes idle: it fails to the end
    assert starved.urbs > 100  # while the driver tries again and again


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [(EndpointStatus.EPROTO, True), (EndpointStatus.ECONNRESET, False)],
)
def test_question_4_a_serial_port_outlives_an_error_of_the_bus_but_no_unlink(
    booted_lab: Lab, status: EndpointStatus, goes_on: bool
) -> None:
    assert trial(booted_lab, Recovery(), status).flows_again is goes_on


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_question_5_hold_fails_nothing_that_neither_failed_nor_was_unlinked(
    rows: Rows, delay_ms: int
) -> None:
    row = rows[Policy.HOLD, delay_ms]

    # The first failed; the others the client's own kernel unlinked, or never queued.
    assert set(row.statuses) <= {
        "-EPROTO -ECONNRESET -ECONNRESET -ECONNRESET",
        "-EPROTO -EREMOTEIO -EREMOTEIO -EREMOTEIO",
        "-EPROTO -ECONNRESET -EREMOTEIO -EREMOTEIO",
        "-EPROTO -ECONNRESET -ECONNRESET -EREMOTEIO",
    }
    assert row.stopped.count >= row.runs


@pytest.mark.parametrize("policy", list(Policy))
def test_question_6_a_port_reset_of_the_client_reaches_the_device(
    rows: Rows, policy: Policy
) -> None:
    for delay_ms in DELAYS_MS:
        assert rows[policy, delay_ms].resets == REPETITIONS
