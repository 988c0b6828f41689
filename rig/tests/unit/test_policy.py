"""The rule of every policy, each state with each event.

The tables are written here once more, by hand: the code must not change its rule unnoticed.
"""

from __future__ import annotations

import errno

import pytest

from rig.errors import ApiViolationError
from rig.splitdriver.endpoint import TABLES, Endpoint, Event, State
from rig.splitdriver.policy import ACA_STATUSES, DEFAULT_ACA_STATUS, Policy, PolicyCode

HOLD = """
                    open      draining  quiet  resuming  failing
    ENDED_BUSY      open      draining  -      resuming  -
    ENDED_IDLE      open      quiet     -      open      -
    FAILED_BUSY     draining  draining  -      draining  -
    FAILED_IDLE     quiet     quiet     -      quiet     -
    UNLINK_BUSY     draining  draining  -      draining  -
    UNLINK_IDLE     quiet     -         quiet  -         -
    RESUME          -         resuming  open   -         -
    CLEAR           -         -         -      -         -
"""
ACA = """
                    open      draining  quiet  resuming  failing
    ENDED_BUSY      open      -         -      -         failing
    ENDED_IDLE      open      -         -      -         failing
    FAILED_BUSY     failing   -         -      -         failing
    FAILED_IDLE     failing   -         -      -         failing
    UNLINK_BUSY     failing   -         -      -         failing
    UNLINK_IDLE     failing   -         -      -         failing
    RESUME          -         -         -      -         -
    CLEAR           open      -         -      -         open
"""
NAIVE = """
                    open      draining  quiet  resuming  failing
    ENDED_BUSY      open      -         -      -         -
    ENDED_IDLE      open      -         -      -         -
    FAILED_BUSY     open      -         -      -         -
    FAILED_IDLE     open      -         -      -         -
    UNLINK_BUSY     open      -         -      -         -
    UNLINK_IDLE     open      -         -      -         -
    RESUME          -         -         -      -         -
    CLEAR           -         -         -      -         -
"""
RULES = {Policy.HOLD: HOLD, Policy.ACA: ACA, Policy.NAIVE: NAIVE}

STOPS = {Event.FAILED_BUSY, Event.FAILED_IDLE, Event.UNLINK_BUSY, Event.UNLINK_IDLE}


def cells() -> list[tuple[Policy, State, Event, State | None]]:
    """Every policy, state and event, with the state that must follow; None: it cannot happen."""
    found = []
    for policy, text in RULES.items():
        states, *rows = (line.split() for line in text.strip().splitlines())
        for name, *targets in rows:
            for state, target in zip(states, targets, strict=True):
                following = None if target == "-" else State(target)
                found.append((policy, State(state), Event[name], following))
    return found


CELLS = cells()


def in_state(policy: Policy, state: State) -> Endpoint:
    endpoint = Endpoint(policy)
    endpoint.state = state
    return endpoint


def test_every_policy_has_every_state_with_every_event() -> None:
    expected = {(p, s, e) for p in Policy for s in State for e in Event}
    assert {cell[:3] for cell in CELLS} == expected
    assert len(CELLS) == len(expected)


@pytest.mark.parametrize(("policy", "state", "event", "following"), CELLS)
def test_an_event_makes_of_a_state_what_the_rule_says(
    policy: Policy, state: State, event: Event, following: State | None
) -> None:
    endpoint = in_state(policy, state)
    if state not in TABLES[policy]:
        assert following is None
    elif following is None:
        with pytest.raises(ApiViolationError, match=f"cannot happen .* is {state}"):
            endpoint._happened(event)
        assert (endpoint.state, endpoint.epoch) == (state, 0)
    else:
        endpoint._happened(event)
        stops = event in STOPS and policy is not Policy.NAIVE
        assert (endpoint.state, endpoint.epoch) == (following, int(stops))


@pytest.mark.parametrize("policy", Policy)
def test_every_state_of_a_policy_is_reached_and_left(policy: Policy) -> None:
    table = TABLES[policy]
    reached = {State.OPEN}
    while more := {t for s in reached for t in table[s].values()} - reached:
        reached |= more
    assert reached == set(table)
    assert all(set(row.values()) - {state} for state, row in table.items() if len(table) > 1)


def test_every_policy_has_an_octet_on_the_wire() -> None:
    assert {policy.name: PolicyCode[policy.name].value for policy in Policy} == {
        "HOLD": 1,
        "ACA": 2,
        "NAIVE": 3,
    }


def test_urbs_that_aca_fails_have_negative_errnos_and_not_that_of_a_stall() -> None:
    assert ACA_STATUSES[DEFAULT_ACA_STATUS] == -errno.EPROTO
    # A client would answer -EPIPE by CLEAR_HALT, though the device has halted nothing.
    assert -errno.EPIPE not in ACA_STATUSES.values()
    assert all(status < 0 for status in ACA_STATUSES.values())
