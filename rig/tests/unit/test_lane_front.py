"""The front end's lane against the same daemon without it: the same octets, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    Capability,
    Complete,
    Message,
    Refused,
)
from rig.tests.harness.frames import octets_of
from rig.tests.harness.lane_front import DEVICE, IN, INTERRUPT, OUT, World, annoy, answers, compare
from rig.usb.usbip import HEADER_BYTES, CommandCode


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., World]]:
    made = []

    def one(**kwargs: object) -> World:
        made.append(World(monkeypatch, tmp_path / "locks", **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for world in made:
        world.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make(use_lane=True)


# What the lane forwards by itself, and what it leaves.


def test_an_urb_that_succeeds_never_reaches_python(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = world.service._ports[0]._core
    seen: list[object] = []
    monkeypatch.setattr(core, "submit", lambda *arguments: seen.append(arguments))
    monkeypatch.setattr(core, "receive", seen.append)
    number = world.submit(IN, 4)
    world.settle()
    world.end(world.running[0], 0, 1.0)
    world.hear_all()
    assert answers(world.answered, {number}) == [(CommandCode.RET_SUBMIT, number)]
    assert seen == []
    assert world.forwarded == 1


def test_a_frame_of_which_half_came_before_the_lane_ended_is_whole(world: World) -> None:
    """More than a receive buffer of it: what a lane leaves is put there in one go."""
    world.submit(IN, 3 << 20)
    world.settle()
    world.piece = 100_000
    urb = world.running[0]
    world.end(urb, 0, 1.0)
    world.hear_all()
    assert world.answered[HEADER_BYTES:] == Random(urb.urb_id).randbytes(3 << 20)


def test_last_words_that_the_lane_has_read_are_heard_though_the_link_is_closed(
    world: World,
) -> None:
    world.back.send(octets_of([Refused("enough")]))
    world.back.close()
    world.reactor.until(lambda: bool(world.line.lost_for))
    assert world.line.lost_for == ["The other end closed the link: enough"]


# Whatever the back end says that is no success is Python's to judge.

BAD = {
    "another device": Complete(9, 2, 0, 0),
    "an URB that is not open": Complete(DEVICE, 999, 0, 0),
    "more than the buffer": Complete(DEVICE, 2, 0, 5, data=b"12345"),
    "a status that is positive": "00000011 0a 000001 00000002 00000001 00000000 00000000 00",
    "less data than moved": "00000012 0a 000001 00000002 00000000 00000002 00000000 00 41",
    "no whole COMPLETE": "00000010 0a 000001 00000002 00000000 00000000 00000000",
    "a frame that is too long": "00400041 0a 000001",
    "an unknown type": "00000000 63 000001",
    "a front end's message": "00000005 09 000001 00000002 00",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_back_end_gets_the_same_answer_with_a_lane_and_without(bad: Message | str) -> None:
    told = []
    octets = bytes.fromhex(bad) if isinstance(bad, str) else octets_of([bad])
    for use_lane in (True, False):
        with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as locks:
            world = World(patch, Path(locks), use_lane=use_lane)
            world.submit(IN, 4)
            world.settle()
            world.send(octets)
            world.settle()
            told.append((world.said, world.line.lost_for))
            world.close()
    assert told[0] == told[1]
    assert len(told[0][1]) == 1


def in_order(urbs: list[tuple[int, int]]) -> bool:
    """Whether each endpoint's numbers grow."""
    return all(
        first < second
        for place, (first, address) in enumerate(urbs)
        for second, other in urbs[place + 1 :]
        if other == address
    )


def completed(
    addresses: list[int], order: list[int], *, keeps_order: bool, use_lane: bool
) -> tuple[bytes, bytes, list[str], bool]:
    """Submit URBs on these endpoints, and have them completed in that order.

    Returns:
        What was said and answered, why links were lost, and whether the order was kept.
    """
    theirs = ALL_CAPABILITIES if keeps_order else ALL_CAPABILITIES & ~Capability.IN_ORDER
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as locks:
        world = World(patch, Path(locks), use_lane=use_lane, capabilities=theirs)
        world.lies = True
        urbs = [(world.submit(address, 4), address) for address in addresses]
        world.settle()
        urbs = [urbs[place] for place in order]
        for number, address in urbs:
            data = b"" if address == OUT else b"data"
            world.tell(Complete(DEVICE, number, 0, 4, data=data))
        world.settle()
        if not world.line.lost_for:
            world.hear_all()
        told = world.said, world.answered, list(world.line.lost_for), in_order(urbs)
        world.close()
        return told


@given(st.lists(st.sampled_from([OUT, IN, INTERRUPT]), min_size=1, max_size=6), st.data())
@settings(max_examples=30)
def test_completions_that_overtake_are_noticed_with_a_lane_and_without(
    addresses: list[int], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(addresses))))
    keeps_order = data.draw(st.booleans())
    quick, slow = (
        completed(addresses, order, keeps_order=keeps_order, use_lane=use_lane)
        for use_lane in (True, False)
    )
    assert quick == slow
    _, _, lost_for, kept = quick
    if kept or not keeps_order:
        assert lost_for == []
    else:
        assert "was completed before URB" in lost_for[0]


def test_urbs_of_any_size_go_over_a_port_of_virtio_serial(make: Callable[..., World]) -> None:
    """It takes less than it is given, goes page by page, and has no room now and then."""
    world = make(use_lane=True, wire="port")
    for size in (0, 1, 512, 4096, 32768 - 28, 32768, 70_000, 200_000):
        out, into = world.submit(OUT, size), world.submit(IN, size)

        def heard() -> bool:
            world.settle()
            return len(world.running) == 2

        world.reactor.until(heard)
        assert bytes(world.running[0].data) == Random(out).randbytes(size)
        before = len(world.answered)
        for one in tuple(world.running):
            world.end(one, 0, 1.0)

        def given_back(wanted: int = before + 2 * HEADER_BYTES + size) -> bool:
            world.hear_kernel()
            return len(world.answered) == wanted

        world.reactor.until(given_back)
        assert world.answered.endswith(Random(into).randbytes(size))
    assert world.forwarded > 8


# With and without.


@given(st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None)
def test_both_streams_are_the_same_with_a_lane_and_without(seed: int) -> None:
    compare(f"{seed}")


def test_conversations_are_the_lanes_for_a_good_part() -> None:
    worlds = [compare(f"deep/{seed}") for seed in range(8)]
    assert sum(world.forwarded for world in worlds) > 20


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_a_bad_back_end_costs_its_link_and_nothing_else(rng: Random) -> None:
    assert annoy(rng) == 1
