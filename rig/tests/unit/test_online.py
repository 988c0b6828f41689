"""The monitors on line: whatever pieces the logs come in, the same is seen as in whole ones."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError, UserError
from rig.integrity.monitors.breach import Breach, Rule
from rig.integrity.monitors.merge import merged
from rig.integrity.monitors.online import OnLine
from rig.integrity.monitors.run import watch
from rig.tests.unit.test_monitors import back, crossing, front
from rig.usb.urblog import HEADER, RECORD_BYTES, Kind, Place, UrbEvent

FRONT, BACK = "front.bin", "back.bin"
NAMES = {Place.FRONT: FRONT, Place.BACK: BACK}

KINDS = st.sampled_from(Kind)
EVENTS = st.builds(
    UrbEvent,
    KINDS,
    st.sampled_from(Place),
    st.sampled_from([1, 1 << 16 | 1]),
    urb=st.integers(1, 4),
    endpoint=st.sampled_from([0, 0x81, 0x02]),
    status=st.sampled_from([0, -71, -104]),
    length_bytes=st.sampled_from([0, 512, 1024]),
    epoch=st.integers(0, 2),
    digest=st.integers(0, 1),
    t_ns=st.integers(0, 1 << 62),
)


def octets(events: list[UrbEvent]) -> bytes:
    return HEADER + b"".join(event.pack() for event in events)


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut it anywhere."""
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(8)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def numbered(count: int, **fields: int) -> list[UrbEvent]:
    """So many URBs, one behind the other, on both ends."""
    return [
        msgspec.structs.replace(event, urb=urb)
        for urb in range(1, count + 1)
        for event in crossing(**fields)
    ]


def feed(on_line: OnLine, logs: dict[str, list[bytes]], chance: random.Random) -> list[Breach]:
    """Feed what there is of each log, in any order of the two."""
    found: list[Breach] = []
    while any(logs.values()):
        name = chance.choice([name for name, rest in logs.items() if rest])
        found += on_line.feed(logs[name].pop(0), name)
    return found


def both(events: list[UrbEvent]) -> dict[Place, list[UrbEvent]]:
    return {place: [e for e in events if e.place is place] for place in Place}


def check_same(events: list[UrbEvent], seed: int, *, holds: bool = True) -> None:
    chance = random.Random(seed)
    ends = both(events)
    stream = merged(ends[Place.FRONT], ends[Place.BACK])
    whole = watch(stream, holds=holds, calm=False)
    on_line = OnLine(holds=holds)
    logs = {NAMES[place]: pieces(octets(log), chance) for place, log in ends.items()}
    found = feed(on_line, logs, chance) + on_line.finish()
    assert on_line.breaches == whole
    assert sorted(found, key=str) == sorted(whole, key=str)
    told = {(e.device, e.urb) for e in stream if e.kind is Kind.SUBMIT}
    assert (on_line.counts.urbs, on_line.counts.breaches) == (len(told), len(whole))
    assert on_line.counts.waiting == 0


@given(st.lists(EVENTS, max_size=60), st.integers(0, 2**32), st.booleans())
def test_any_logs_are_judged_as_their_whole_files(
    events: list[UrbEvent], seed: int, holds: bool
) -> None:
    check_same(events, seed, holds=holds)


@given(st.lists(st.integers(0, 47), max_size=6), st.integers(0, 2**32))
def test_good_traffic_with_some_records_missing_is_judged_as_its_whole_files(
    missing: list[int], seed: int
) -> None:
    events = [e for at, e in enumerate(numbered(6)) if at not in missing]
    check_same(events, seed)


@given(st.integers(0, 2**32))
def test_beginnings_of_the_logs_of_a_good_run_break_no_rule(seed: int) -> None:
    chance = random.Random(seed)
    on_line = OnLine()
    for place, log in both(numbered(6)).items():
        whole = octets(log)
        assert not on_line.feed(whole[: chance.randrange(len(whole) + 1)], NAMES[place])
    assert on_line.breaches == []


def test_a_broken_rule_is_told_with_the_piece_that_shows_it() -> None:
    on_line = OnLine()
    ends = both(numbered(2, arrived=6))
    assert on_line.feed(octets(ends[Place.FRONT]), FRONT) == []
    started = [e.kind for e in ends[Place.BACK]].index(Kind.START)
    before = octets(ends[Place.BACK][:started])
    assert on_line.feed(before, BACK) == []
    (breach,) = on_line.feed(ends[Place.BACK][started].pack(), BACK)
    assert (breach.rule, breach.urb, breach.end) == (Rule.ENDS_AGREE, 1, "back")


def test_the_back_end_waits_for_what_the_front_end_has_not_told_yet() -> None:
    on_line = OnLine()
    ends = both(numbered(1))
    on_line.feed(octets(ends[Place.BACK]), BACK)
    assert on_line.counts.urbs == 0
    assert on_line.counts.waiting == len(ends[Place.BACK])
    on_line.feed(octets(ends[Place.FRONT]), FRONT)
    assert on_line.counts.urbs == 1


def test_how_much_of_each_log_was_taken_is_counted() -> None:
    on_line = OnLine()
    on_line.feed(octets([front(Kind.UP)])[:-1], FRONT)
    assert on_line.counts.front_bytes == 0  # of no end yet: no record is whole
    on_line.feed(b"\0", FRONT)
    on_line.feed(HEADER + bytes(3), "other")
    assert on_line.counts.front_bytes == on_line.taken_bytes(FRONT) == len(HEADER) + RECORD_BYTES
    assert on_line.taken_bytes("other") == len(HEADER) + 3
    assert on_line.taken_bytes("none") == 0


def test_a_log_that_begins_anew_ends_the_judging_and_what_was_seen_stands() -> None:
    on_line = OnLine()
    lone = back(Kind.GIVEBACK, 9)
    on_line.feed(octets([back(Kind.UP), lone])[:-20], BACK)
    on_line.feed(octets([front(Kind.UP), front(Kind.GIVEBACK, 7)]), FRONT)
    assert on_line.feed(octets([lone, lone]), BACK) == []
    assert on_line.cut
    assert on_line.finish() == []
    assert on_line.breaches == []


def test_two_logs_of_one_end_are_refused() -> None:
    on_line = OnLine()
    on_line.feed(octets([front(Kind.UP)]), FRONT)
    with pytest.raises(UserError, match=r"other\.bin is a second log of the same end"):
        on_line.feed(octets([front(Kind.UP)]), "other.bin")


@pytest.mark.parametrize("rubbish", [b"x", HEADER[:-1] + b"\x02", HEADER + bytes(RECORD_BYTES)])
def test_what_is_no_log_is_refused(rubbish: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        OnLine().feed(rubbish, FRONT)


# The last URBs.


def test_the_last_urbs_are_told_with_what_both_ends_know() -> None:
    on_line = OnLine()
    for place, log in both(numbered(3)).items():
        on_line.feed(octets(log), NAMES[place])
    assert [urb.urb for urb in on_line.last(2)] == [2, 3]
    assert on_line.last(0) == ()
    (last,) = on_line.last(1)
    assert last.status == 0
    assert last.moved_bytes == last.length_bytes


def test_an_urb_under_way_has_no_status_and_its_command_is_named() -> None:
    on_line = OnLine()
    sent = back(Kind.SUBMIT, 5, length_bytes=31, opcode=0x2A, lba=77, t_ns=9)
    on_line.feed(octets([sent, back(Kind.UNLINK, 5)]), BACK)
    (urb,) = on_line.last(9)
    assert (urb.status, urb.opcode, urb.lba, urb.back_ns, urb.unlinked) == (None, 0x2A, 77, 9, True)


def test_what_the_client_was_given_stands() -> None:
    on_line = OnLine()
    on_line.feed(
        octets([front(Kind.SUBMIT, 5), front(Kind.GIVEBACK, 5, status=-104, t_ns=2)]), FRONT
    )
    on_line.feed(octets([back(Kind.SUBMIT, 5), back(Kind.END, 5, status=0, t_ns=3)]), BACK)
    (urb,) = on_line.last(1)
    assert (urb.status, urb.back_ended_ns) == (-104, 3)


def test_no_more_urbs_are_kept_than_asked_for() -> None:
    on_line = OnLine(kept=3)
    on_line.feed(octets([back(Kind.SUBMIT, urb) for urb in range(1, 9)]), BACK)
    assert [urb.urb for urb in on_line.last(99)] == [6, 7, 8]
