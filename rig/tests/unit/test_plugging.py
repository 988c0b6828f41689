"""A run's attachment is the user's or the plan's, and the two do not contradict each other."""

from __future__ import annotations

import pytest

from rig.cable.controllers import Controller
from rig.errors import UserError
from rig.experiments.run.plugging import plug
from rig.faults.load import load_plan, shipped_plans
from rig.faults.plan import Plan

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
