"""A run's attachment is the user's or the plan's, and the two do not contradict each other."""

from __future__ import annotations

import pytest

from rig.cable.controllers import Controller
from rig.errors import UserError
from rig.experiments.run.plugging import check_driver, plug
from rig.faults.load import load_plan, shipped_plans
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan
from rig.lab.paths import PathName

ANYWHERE = Plan(name="anywhere")
AT_EHCI = Plan(name="picky", attachment="ehci")


def test_a_plan_that_says_nothing_runs_on_dummy() -> None:
    attachment, controller = plug(ANYWHERE, None)
    assert (attachment.name, controller) == ("dummy", None)


def test_the_user_says_where_a_plan_that_says_nothing_runs() -> None:
    attachment, controller = plug(ANYWHERE, "xhci-raw")
    assert (attachment.name, controller) == ("xhci-raw", Controller.XHCI_RAW)


@pytest.mark.parametrize("wish", [None, "ehci"])
def test_a_plans_attachment_is_taken(wish: str | None) -> None:
    attachment, controller = plug(AT_EHCI, wish)
    assert (attachment.name, controller) == ("ehci", Controller.EHCI)


def test_another_attachment_than_the_plans_is_refused() -> None:
    with pytest.raises(UserError, match="'picky' is for attachment 'ehci', not for 'dummy'"):
        plug(AT_EHCI, "dummy")


def test_an_attachment_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="There is no attachment 'uhci'"):
        plug(Plan(name="old", attachment="uhci"), None)


@pytest.mark.parametrize("name", list(shipped_plans()))
def test_every_shipped_plan_can_be_plugged_in(name: str) -> None:
    plan = load_plan(name)
    attachment, _ = plug(plan, None)
    assert attachment.name == plan.attachment or plan.attachment is None


def plan_with(*faults: str) -> Plan:
    text = "".join(f"[[fault]]\n{fault}\n" for fault in faults)
    return parse_plan(f'name = "one"\nseed = 1\n{text}', "one.toml")


ERROR = 'layer = "endpoint"\ndirection = "out"\nnth = 1\nwhen = "before"\nstatus = "EPROTO"\n'
ON_CABLE = ERROR + 'place = "cable"'
IN_PORT = ERROR + 'name = "cut"'
MEDIUM = 'layer = "medium"\nop = "write"\nnth = 3\nerror = "EIO"'
SLOW = 'layer = "link"\nname = "slow"\neffect = "delay"\ndelay_ms = 5\nat_s = 0\nfor_s = 1'
NO_BACK = 'layer = "machine"\neffect = "kill-daemon"\nmachine = "back"\ndaemon = "back"\nat_s = 1'
STOPPED = 'layer = "machine"\neffect = "stop-daemon"\nmachine = "back"\ndaemon = "gadget"\nat_s = 1'
REBOOT = 'layer = "machine"\neffect = "reboot"\nmachine = "back"\nat_s = 1'


@pytest.mark.parametrize("driver", [PathName.USBIP, PathName.DIRECT])
def test_medium_device_and_cable_are_below_any_driver(driver: PathName) -> None:
    check_driver(plan_with(ON_CABLE, MEDIUM, STOPPED), driver)


@pytest.mark.parametrize(
    ("fault", "missing"),
    [
        (IN_PORT, "'cut' of plan 'one' needs the back end's port, and driver usbip has none"),
        (SLOW, "'slow' of plan 'one' needs a relay in the split driver's link"),
        (NO_BACK, "needs the daemon 'back'"),
        (REBOOT, "needs somebody who plugs the device in again"),
    ],
)
def test_what_only_the_split_driver_has_is_refused_of_another(fault: str, missing: str) -> None:
    with pytest.raises(UserError, match=missing):
        check_driver(plan_with(fault), PathName.USBIP)
    check_driver(plan_with(fault), PathName.SPLIT)
