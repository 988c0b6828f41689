"""The trials of drivers: what is wished, what is tried, and how it is told."""

from __future__ import annotations

import pytest

from rig.cli.drivers import table
from rig.errors import UserError
from rig.experiments.drivers.devices import DEVICES, DRIVERS
from rig.experiments.drivers.drivers import _stood
from rig.experiments.drivers.report import Report, Trial
from rig.experiments.drivers.wishes import read_wishes
from rig.experiments.run.options import Recovery
from rig.faults.reader import parse_plan
from rig.faults.rules.endpoint import EndpointStatus
from rig.integrity.account import Told
from rig.splitdriver.policy import Policy


def test_aca_is_tried_with_each_status_and_the_others_once() -> None:
    wishes = read_wishes(
        [], ["hold", "aca"], ["EPROTO", "EAGAIN"], ["EPROTO"], errors=1, kernel="6.12"
    )

    assert wishes.recoveries == (
        Recovery(),
        Recovery(Policy.ACA, "EPROTO"),
        Recovery(Policy.ACA, "EAGAIN"),
    )
    assert wishes.drivers == DRIVERS


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ((["floppy"], ["hold"], [], []), "no driver 'floppy'"),
        (([], ["hope"], [], []), "no policy 'hope'"),
        (([], ["aca"], ["EIO"], []), "no ACA status 'EIO'"),
        (([], ["hold"], [], ["ENOMEM"]), "no status 'ENOMEM'"),
    ],
)
def test_a_bad_wish_is_told_in_a_sentence(
    wish: tuple[list[str], list[str], list[str], list[str]], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_wishes(*wish)


def test_only_the_ways_that_are_wished_are_tried() -> None:
    wishes = read_wishes(["cdc_acm"], ["hold"], [], ["EPROTO"], directions=["in"])

    wanted = [route.phase for device in DEVICES for route in device.routes if wishes.want(route)]
    assert wanted == ["cdc_acm-in"]


def test_every_route_has_a_rule_that_fires_in_its_own_phase_alone() -> None:
    wishes = read_wishes([], ["hold"], [], ["EAGAIN"], errors=3)
    for device in DEVICES:
        plan = wishes.plan(device.routes, EndpointStatus.EAGAIN)
        faults = parse_plan(plan, "drivers").faults
        assert [fault.phase for fault in faults] == [route.phase for route in device.routes]
        assert [fault.times for fault in faults] == [3] * len(device.routes)


def test_an_endpoint_stood_still_from_the_fault_until_it_next_went_on() -> None:
    events = [
        {"event": "went-on", "t": 1.0, "endpoint": 2, "stood_s": 9.0},  # before the fault
        {"event": "went-on", "t": 3.0, "endpoint": 129, "stood_s": 9.0},
        {"event": "went-on", "t": 4.0, "endpoint": 2, "stood_s": 0.25},
    ]

    assert _stood(events, {"t": 2.0, "endpoint": 2}) == 0.25
    assert _stood(events[:2], {"t": 2.0, "endpoint": 2}) is None


def test_the_table_says_what_each_driver_did() -> None:
    told = Told(records=10, missing=1, longest_gap_s=0.5)
    common = {"driver": "cdc_acm", "direction": "in", "policy": "aca", "failed_with": "EPROTO"}
    trials = (
        Trial(**common, flows_again=True, told=told, stood_s=0.004),  # type: ignore[arg-type]
        Trial(**common, flows_again=False, told=told),  # type: ignore[arg-type]
        Trial(**common, came_up=False, resets_before=3),  # type: ignore[arg-type]
    )

    made = table(Report(kernel="6.12", accelerator="tcg", errors=1, trials=trials))

    assert list(made.columns[4].cells) == ["goes on", "stops", "no start"]
    assert list(made.columns[9].cells) == ["4", "to the end", ""]
