from __future__ import annotations

import pytest

from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    NEWEST_VERSION,
    OLDEST_VERSION,
    Capability,
    Hello,
    Message,
    Ping,
    Pong,
    Refused,
    Reset,
    Role,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.session import DEAD_AFTER_S, HEARTBEAT_S, Session

GREETING = Hello(Role.BACK, Policy.HOLD, "back")


def session(now: float = 100.0) -> Session:
    return Session(Role.FRONT, Policy.HOLD, "front", now)


def greeted(now: float = 100.0) -> Session:
    one = session(now)
    one.receive(GREETING, now)
    return one


def test_it_opens_with_its_role_policy_name_versions_and_capabilities() -> None:
    expected = Hello(
        Role.FRONT, Policy.HOLD, "front", OLDEST_VERSION, NEWEST_VERSION, ALL_CAPABILITIES
    )
    assert session().opening() == expected


def test_it_is_established_by_a_greeting() -> None:
    one = session()
    assert not one.established
    assert one.receive(GREETING, 100.0) == (None, None)
    assert (one.established, one.peer_name) == (True, "back")


def test_a_peer_without_a_name_is_established_too() -> None:
    one = session()
    one.receive(Hello(Role.BACK, Policy.HOLD, ""), 100.0)
    assert one.established


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (Reset(1), "first message was Reset"),
        (Ping(1), "first message was Ping"),
        (Pong(1), "first message was Pong"),
        (Hello(Role.FRONT, Policy.HOLD, "x"), "Both ends are a front end"),
        (
            Hello(Role.BACK, Policy.HOLD, "x", NEWEST_VERSION + 1, NEWEST_VERSION + 2),
            "versions 3 to 4, this one 2 to 2: install the same rig",
        ),
        (
            Hello(Role.BACK, Policy.HOLD, "x", 0, OLDEST_VERSION - 1),
            "versions 0 to 1, this one 2 to 2: install the same rig",
        ),
        (
            Hello(Role.BACK, Policy.NAIVE, "x"),
            "policy is naive, this one's hold: start both with the same --policy",
        ),
        (
            Hello(Role.BACK, 4, "x"),
            "policy has the number 4, which this one does not know: install the same rig",
        ),
        (
            Hello(Role.BACK, 4, "x", NEWEST_VERSION + 1, NEWEST_VERSION + 2),
            "versions 3 to 4, this one 2 to 2: install the same rig",
        ),
        (Refused("Busy."), "closed the link: Busy."),
    ],
)
def test_a_wrong_first_message_ends_the_link(message: Message, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        session().receive(message, 100.0)


@pytest.mark.parametrize(("oldest", "newest"), [(0, NEWEST_VERSION), (OLDEST_VERSION, 0xFFFF)])
def test_versions_that_overlap_ours_are_enough(oldest: int, newest: int) -> None:
    one = session()
    one.receive(Hello(Role.BACK, Policy.HOLD, "back", oldest, newest), 100.0)
    assert one.established


@pytest.mark.parametrize(
    "theirs", [Capability.NONE, Capability.LOCAL_UNLINK, Capability.PORT_RESET, ALL_CAPABILITIES]
)
def test_what_both_ends_can_do_is_what_is_used(theirs: Capability) -> None:
    one = session()
    assert one.capabilities is Capability.NONE
    one.receive(Hello(Role.BACK, Policy.HOLD, "back", capabilities=theirs), 100.0)
    assert one.capabilities == theirs


def test_what_this_end_cannot_do_is_neither_told_nor_used() -> None:
    ours = ALL_CAPABILITIES & ~Capability.IN_ORDER
    one = Session(Role.FRONT, Policy.HOLD, "front", 100.0, capabilities=ours)
    assert one.opening().capabilities == ours
    one.receive(GREETING, 100.0)
    assert one.capabilities == ours


@pytest.mark.parametrize("policy", Policy)
def test_ends_of_the_same_policy_go_on(policy: Policy) -> None:
    one = Session(Role.BACK, policy, "back", 0.0)
    one.receive(Hello(Role.FRONT, policy, "front"), 0.0)
    assert one.peer_name == "front"


def test_a_second_greeting_ends_the_link() -> None:
    with pytest.raises(RemoteProtocolError, match="greeted twice"):
        greeted().receive(GREETING, 100.0)


def test_a_refusal_ends_an_established_link() -> None:
    with pytest.raises(RemoteProtocolError, match="being stopped"):
        greeted().receive(Refused("It is being stopped."), 100.0)


def test_a_ping_is_answered_with_its_token() -> None:
    assert greeted().receive(Ping(9), 100.0) == (Pong(9), None)


def test_a_pong_means_nothing_to_the_layer_above() -> None:
    assert greeted().receive(Pong(9), 100.0) == (None, None)


def test_other_messages_are_for_the_layer_above() -> None:
    assert greeted().receive(Reset(1), 100.0) == (None, Reset(1))


def test_before_its_time_nothing_is_asked() -> None:
    assert greeted().tick(100.0 + HEARTBEAT_S / 2) is None


def test_a_silent_peer_is_asked_with_a_new_token_every_time() -> None:
    one = greeted()
    assert one.tick(100.0 + HEARTBEAT_S) == Ping(1)
    assert one.next_tick == 100.0 + 2 * HEARTBEAT_S
    assert one.tick(100.0 + 2 * HEARTBEAT_S) == Ping(2)


def test_a_peer_that_was_just_heard_is_not_asked() -> None:
    one = greeted()
    one.receive(Reset(1), 100.0 + HEARTBEAT_S / 2)
    assert one.tick(100.0 + HEARTBEAT_S) is None
    assert one.next_tick == 100.0 + 2 * HEARTBEAT_S


@pytest.mark.parametrize("one", [session(), greeted()], ids=["not greeted", "greeted"])
def test_a_peer_that_stays_silent_is_dead(one: Session) -> None:
    assert one.tick(100.0 + DEAD_AFTER_S - 0.1) is not None
    with pytest.raises(RemoteProtocolError, match=r"heard from the other end for 5\.0 s"):
        one.tick(100.0 + DEAD_AFTER_S)


def test_any_message_is_a_sign_of_life() -> None:
    one = greeted()
    one.receive(Pong(1), 104.0)
    assert one.tick(106.0) == Ping(1)


def test_two_sessions_that_only_exchange_heartbeats_live_on() -> None:
    front, back = session(0.0), Session(Role.BACK, Policy.HOLD, "back", 0.0)
    front.receive(back.opening(), 0.0)
    back.receive(front.opening(), 0.0)
    pings = 0
    for now in range(1, 60):
        for asker, asked in ((front, back), (back, front)):
            ping = asker.tick(float(now))
            if ping is not None:
                pings += 1
                answer, _ = asked.receive(ping, float(now))
                assert answer is not None
                asker.receive(answer, float(now))
    assert pings >= 59


def test_a_sign_of_life_that_was_no_message_counts() -> None:
    one = greeted()
    one.heard(104.0)
    assert one.tick(104.5) is None
    assert one.tick(108.5) is not None
    with pytest.raises(RemoteProtocolError, match="Nothing was heard"):
        one.tick(109.0)
