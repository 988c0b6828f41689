"""The relay's core: octets and times in, actions out."""

from __future__ import annotations

import struct
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.faults.reader import parse_plan
from rig.faults.release import ReleasedBy
from rig.faults.rules.link import LONGEST_HOLD_S, LinkEnd, LinkFault
from rig.faults.triggers import Injector
from rig.link.actions import Close, Dial, Send
from rig.link.intake import OVERTAKEN_DEADLINE_S
from rig.link.relay import Relay

FRONT, BACK = LinkEnd.FRONT, LinkEnd.BACK


def frame(body: bytes) -> bytes:
    return struct.pack(">II", len(body), 0) + body


A, B, C = frame(b"a" * 12), frame(b"bb"), frame(b"")


class World:
    """A relay with two ends and a clock."""

    def __init__(self, *rules: str, seed: int = 0) -> None:
        text = "".join(
            f'[[fault]]\nname = "{i}"\nlayer = "link"\n{r}\n' for i, r in enumerate(rules)
        )
        plan = parse_plan(f'name = "x"\nseed = {seed}\n{text}', "x.toml")
        self.now_s = 100.0
        self.injector = Injector(plan, LinkFault, lambda: self.now_s)
        self.relay = Relay(self.injector)
        self.got: dict[tuple[int, LinkEnd], bytes] = defaultdict(bytes)
        self.closed: list[tuple[int, LinkEnd, bool]] = []
        self.dialled: list[int] = []
        self.answers = True

    def call(self) -> int:
        number = self.relay.opened(self.now_s)
        self.act()
        return number

    def say(self, end: LinkEnd, octets: bytes, number: int = 1) -> None:
        while octets:
            space = self.relay.space(number, end)
            count = min(len(space), len(octets))
            space[:count] = octets[:count]
            self.relay.received(number, end, count, self.now_s)
            octets = octets[count:]
        self.act()

    def end(self, end: LinkEnd, number: int = 1, *, reset: bool = False) -> None:
        self.relay.ended(number, end, self.now_s, reset=reset)
        self.act()

    def phase(self, name: str | None) -> None:
        self.injector.set_phase(name)
        self.relay.tick(self.now_s)
        self.act()

    def act(self) -> None:
        while self.relay.actions:
            actions = self.relay.actions[:]
            self.relay.actions.clear()
            for action in actions:
                match action:
                    case Dial(circuit=number):
                        self.dialled.append(number)
                        if self.answers:
                            self.relay.reached(number, self.now_s)
                    case Send():
                        self.got[action.circuit, action.end] += bytes(action.data)
                    case Close():
                        self.closed.append((action.circuit, action.end, action.reset))

    def wait(self, seconds: float) -> None:
        """Let time pass, moment by moment, as a timer would."""
        until_s = self.now_s + seconds
        for _ in range(10_000):
            next_s = self.relay.next_s()
            if next_s is None or next_s > until_s:
                break
            self.now_s = max(self.now_s, next_s)
            self.relay.tick(self.now_s)
            self.act()
        else:
            raise AssertionError("a timer never rests")
        self.now_s = until_s
        self.relay.tick(self.now_s)
        self.act()

    def at_back(self, number: int = 1) -> bytes:
        return self.got[number, BACK]

    def at_front(self, number: int = 1) -> bytes:
        return self.got[number, FRONT]


def joined(*rules: str, seed: int = 0) -> World:
    world = World(*rules, seed=seed)
    world.call()
    return world


# Without faults.


@given(
    st.lists(st.tuples(st.sampled_from(LinkEnd), st.binary(min_size=1, max_size=40)), max_size=20)
)
def test_without_a_rule_every_octet_arrives_in_order(said: list[tuple[LinkEnd, bytes]]) -> None:
    world = joined()
    for end, octets in said:
        world.say(end, octets)
    world.end(FRONT)
    world.end(BACK)

    assert world.at_back() == b"".join(o for e, o in said if e is FRONT)
    assert bytes(world.at_front()) in b"".join(o for e, o in said if e is BACK)
    assert world.relay.circuits == []


def test_an_end_that_closes_is_closed_to_the_other_behind_its_last_octets() -> None:
    world = joined()
    world.say(BACK, A + B[:3])
    world.end(BACK)

    assert world.at_front() == A + B[:3]
    assert world.closed == [(1, BACK, False), (1, FRONT, False)]


def test_a_reset_is_passed_on_as_a_reset() -> None:
    world = joined()
    world.end(FRONT, reset=True)
    assert (1, BACK, True) in world.closed


def test_a_back_end_that_does_not_answer_is_a_reset_to_the_front_end() -> None:
    world = World()
    world.answers = False
    world.call()
    world.say(FRONT, A)
    world.end(BACK, reset=True)

    assert (1, FRONT, True) in world.closed
    assert world.relay.circuits == []


def test_what_is_said_before_the_back_end_answers_waits_for_it() -> None:
    world = World()
    world.answers = False
    world.call()
    world.say(FRONT, A)
    assert world.at_back() == b""
    assert world.relay.backlog_bytes(1, FRONT) == len(A)
    world.relay.reached(1, world.now_s)
    world.act()
    assert world.at_back() == A
    assert world.relay.backlog_bytes(1, FRONT) == 0


def test_a_front_end_that_gives_up_ends_the_call_that_is_under_way() -> None:
    world = World()
    world.answers = False
    world.call()
    world.end(FRONT)
    world.relay.reached(1, world.now_s)
    world.act()
    assert (1, BACK, False) in world.closed


# Slowness.


def test_a_delayed_piece_is_late_and_those_behind_it_wait() -> None:
    world = joined('effect = "delay"\ndelay_ms = 200\nway = "to-back"\nnth = 2')
    world.say(FRONT, A + B + C)
    world.say(BACK, A)
    assert (world.at_back(), world.at_front()) == (A, A)
    world.wait(0.19)
    assert world.at_back() == A
    world.wait(0.02)
    assert world.at_back() == A + B + C


def test_a_delay_with_a_time_is_of_all_pieces_meanwhile() -> None:
    world = joined('effect = "delay"\ndelay_ms = 100\nfor_s = 1\nnth = 1')
    world.say(FRONT, A)
    world.say(BACK, B)
    assert (world.at_back(), world.at_front()) == (b"", b"")
    world.wait(0.1)
    assert (world.at_back(), world.at_front()) == (A, B)
    world.wait(1.0)
    world.say(FRONT, C)
    assert world.at_back() == A + C


def test_a_delay_by_the_clock_begins_with_its_phase() -> None:
    world = joined('effect = "delay"\ndelay_ms = 100\nphase = "write"\nat_s = 2')
    world.phase("write")
    world.wait(1.9)
    world.say(FRONT, A)
    assert world.at_back() == A
    world.wait(0.2)
    world.say(FRONT, B)
    assert world.at_back() == A
    world.wait(0.1)
    assert world.at_back() == A + B


@given(st.integers(0, 2**32), st.lists(st.sampled_from([A, B, C]), min_size=1, max_size=8))
def test_jitter_delays_each_by_chance_keeps_their_order_and_repeats_with_its_seed(
    seed: int, said: list[bytes]
) -> None:
    def times() -> list[float]:
        world = joined('effect = "jitter"\ndelay_ms = 100\nfor_s = 60\nnth = 1', seed=seed)
        for piece in said:
            world.say(FRONT, piece)
        moments, arrived = [], b""
        while (next_s := world.relay.next_s()) is not None and world.at_back() != b"".join(said):
            world.wait(next_s - world.now_s)
            if world.at_back() != arrived:
                arrived = world.at_back()
                moments.append(round(world.now_s - 100, 6))
        assert arrived == b"".join(said)
        return moments

    moments = times()
    assert moments == times()
    assert all(moment <= 0.1 for moment in moments)


def test_a_bandwidth_passes_so_many_octets_a_second() -> None:
    world = joined('effect = "bandwidth"\nbytes_per_s = 100\nnth = 1')
    world.say(FRONT, A + A)  # 20 octets each
    world.wait(0.19)
    assert world.at_back() == b""
    world.wait(0.02)
    assert world.at_back() == A
    world.wait(0.2)
    assert world.at_back() == A + A
    world.wait(10)
    world.say(FRONT, A)
    assert world.at_back() == A + A


# What stands still.


def test_a_stall_holds_what_is_behind_its_octet_and_loses_nothing() -> None:
    world = joined('effect = "stall"\nfor_s = 3\nway = "to-back"\nat_bytes = 5\nnth = 2')
    world.say(FRONT, A + B + C)
    world.say(BACK, B)
    assert world.at_back() == A + B[:5]
    assert world.at_front() == B
    assert world.relay.standing == ["0"]
    world.wait(3)
    assert world.at_back() == A + B + C
    (released,) = world.relay.released
    assert (released.rule, released.waited_s, released.by) == ("0", 3.0, ReleasedBy.DEADLINE)


def test_a_close_waits_behind_a_stall_too() -> None:
    world = joined('effect = "stall"\nfor_s = 3\nnth = 1')
    world.say(FRONT, A)
    world.end(FRONT)
    assert (1, BACK, False) not in world.closed
    world.wait(3)
    assert world.at_back() == A
    assert (1, BACK, False) in world.closed


def test_a_partition_passes_nothing_tells_nobody_and_lets_nobody_call() -> None:
    world = joined('effect = "partition"\nfor_s = 10\nnth = 1')
    world.say(FRONT, A)
    world.say(BACK, B)
    world.end(FRONT)
    second = world.call()
    world.say(FRONT, C, second)

    assert (world.at_back(), world.at_front()) == (b"", b"")
    assert world.closed == [(1, FRONT, False)]
    assert world.dialled == [1]
    world.wait(10)
    assert world.dialled == [1, second]
    assert world.at_back(1) == A
    assert (1, BACK, False) in world.closed
    assert world.at_back(second) == C


def test_who_gives_up_during_a_partition_never_calls() -> None:
    world = World('effect = "partition"\nfor_s = 10\nat_s = 0')
    world.phase("write")
    number = world.call()
    world.end(FRONT, number)
    world.wait(10)
    assert world.dialled == []
    assert world.relay.circuits == []


def test_a_partition_without_an_end_is_ended_at_the_deadline_and_told() -> None:
    world = joined('effect = "partition"\nnth = 1')
    world.say(FRONT, A)
    world.wait(LONGEST_HOLD_S)
    assert world.at_back() == A
    assert [r.by for r in world.relay.released] == [ReleasedBy.DEADLINE]


def test_a_command_ends_all_that_stands_still() -> None:
    world = joined(
        'effect = "stall"\nfor_s = 99\nway = "to-back"\nnth = 1',
        'effect = "stall"\nfor_s = 99\nway = "to-front"\nnth = 1',
    )
    world.say(FRONT, A)
    world.say(BACK, B)
    assert world.relay.release(world.now_s) == 2
    world.act()
    assert (world.at_back(), world.at_front()) == (A, B)
    assert {r.by for r in world.relay.released} == {ReleasedBy.COMMAND}


def test_a_command_ends_what_is_slow_and_so_does_its_deadline() -> None:
    world = joined(
        'effect = "delay"\ndelay_ms = 100\nat_s = 0',
        'effect = "bandwidth"\nbytes_per_s = 10\nat_s = 0\nfor_s = 1',
    )
    world.phase("write")
    assert world.relay.standing == ["0", "1"]
    world.wait(1)
    assert [(r.rule, r.by) for r in world.relay.released] == [("1", ReleasedBy.DEADLINE)]
    assert world.relay.release(world.now_s) == 1
    world.say(FRONT, A)
    assert world.at_back() == A
    assert [r.rule for r in world.relay.released] == ["1", "0"]


# What breaks.


@given(st.integers(0, 200), st.integers(1, 30))
def test_a_cut_lets_exactly_so_many_octets_through(offset: int, step: int) -> None:
    world = joined(f'effect = "cut"\nway = "to-back"\noffset = {offset}\nnth = 1')
    said = (A + B + C) * 5
    for at in range(0, len(said), step):
        if 1 in world.relay.circuits:
            world.say(FRONT, said[at : at + step])

    if offset < len(said):
        assert world.at_back() == said[:offset]
        assert sorted(world.closed) == [(1, BACK, False), (1, FRONT, False)]
    else:
        assert world.at_back() == said
        assert world.closed == []


def test_a_cut_may_be_a_reset_and_the_next_call_is_answered() -> None:
    world = joined('effect = "cut"\nreset = true\nnth = 1')
    world.say(BACK, A)
    assert {reset for _, _, reset in world.closed} == {True}
    second = world.call()
    world.say(BACK, B, second)
    assert world.at_front(second) == B


def test_a_cut_by_the_clock_hits_every_connection() -> None:
    world = joined('effect = "cut"\nat_s = 1')
    world.phase("write")
    world.call()
    world.wait(1)
    assert world.relay.circuits == []
    assert {number for number, _, _ in world.closed} == {1, 2}


@pytest.mark.parametrize(("end", "left"), [(FRONT, BACK), (BACK, FRONT)])
def test_half_open_closes_one_end_and_leaves_the_other_in_the_dark(
    end: LinkEnd, left: LinkEnd
) -> None:
    world = joined(f'effect = "half-open"\nend = "{end}"\nfor_s = 20\nat_bytes = 4\nnth = 1')
    world.say(end, A)
    assert world.got[1, left] == A[:4]
    assert world.closed == [(1, end, False)]
    world.say(left, B)
    assert world.got[1, end] == b""
    world.wait(20)
    assert world.closed == [(1, end, False), (1, left, False)]
    assert world.relay.released[0].by is ReleasedBy.DEADLINE


def test_half_open_is_over_when_the_end_that_was_left_gives_up() -> None:
    world = joined('effect = "half-open"\nend = "front"\nnth = 1')
    world.say(FRONT, A)
    world.end(BACK)
    assert world.relay.circuits == []
    assert world.relay.released[0].by is ReleasedBy.END
    assert world.relay.next_s() is None


def test_half_open_leaves_other_connections_alone() -> None:
    world = joined('effect = "half-open"\nend = "front"\nnth = 1')
    world.say(FRONT, A)
    second = world.call()
    world.say(FRONT, B, second)
    assert world.at_back(second) == B


# What only proves that it is noticed.


def test_a_duplicated_piece_arrives_twice_in_a_row() -> None:
    world = joined('effect = "duplicate"\nway = "to-front"\nnth = 2')
    world.say(BACK, A + B + C)
    assert world.at_front() == A + B + B + C


def test_a_reordered_piece_arrives_behind_the_next_of_its_way() -> None:
    world = joined('effect = "reorder"\nway = "to-back"\nnth = 1')
    world.say(FRONT, A)
    world.say(BACK, C)
    assert world.at_back() == b""
    world.say(FRONT, B + C)
    assert world.at_back() == B + A + C
    assert world.relay.released == []


def test_a_piece_that_nothing_overtakes_goes_on_at_the_deadline() -> None:
    world = joined('effect = "reorder"\nway = "to-back"\nnth = 1')
    world.say(FRONT, A)
    world.wait(OVERTAKEN_DEADLINE_S)
    assert world.at_back() == A
    assert world.relay.released[0].by is ReleasedBy.DEADLINE


def test_a_piece_that_nothing_overtakes_goes_before_its_senders_end() -> None:
    world = joined('effect = "reorder"\nway = "to-back"\nnth = 1')
    world.say(FRONT, A)
    world.end(FRONT)
    assert world.at_back() == A
    assert world.relay.circuits == []


@pytest.mark.parametrize(
    "behind",
    [
        'effect = "stall"\nfor_s = 1',
        'effect = "stall"\nfor_s = 1\nat_bytes = 3',
        'effect = "partition"\nfor_s = 1\nat_bytes = 3',
        'effect = "duplicate"',
    ],
)
def test_a_piece_that_was_overtaken_is_neither_lost_nor_put_into_the_one_that_did(
    behind: str,
) -> None:
    world = joined('effect = "reorder"\nway = "to-back"\nnth = 1', f"{behind}\nnth = 1")
    world.say(FRONT, A)
    world.say(FRONT, B)
    world.wait(2)
    doubled = B if "duplicate" in behind else b""
    assert world.at_back() == B + doubled + A


def test_a_command_ends_the_wait_of_a_piece_that_nothing_has_overtaken() -> None:
    world = joined('effect = "reorder"\nway = "to-back"\nnth = 1')
    world.say(FRONT, A)
    assert world.relay.standing == ["0"]
    assert world.relay.release(world.now_s) == 1
    world.act()
    assert world.at_back() == A
    assert [r.by for r in world.relay.released] == [ReleasedBy.COMMAND]


def test_what_lasts_on_a_connection_that_is_cut_is_over_and_told() -> None:
    world = joined(
        'effect = "reorder"\nway = "to-front"\nnth = 1',
        'effect = "half-open"\nend = "front"\nat_s = 1\nfor_s = 60',
        'effect = "cut"\nat_s = 2',
    )
    world.phase("write")
    world.say(BACK, A)
    world.wait(3)
    told = [(one.rule, one.waited_s, one.by) for one in world.relay.released]
    assert told == [("0", 1.0, ReleasedBy.END), ("1", 1.0, ReleasedBy.END)]
    assert world.relay.standing == []


# Whatever the plan.

EFFECTS = st.sampled_from(
    [
        'effect = "delay"\ndelay_ms = 300',
        'effect = "jitter"\ndelay_ms = 300\nfor_s = 1',
        'effect = "bandwidth"\nbytes_per_s = 50\nfor_s = 1',
        'effect = "stall"\nfor_s = 2\nat_bytes = 3',
        'effect = "cut"\nat_bytes = 3',
        'effect = "half-open"\nend = "front"\nfor_s = 2',
        'effect = "half-open"\nend = "back"\nfor_s = 2',
        'effect = "partition"\nfor_s = 2',
        'effect = "reorder"',
        'effect = "duplicate"',
    ]
)
LOSSLESS = st.sampled_from(
    [
        'effect = "delay"\ndelay_ms = 300',
        'effect = "delay"\ndelay_ms = 300\nfor_s = 1',
        'effect = "jitter"\ndelay_ms = 300\nfor_s = 1',
        'effect = "bandwidth"\nbytes_per_s = 50\nfor_s = 1',
        'effect = "stall"\nfor_s = 2',
        'effect = "stall"\nfor_s = 2\nat_bytes = 3',
        'effect = "stall"\nfor_s = 2\nway = "to-front"\nat_bytes = 100',
        'effect = "partition"\nfor_s = 2\nat_bytes = 5',
        'effect = "reorder"',
        'effect = "reorder"\nway = "to-front"\nevery = 2\ntimes = 3',
        'effect = "duplicate"',
    ]
)


def framed(number: int) -> bytes:
    """A frame that can be told from all others."""
    return frame(struct.pack(">I", number) * (1 + number % 4))


def frames_of(octets: bytes) -> list[int]:
    """The numbers of frames, in the order in which they came; none may be torn."""
    found = []
    while octets:
        (length,) = struct.unpack_from(">I", octets)
        body, octets = octets[8 : 8 + length], octets[8 + length :]
        (number,) = struct.unpack_from(">I", body)
        assert body == struct.pack(">I", number) * (1 + number % 4)
        found.append(number)
    return found


@pytest.mark.parametrize("first", [(), (('effect = "reorder"', 1),)])
@given(
    st.lists(st.tuples(LOSSLESS, st.integers(1, 4)), max_size=5),
    st.lists(
        st.tuples(st.sampled_from([FRONT, BACK, None]), st.integers(1, 40)), min_size=6, max_size=25
    ),
    st.booleans(),
)
def test_nothing_but_a_cut_loses_an_octet_and_nothing_tears_a_piece(
    first: tuple[tuple[str, int], ...],
    rules: list[tuple[str, int]],
    said: list[tuple[LinkEnd | None, int]],
    ends: bool,
) -> None:
    rules = [*first, *rules]
    world = joined(*(r if "every" in r else f"{r}\nnth = {nth}" for r, nth in rules))
    sent: dict[LinkEnd, list[int]] = {FRONT: [], BACK: []}
    for number, (end, amount) in enumerate(said):
        if end is None:
            world.wait(amount / 20)
            continue
        octets = framed(number)
        world.say(end, octets[:amount])  # in two parts, or in one
        world.say(end, octets[amount:])
        sent[end].append(number)
    if ends:
        world.end(FRONT)
    world.wait(60)
    fired = world.injector.fired
    doubled = sum(fired[str(i)] for i, (r, _) in enumerate(rules) if "duplicate" in r)
    swaps = any("reorder" in r for r, _ in rules)
    surplus = 0
    for end, got in ((FRONT, world.at_back()), (BACK, world.at_front())):
        if end is BACK and ends:
            continue  # it may have been closed before the last had come
        found = frames_of(got)
        assert sorted(set(found)) == sorted(sent[end])
        surplus += len(found) - len(sent[end])
        if not swaps:
            assert sorted(found) == found
    assert surplus <= doubled if ends else surplus == doubled


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["front", "back", "call", "end-front", "end-back", "wait", "release"]),
        st.integers(0, 2),
    ),
    max_size=30,
)


@given(st.lists(st.tuples(EFFECTS, st.integers(1, 6)), max_size=4), STEPS)
def test_whatever_happens_all_is_over_in_the_end(
    rules: list[tuple[str, int]], steps: list[tuple[str, int]]
) -> None:
    world = joined(*(f"{effect}\nnth = {nth}" for effect, nth in rules))
    gone: set[tuple[int, LinkEnd]] = set()
    for what, which in steps:
        number = which + 1
        gone |= {(n, e) for n, e, _ in world.closed}
        there = number in world.relay.circuits
        match what:
            case "front" | "back" if there and (number, LinkEnd(what)) not in gone:
                if what == "front" or number in world.dialled:
                    world.say(LinkEnd(what), A, number)
            case "call":
                world.call()
            case "end-front" | "end-back" if there:
                end = LinkEnd(what.removeprefix("end-"))
                if (number, end) not in gone and (end is FRONT or number in world.dialled):
                    world.end(end, number)
            case "wait":
                world.wait(which)
            case "release":
                world.relay.release(world.now_s)
                world.act()
    world.wait(60)
    assert world.relay.standing == []
    assert world.relay.next_s() is None
    for number in world.relay.circuits:
        assert world.relay.backlog_bytes(number, FRONT) == 0
        assert world.relay.backlog_bytes(number, BACK) == 0
    # No end is closed twice.
    pairs = [(n, e) for n, e, _ in world.closed]
    assert len(pairs) == len(set(pairs))
