"""Places: taken, kept by a lease, given back, marked as broken."""

from __future__ import annotations

import msgspec
import pytest

from rig.campaign.places import LEASE, LEASE_S, RENEW_S, Held, Places, kept
from rig.errors import MachineError, UserError
from rig.tests.harness.clock import Clock
from rig.tests.harness.fake_desk import FakeDesk, Office


@pytest.fixture
def office() -> Office:
    made = Office()
    made.add("lab1", pool="a")
    made.add("lab2", pool="b")
    return made


def client(office: Office, me: str = "station/me", **tags: str) -> tuple[Places, Clock, list[str]]:
    clock, said = Clock(), list[str]()
    return Places(FakeDesk(office, me), tags, said.append, clock), clock, said


def take(places: Places) -> Held:
    held = places.take(lambda: True, 0.0)
    assert held is not None
    return held


def test_a_place_is_taken_by_its_tags_and_bears_a_lease(office: Office) -> None:
    places, _, _ = client(office, pool="b")
    assert take(places).name == "lab2"
    assert office.places["lab2"].holder == "station/me"
    assert office.places["lab2"].tags[LEASE]


def test_a_place_that_is_given_back_is_free_for_whoever_waits(office: Office) -> None:
    places, _, _ = client(office, pool="a")
    places.release(take(places))
    assert office.places["lab1"] == msgspec.structs.replace(
        office.places["lab1"], holder="", reservation="", tags={"rig": "lab", "pool": "a"}
    )
    assert not office.queue


def test_giving_back_twice_takes_nothing_from_the_next(office: Office) -> None:
    places, _, _ = client(office, pool="a")
    held = take(places)
    places.release(held)
    others, _, _ = client(office, pool="a")  # the same user, another campaign
    take(others)
    places.release(held)
    assert office.places["lab1"].holder == "station/me"


def test_no_two_clients_have_one_place(office: Office) -> None:
    first, _, _ = client(office, "one/me", pool="a")
    second, _, _ = client(office, "two/me", pool="a")
    take(first)
    with pytest.raises(MachineError, match="No place was free in time: lab1 is one/me's"):
        second.take(lambda: True, 0.0)
    assert len(office.queue) == 1


def test_who_no_longer_wants_a_place_leaves_the_queue(office: Office) -> None:
    first, _, _ = client(office, pool="a")
    take(first)
    answers = iter([True, True, False, False])
    assert first.take(lambda: next(answers), 100.0) is None
    assert len(office.queue) == 1


def test_tags_that_no_place_has_are_told_with_those_that_there_are(office: Office) -> None:
    places, _, _ = client(office, pool="c")
    with pytest.raises(UserError, match=r"tags pool=c rig=lab. There are: lab1 \(pool=a, rig=lab"):
        places.check()


def test_a_broken_place_is_nobodys_until_it_is_mended(office: Office) -> None:
    places, _, said = client(office, pool="a")
    held = take(places)
    places.mark_broken("lab1", "Machine 'back': reached: no.")
    places.release(held)
    assert places.take(lambda: True, 0.0) is None
    assert office.places["lab1"].tags["rig"] == "broken"
    assert office.places["lab1"].comment == "broken, says station/me: Machine 'back': reached: no."
    assert said == ["Place 'lab1' is broken: Machine 'back': reached: no."]


def test_the_comment_that_was_there_is_kept_once(office: Office) -> None:
    office.change("lab1", comment="third shelf")
    places, _, _ = client(office)
    places.mark_broken("lab1", "It is.")
    places.mark_broken("lab1", "Still.")
    assert office.places["lab1"].comment == "broken, says station/me: Still."
    places.mark_broken("lab2", "Too.")
    office.change("lab1", comment="third shelf")
    places.mark_broken("lab1", "It is.")
    assert office.places["lab1"].comment.endswith("It is. (Before: third shelf)")


def test_a_place_without_an_exporter_is_broken_and_not_taken(office: Office) -> None:
    office.gaps["lab1"] = "lab1/back/*"
    places, _, said = client(office, pool="a")
    assert places.take(lambda: True, 0.0) is None
    assert "no exporter has what it consists of: lab1/back/*" in said[0]
    assert not office.queue


def test_an_exporter_that_dies_is_a_fault_of_what_is_held(office: Office) -> None:
    places, _, _ = client(office, pool="a")
    held = take(places)
    places.look()
    assert held.is_ours
    office.change("lab1", lost="pi3")
    places.look()
    assert held.fault == "Its exporter 'pi3' is gone."
    assert held.is_ours


def test_a_place_that_was_kicked_is_not_given_back(office: Office) -> None:
    places, _, _ = client(office, "one/me", pool="a")
    held = take(places)
    office.change("lab1", holder="two/you")
    places.look()
    assert "now it is two/you's" in held.fault
    places.release(held)
    assert office.places["lab1"].holder == "two/you"


def test_a_lease_that_is_renewed_is_respected(office: Office) -> None:
    holder, clock_of_holder, _ = client(office, "one/me", pool="a")
    take(holder)
    watcher, clock, _ = client(office, "two/me")
    for _ in range(20):
        clock.now_s += RENEW_S
        clock_of_holder.now_s += RENEW_S
        holder.look()
        watcher.look()
    assert office.places["lab1"].holder == "one/me"


def test_a_dead_holders_place_is_freed_after_its_lease(office: Office) -> None:
    holder, _, _ = client(office, "one/me", pool="a")
    take(holder)
    watcher, clock, said = client(office, "two/me", pool="a")
    clock.now_s = 1000.0  # whatever time it is elsewhere
    watcher.look()
    clock.now_s += LEASE_S - 1
    watcher.look()
    assert office.places["lab1"].holder == "one/me"
    clock.now_s += 1
    watcher.look()
    assert said == ["Place 'lab1' was taken from one/me, which has not been heard of for 60 s."]
    assert take(watcher).name == "lab1"


def test_a_place_that_somebody_uses_by_hand_is_never_freed(office: Office) -> None:
    office.change("lab1", holder="desk/alice")
    watcher, clock, _ = client(office, "two/me")
    for _ in range(10):
        clock.now_s += LEASE_S
        watcher.look()
    assert office.places["lab1"].holder == "desk/alice"


def test_everything_is_given_back_at_any_end(office: Office) -> None:
    def interrupted() -> None:
        with kept(FakeDesk(office), {}, print) as places:
            take(places)
            take(places)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {place.holder for place in office.places.values()} == {""}


def test_a_coordinator_that_goes_is_no_error_of_giving_back(office: Office) -> None:
    with kept(FakeDesk(office), {}, print) as places:
        held = take(places)
        office.is_gone = True
        places.release(held)
    assert not held.is_ours
