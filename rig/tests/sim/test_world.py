"""Schedules that once were, or could be, somebody's downfall, move by move."""

from __future__ import annotations

import errno

import pytest

from rig.sim.promise import BrokenError, Rule, Urb
from rig.sim.scenario import Handler, scenario_of
from rig.sim.world import World
from rig.splitdriver.policy import Policy
from rig.tests.sim.mutants import no_epochs


class Script(World):
    """A world whose moves a test makes by hand; two OUT endpoints that unlink on errors."""

    def __init__(self, policy: Policy = Policy.HOLD, window: int = 1, **changes: object) -> None:
        scenario = scenario_of(b"\1\0\0")
        fields = {name: getattr(scenario, name) for name in scenario.__struct_fields__}
        super().__init__(type(scenario)(**{**fields, **changes}), policy, window)

    def submit(self, count: int = 1, pipe: int = 0) -> list[Urb]:
        """The client submits URBs."""
        return [self.client.submit(self.pipes[pipe]) for _ in range(count)]

    def send_all(self) -> None:
        """The kernel sends all it has."""
        while self.client.submits or self.client.unlinks:
            self._send()

    def to_the_back(self) -> None:
        """All that was sent arrives."""
        while self.to_back.queue:
            self._deliver_to_back()

    def to_the_front(self) -> None:
        """All that was answered arrives."""
        while self.to_front.queue:
            self._deliver_to_front()

    def end(self, status: int = 0, pipe: int = 0) -> None:
        """The transfer in the controller ends, and the back end hears of it."""
        self._end(self.pipes[pipe], status)
        while self.device.done:
            self._reap()

    def started(self, pipe: int = 0) -> list[int]:
        """What the controller has."""
        return [urb.number for urb in self.pipes[pipe].running]

    def read_on(self) -> None:
        """The kernel reads all there is, handlers included."""
        while self.client.pdus or self.client.handler is not None:
            if self.client.handler is not None:
                self._handle()
            else:
                self._read()

    def pass_fence(self) -> None:
        """The front end sees it, and the barrier comes; as often as a round is wanted."""
        while self.edge.fence_at is not None:
            self._kernel_read_on()
            self.send_all()
            self._send_hidden()

    def check_end(self) -> None:
        """Everything ends, and all works afterwards."""
        self.settle()
        self._check_nothing_open()
        self._probe()


def test_what_is_queued_behind_a_failed_urb_waits_for_the_handler_and_then_runs() -> None:
    world = Script(handlers=(Handler.UNLINK, Handler.NOTHING), urbs=(0, 0))
    world.submit(2, pipe=1)
    world.send_all()
    world.to_the_back()
    world.end(-errno.EPROTO, pipe=1)
    world.to_the_front()
    world._read()
    assert world.client.handler is not None
    world.settle()
    assert world.client.done == {1: -errno.EPROTO, 2: 0}
    world.check_end()


def test_what_the_handler_unlinks_never_reaches_the_controller() -> None:
    world = Script()
    _, second, third = world.submit(3)
    world.send_all()
    world.to_the_back()
    world.end(-errno.EPROTO)
    world.to_the_front()
    world.read_on()
    world.check_end()
    assert (second.moved, third.moved, second.status) == (0, 0, None)
    assert world.client.done[third.number] == -errno.ECONNRESET


def test_a_stop_on_one_endpoint_leaves_the_others_running() -> None:
    world = Script()
    world.submit(1, pipe=0)
    world.submit(2, pipe=1)
    world.send_all()
    world.to_the_back()
    world.end(-errno.EPROTO, pipe=0)
    world.end(pipe=1)
    assert world.started(pipe=1) == [3]


def void_resume(world: Script) -> None:
    """An unlink's RESUME is still on its way when the running URB fails: it is void."""
    _, second, _ = world.submit(3)
    world.send_all()
    world.to_the_back()
    world.client.unlink(second.number)
    world.send_all()
    world.to_the_back()  # the queue stops, epoch 1; the first URB runs on
    world.to_the_front()
    world.read_on()  # the second is given back; its handler unlinks the third
    world.send_all()
    world.to_the_back()
    world.to_the_front()
    world.read_on()
    world.submit()
    world.pass_fence()  # RESUME is on its way
    world.end(-errno.EPROTO)
    world.to_the_back()


def test_a_resume_that_is_older_than_the_last_stop_is_void() -> None:
    world = Script()
    void_resume(world)
    assert not world.started()
    world.check_end()


def test_without_epochs_that_resume_would_run_what_is_behind_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_epochs(monkeypatch)
    with pytest.raises(BrokenError) as caught:
        void_resume(Script())
    assert caught.value.rule is Rule.BEHIND


def test_an_urb_that_ended_before_its_unlink_came_is_given_back_once_and_whole() -> None:
    world = Script()
    (urb,) = world.submit()
    world.send_all()
    world.to_the_back()
    world.client.unlink(urb.number)
    world.end()
    world.check_end()
    assert world.client.done[urb.number] == -errno.ECONNRESET
    assert urb.moved == 4


def test_an_unlink_that_overtakes_its_submit_is_carried_out_when_the_submit_comes() -> None:
    world = Script()
    first, second = world.submit(2)
    world.client.unlink(first.number)
    world._send()
    world._send()
    world.client.in_unlinks = True  # the sender is there already when these two are queued
    (third,) = world.submit()
    world.client.unlink(third.number)
    world._send()
    world._send()
    assert world.client.submits
    world.check_end()
    assert world.client.done[third.number] == -errno.ECONNRESET
    assert second.given_back


def test_a_port_reset_takes_its_turn_before_the_request_that_told_of_it() -> None:
    world = Script(resets=1)
    world._reset(0)
    world.send_all()
    world.to_the_back()
    world._finish_job()  # SET_CONFIGURATION
    assert not world.ep0.running
    world._finish_job()  # the reset
    assert [urb.setup[:2] for urb in world.ep0.running] == [b"\x80\x06"]
    world.check_end()


@pytest.mark.parametrize("moves", range(0, 40, 3))
@pytest.mark.parametrize("how", ["_unplug", "_lose_link"])
def test_an_end_at_any_moment_leaves_nothing_open(how: str, moves: int) -> None:
    world = Script(urbs=(4, 4))
    for _ in range(moves):
        world.go_on(0)
    for number in list(world.client.open)[::2]:
        world.client.unlink(number)
    getattr(world, how)(0)
    world.check_end()
    assert world.client.plugged


@pytest.mark.parametrize("moves", range(8, 24))
def test_a_failure_at_any_moment_puts_no_octet_at_a_wrong_place(moves: int) -> None:
    world = Script(urbs=(4, 4), faults=2, window=1)
    for _ in range(moves):
        world.go_on(0)
    if any(pipe.running for pipe in world.pipes):
        world._fail(moves % 8)
    world.check_end()


def test_messages_may_cross_as_frames() -> None:
    world = Script(urbs=(4, 4), frames=True)
    world.check_end()
    assert list(world.client.done.values()) == [0] * 11
