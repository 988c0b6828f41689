"""The back end's lane against the same daemon without it: the same octets, the same URBs."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.reactor import READABLE
from rig.splitdriver.messages import Complete, Refused, Resume
from rig.tests.harness.lane_back import DEVICE, IN, OUT, World, annoy, answer, compare, urb


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    made = []

    def one(**kwargs: object) -> World:
        made.append(World(monkeypatch, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for world in made:
        world.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make(use_lane=True)


# What the lane forwards by itself, and what it leaves.


def served_by_lane(world: World) -> None:
    """Run one URB, and see that Python had nothing to do with it."""
    core = world.service._ports[0].core
    done: list[int] = []
    ended = core.completed
    core.completed = lambda urb_id, *rest: (done.append(urb_id), ended(urb_id, *rest))  # type: ignore[method-assign, assignment, func-returns-value]
    number = 1 << 20
    world.say(urb(number, IN, 4))
    world.settle()
    world.kernel.end(world.kernel.running[-1], answer=b"data")
    world.settle()
    world.listen()
    assert world.take() == [Complete(DEVICE, number, 0, 4, world_epoch(world), data=b"data")]
    assert done == []


def world_epoch(world: World) -> int:
    endpoint = world.service._ports[0].core._queues.of(IN)
    return endpoint.epoch


def test_an_urb_that_succeeds_never_reaches_python(world: World) -> None:
    served_by_lane(world)


def test_an_urb_without_data_can_be_lent_again_and_again(world: World) -> None:
    world.say(urb(1, IN, 0))
    for _ in range(3):
        world.settle()
    world.kernel.end(world.kernel.running[0])
    world.settle()
    world.listen()
    assert world.take() == [Complete(DEVICE, 1, 0, 0)]


def test_out_data_that_wait_reach_the_kernel_whole_and_in_order(world: World) -> None:
    urbs = [urb(number, OUT, 3000 * number) for number in range(1, 6)]
    world.say(*urbs)
    for one in urbs:
        world.settle()
        assert [running.data for running in world.kernel.running] == [one.data]
        world.kernel.end(world.kernel.running[0], moved=one.buffer_bytes)
    world.settle()
    world.listen_to_all()
    assert [m.urb_id for m in world.take() if isinstance(m, Complete)] == [1, 2, 3, 4, 5]


def test_an_urb_that_the_kernel_refuses_is_told_by_python_once(world: World) -> None:
    world.kernel.refused.add(OUT)
    world.say(urb(1, OUT, 4))
    world.settle()
    world.listen()
    assert world.take() == [Complete(DEVICE, 1, -errno.ENOMEM, 0, 1, quiet=True)]


def test_one_behind_another_that_the_kernel_refuses_is_told_once(world: World) -> None:
    world.say(urb(1, OUT, 4), urb(2, OUT, 4))
    world.settle()
    world.kernel.refused.add(OUT)
    world.kernel.end(world.kernel.running[0], moved=4)
    world.settle()
    world.listen()
    assert world.take() == [
        Complete(DEVICE, 1, 0, 4),
        Complete(DEVICE, 2, -errno.ENOMEM, 0, 1, quiet=True),
    ]


def test_after_an_error_and_its_resume_the_lane_has_the_endpoint_again(world: World) -> None:
    world.say(urb(1, IN, 4))
    world.settle()
    world.kernel.end(world.kernel.running[0], -errno.EPIPE)
    world.settle()
    world.listen()
    assert world.take() == [Complete(DEVICE, 1, -errno.EPIPE, 0, 1, quiet=True)]
    world.say(Resume(DEVICE, IN, 1))
    world.settle()
    served_by_lane(world)


def test_many_errors_leave_no_memory_behind(world: World) -> None:
    """The lane makes an URB's memory, Python keeps what it has reaped: not more than it can use."""
    for number in range(1, 300):
        world.say(urb(number, IN, 4))
        world.settle()
        world.kernel.end(world.kernel.running[0], -errno.EPIPE)
        world.settle()
        world.say(Resume(DEVICE, IN, number))
        world.settle()
    device = world.service._ports[0]._device
    assert device is not None
    assert len(device._usbfs._free) < 100


def test_a_process_without_a_descriptor_to_spare_goes_on_and_hears_others(world: World) -> None:
    """The lane's timer needs one; without it, it waits as Python would, and comes back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    heard: list[int] = []
    reader, writer = os.pipe()
    world.reactor.watch(reader, READABLE, lambda _: heard.append(len(os.read(reader, 9))))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        os.write(writer, b"!")
        world.reactor.turn(0.01)
        served_by_lane(world)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        world.reactor.unwatch(reader)
        os.close(reader)
        os.close(writer)
    assert heard == [1]


def test_last_words_that_the_lane_has_read_are_heard_though_the_link_is_closed(
    world: World,
) -> None:
    world.say(Refused("enough"))
    world.front.close()
    world.settle()
    assert world.door.lost_for == ["The other end closed the link: enough"]


def test_urbs_of_any_size_go_over_a_port_of_virtio_serial(make: Callable[..., World]) -> None:
    """It takes less than it is given, goes page by page, and has no room now and then."""
    world = make(use_lane=True, wire="port")
    sizes = (0, 1, 512, 4096, 32768 - 28, 32768, 70_000, 200_000)
    for number, size in enumerate(sizes, start=1):
        world.say(urb(2 * number, OUT, size), urb(2 * number + 1, IN, size))
        world.reactor.until(lambda: len(world.kernel.running) == 2)
        for running in tuple(world.kernel.running):
            world.kernel.end(running, answer=answer(running, size), moved=size)
        world.until_heard(2)
        ended = {m.urb_id: m for m in world.take() if isinstance(m, Complete)}
        assert sorted(ended) == [2 * number, 2 * number + 1]
        assert bytes(ended[2 * number + 1].data) == Random(size).randbytes(size)
        assert urb(2 * number, OUT, size).data in [data for *_, data in world.kernel.log[-2:]]
    assert world.waits > len(sizes)


# With and without.


@given(st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None)
def test_the_octets_and_the_urbs_are_the_same_with_a_lane_and_without(seed: int) -> None:
    compare(f"{seed}")


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_a_bad_front_end_costs_its_link_and_nothing_else(rng: Random) -> None:
    assert annoy(rng) == 1
