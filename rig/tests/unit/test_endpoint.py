from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError, RemoteProtocolError
from rig.splitdriver.endpoint import RESET_NUMBER, Endpoint, State, Unlinked
from rig.splitdriver.messages import Reset, Submit
from rig.splitdriver.policy import Policy
from rig.usb.urb import TransferFlags


def urb(number: int, *, clear: bool = False) -> Submit:
    return Submit(1, number, 0x01, TransferFlags.NONE, 0, bytes(8), clear=clear)


def endpoint(*numbers: int, window: int = 1, policy: Policy = Policy.HOLD) -> Endpoint:
    """An endpoint with these URBs queued."""
    result = Endpoint(policy, window)
    for number in numbers:
        assert result.add(urb(number))
    return result


def start_all(queue: Endpoint) -> list[int]:
    """Start what may start now."""
    before = set(queue.running())
    while queue.start() is not None:
        pass
    return [n for n in queue.running() if n not in before]


def test_urbs_start_in_the_order_of_submission() -> None:
    queue = endpoint(1, 2, 3)
    order = []
    while started := queue.start():
        assert isinstance(started, Submit)
        order.append(started.urb_id)
        queue.end(started.urb_id, stops=False)
    assert order == [1, 2, 3]


@pytest.mark.parametrize("window", [1, 2, 3])
def test_no_more_than_the_window_is_in_the_controller(window: int) -> None:
    assert start_all(endpoint(1, 2, 3, 4, window=window)) == [1, 2, 3, 4][:window]


def test_an_empty_queue_starts_nothing() -> None:
    assert endpoint().start() is None


def test_a_failure_stops_the_queue_and_keeps_the_rest() -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    queue.end(1, stops=True)
    assert (queue.state, queue.epoch, len(queue), queue.start()) == (State.QUIET, 1, 1, None)


def test_a_success_does_not_stop_the_queue() -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    queue.end(1, stops=False)
    assert (queue.state, queue.epoch, start_all(queue)) == (State.OPEN, 0, [2])


def test_a_failure_with_others_in_the_controller_is_not_quiet_until_they_ended() -> None:
    queue = endpoint(1, 2, 3, window=2)
    start_all(queue)
    queue.end(1, stops=True)
    assert (queue.state, queue.quiet) == (State.DRAINING, False)
    queue.end(2, stops=False)
    assert (queue.quiet, queue.epoch, queue.start()) == (True, 1, None)


def test_unlinking_a_queued_urb_drops_it_and_stops_the_queue() -> None:
    queue = endpoint(1, 2, 3)
    start_all(queue)
    assert queue.unlink(2) is Unlinked.DROPPED
    assert (queue.state, queue.epoch) == (State.DRAINING, 1)
    queue.end(1, stops=False)
    queue.resume(1)
    assert start_all(queue) == [3]


def test_unlinking_where_nothing_runs_is_quiet_at_once() -> None:
    queue = endpoint(1)
    assert queue.unlink(1) is Unlinked.DROPPED
    assert queue.quiet


def test_unlinking_a_running_urb_leaves_it_to_the_controller() -> None:
    queue = endpoint(1)
    start_all(queue)
    assert queue.unlink(1) is Unlinked.RUNNING
    assert (queue.running(), queue.state, queue.epoch) == ([1], State.DRAINING, 1)


def test_unlinking_what_is_not_there_changes_nothing() -> None:
    queue = endpoint(1)
    assert queue.unlink(2) is Unlinked.UNKNOWN
    assert (queue.state, queue.epoch) == (State.OPEN, 0)


def test_resume_opens_a_quiet_queue() -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    queue.end(1, stops=True)
    assert queue.resume(1)
    assert start_all(queue) == [2]


def test_resume_opens_a_draining_queue() -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    queue.unlink(2)
    assert queue.resume(1)
    assert queue.state is State.RESUMING


def test_a_draining_queue_that_was_resumed_starts_nothing_until_the_last_has_ended() -> None:
    queue = endpoint(1, 2, 3)
    start_all(queue)
    queue.unlink(2)
    queue.resume(1)
    assert (queue.start(), queue.quiet) == (None, False)
    queue.end(1, stops=False)
    assert (queue.state, start_all(queue)) == (State.OPEN, [3])


@pytest.mark.parametrize("stop", ["fail", "unlink"])
def test_a_stop_of_a_queue_that_is_being_resumed_needs_another_resume(stop: str) -> None:
    queue = endpoint(1, 2, 3)
    start_all(queue)
    queue.unlink(2)
    queue.resume(1)
    if stop == "unlink":
        queue.unlink(3)
    queue.end(1, stops=stop == "fail")
    assert (queue.quiet, queue.epoch, queue.resume(1)) == (True, 2, False)
    assert queue.resume(2)


def test_a_second_resume_of_the_same_epoch_is_void() -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    queue.unlink(2)
    assert (queue.resume(1), queue.resume(1)) == (True, False)


def test_resume_of_an_epoch_before_the_last_stop_is_void() -> None:
    queue = endpoint(1, 2, 3)
    start_all(queue)
    queue.unlink(2)
    queue.end(1, stops=True)
    assert not queue.resume(1)
    assert queue.quiet
    assert queue.resume(2)


def test_resume_of_an_open_queue_is_void() -> None:
    assert not endpoint().resume(0)


def test_resume_of_an_epoch_that_was_never_told_is_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="epoch 1, the last was 0"):
        endpoint().resume(1)


def test_drop_takes_an_urb_out_of_a_quiet_queue_without_another_stop() -> None:
    queue = endpoint(1, 2, 3)
    start_all(queue)
    queue.end(1, stops=True)
    queue.drop(2)
    assert (queue.epoch, queue.quiet, queue.resume(1), start_all(queue)) == (1, True, True, [3])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_drop_where_the_front_could_not_know_is_the_peers_fault(number: int) -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    with pytest.raises(RemoteProtocolError, match="by the front alone"):
        queue.drop(number)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_number_that_does_not_grow_is_the_peers_fault(number: int) -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    with pytest.raises(RemoteProtocolError, match=f"URB {number} was submitted behind URB 2"):
        queue.add(urb(number))


def test_numbers_may_have_gaps() -> None:
    assert start_all(endpoint(0, 7, 1000, window=3)) == [0, 7, 1000]


def test_the_end_of_what_does_not_run_is_our_own_fault() -> None:
    with pytest.raises(ApiViolationError, match="was not running"):
        endpoint(1).end(1, stops=False)


def test_a_reset_takes_its_turn() -> None:
    queue = endpoint(1)
    queue.add(Reset(1))
    start_all(queue)
    queue.end(1, stops=False)
    assert queue.start() == Reset(1)
    assert queue.running() == [RESET_NUMBER]
    assert queue.end(RESET_NUMBER, stops=False) == Reset(1)


def test_the_end_of_a_reset_that_does_not_run_is_our_own_fault() -> None:
    with pytest.raises(ApiViolationError, match="was not running"):
        endpoint(1).end(RESET_NUMBER, stops=False)


# Windows above 1.


def deep(count: int = 4) -> Endpoint:
    """All of these are in the controller, and one more waits."""
    queue = endpoint(*range(1, count + 2), window=count)
    start_all(queue)
    return queue


def test_what_the_controller_gave_back_untouched_runs_again_in_its_old_order() -> None:
    queue = deep()
    queue.end(1, stops=True)
    for number in (4, 2, 3):
        queue.take_back(number)
    assert (queue.quiet, queue.epoch) == (True, 1)
    queue.resume(1)
    assert start_all(queue) == [2, 3, 4, 5]


def test_to_take_back_what_does_not_run_is_our_own_fault() -> None:
    with pytest.raises(ApiViolationError, match="was not running"):
        endpoint(1).take_back(1)


def test_a_queue_is_quiet_only_when_all_were_taken_back() -> None:
    queue = deep(3)
    queue.end(1, stops=True)
    queue.take_back(2)
    assert (queue.state, queue.quiet) == (State.DRAINING, False)
    queue.take_back(3)
    assert queue.quiet


def test_a_resumed_queue_opens_when_the_last_was_taken_back() -> None:
    queue = deep(2)
    queue.unlink(1)
    queue.resume(1)
    queue.take_back(2)
    assert queue.state is State.RESUMING
    queue.end(1, stops=False)
    assert start_all(queue) == [2, 3]


def test_what_runs_behind_a_failed_urb_is_a_violation() -> None:
    queue = deep(3)
    queue.end(1, stops=True)
    assert queue.drains_after_failure
    queue.end(2, stops=False)
    queue.end(3, stops=True)
    assert queue.violations == 2


def test_what_has_not_run_behind_a_failed_urb_is_no_violation() -> None:
    queue = deep(3)
    queue.end(1, stops=True)
    queue.end(2, stops=True, ran=False)
    queue.take_back(3)
    assert queue.violations == 0
    assert not queue.drains_after_failure


def test_what_runs_beside_an_unlinked_urb_is_no_violation() -> None:
    queue = deep(3)
    queue.unlink(3)
    assert not queue.drains_after_failure
    queue.end(1, stops=False)
    queue.end(2, stops=False)
    assert queue.violations == 0


def test_what_ran_behind_an_urb_that_was_unlinked_too_late_is_no_violation() -> None:
    queue = deep(3)
    queue.unlink(1)
    queue.end(1, stops=True, late=True)
    queue.end(2, stops=False)
    assert queue.violations == 0
    queue.end(3, stops=True)
    assert queue.violations == 0


def test_what_ran_before_an_urb_that_was_taken_back_is_no_violation() -> None:
    queue = deep(3)
    queue.unlink(2)
    queue.take_back(3)
    queue.end(2, stops=True, ran=False)
    queue.end(1, stops=False)
    assert queue.violations == 0


def test_the_first_failure_counts() -> None:
    queue = deep(3)
    queue.end(3, stops=True, ran=False)
    queue.end(1, stops=True)
    queue.end(2, stops=False)
    assert queue.violations == 1


def test_an_unlink_that_came_too_late_hides_no_violation_behind_an_earlier_failure() -> None:
    queue = deep(3)
    queue.end(1, stops=True)
    queue.end(2, stops=True, late=True)
    queue.end(3, stops=False)
    assert queue.violations == 2


def test_what_runs_after_the_resume_is_no_violation() -> None:
    queue = deep(1)
    queue.end(1, stops=True)
    queue.resume(1)
    start_all(queue)
    queue.end(2, stops=False)
    assert queue.violations == 0


# Policy aca.


def failing(*queued: Submit | Reset) -> Endpoint:
    """URB 1 has failed while these were queued behind it."""
    queue = endpoint(1, policy=Policy.ACA)
    for work in queued:
        queue.add(work)
    start_all(queue)
    queue.end(1, stops=True)
    return queue


def test_aca_fails_what_is_queued_behind_an_error() -> None:
    queue = failing(urb(2), urb(3))
    assert (queue.state, queue.epoch, queue.quiet) == (State.FAILING, 1, False)
    assert queue.refused() == [urb(2), urb(3)]
    assert (queue.refused(), queue.start(), len(queue)) == ([], None, 0)


def test_aca_fails_what_comes_until_an_urb_clears() -> None:
    queue = failing()
    assert [queue.add(urb(2)), queue.add(urb(3))] == [False, False]
    assert queue.add(urb(4, clear=True))
    assert queue.add(urb(5))
    assert (queue.state, start_all(queue)) == (State.OPEN, [4])


def test_aca_lets_a_queued_urb_that_clears_run_and_all_behind_it() -> None:
    queue = failing(urb(2), urb(3, clear=True), urb(4))
    assert queue.refused() == [urb(2)]
    assert (queue.state, start_all(queue)) == (State.OPEN, [3])


def test_aca_is_cleared_by_a_port_reset() -> None:
    queue = failing(urb(2), Reset(1), urb(3))
    assert queue.refused() == [urb(2)]
    assert start_all(queue) == [RESET_NUMBER]
    assert failing().add(Reset(1))


def test_an_open_endpoint_is_not_changed_by_an_urb_that_clears() -> None:
    queue = endpoint(policy=Policy.ACA)
    assert queue.add(urb(1, clear=True))
    assert (queue.state, queue.epoch, queue.refused()) == (State.OPEN, 0, [])


def test_aca_fails_the_rest_when_one_is_unlinked() -> None:
    queue = endpoint(1, 2, 3, policy=Policy.ACA)
    start_all(queue)
    assert queue.unlink(2) is Unlinked.DROPPED
    assert (queue.state, queue.refused()) == (State.FAILING, [urb(3)])
    queue.end(1, stops=False)
    assert queue.state is State.FAILING


def test_aca_knows_no_resume() -> None:
    assert not failing().resume(1)


# Policy naive.


def test_naive_runs_on_behind_an_error_and_counts_nothing() -> None:
    queue = endpoint(1, 2, 3, 4, window=2, policy=Policy.NAIVE)
    assert start_all(queue) == [1, 2]
    queue.end(1, stops=True)
    assert start_all(queue) == [3]
    queue.end(2, stops=False)
    assert (queue.epoch, queue.violations, queue.quiet) == (0, 0, False)


def test_naive_runs_on_behind_an_unlink() -> None:
    queue = endpoint(1, 2, 3, policy=Policy.NAIVE)
    start_all(queue)
    assert queue.unlink(2) is Unlinked.DROPPED
    assert queue.unlink(1) is Unlinked.RUNNING
    queue.end(1, stops=True)
    assert (start_all(queue), queue.epoch) == ([3], 0)


class Model:
    """What an endpoint of policy `hold` must do, told as lists."""

    def __init__(self, window: int) -> None:
        self.queue = Endpoint(Policy.HOLD, window)
        self.window = window
        self.number = self.stops = 0
        self.queued: list[int] = []

    @property
    def running(self) -> list[int]:
        return self.queue.running()

    def add(self, _: int) -> None:
        self.number += 1
        self.queue.add(urb(self.number))
        self.queued.append(self.number)

    def start(self, _: int) -> None:
        room = len(self.running) < self.window
        may = self.queue.state is State.OPEN and bool(self.queued) and room
        started = self.queue.start()
        assert (started is not None) == may
        if isinstance(started, Submit):
            assert started.urb_id == self.queued.pop(0)

    def end(self, choice: int) -> None:
        if self.running:
            self.queue.end(self.running[choice % len(self.running)], stops=False)

    def fail(self, choice: int) -> None:
        if self.running:
            self.queue.end(self.running[choice % len(self.running)], stops=True)
            self.stops += 1

    def take_back(self, choice: int) -> None:
        if self.running and self.queue.state is not State.OPEN:
            number = self.running[choice % len(self.running)]
            self.queue.take_back(number)
            self.queued = sorted([*self.queued, number])

    def unlink(self, choice: int) -> None:
        present = self.running + self.queued
        if present:
            target = present[choice % len(present)]
            expected = Unlinked.RUNNING if target in self.running else Unlinked.DROPPED
            assert self.queue.unlink(target) is expected
            self.queued = [n for n in self.queued if n != target]
            self.stops += 1

    def drop(self, choice: int) -> None:
        if self.queued and self.queue.quiet:
            self.queue.drop(self.queued.pop(choice % len(self.queued)))

    def resume(self, choice: int) -> None:
        stopped = self.queue.state in (State.DRAINING, State.QUIET)
        old = choice % 2 and self.stops
        assert self.queue.resume(self.stops - bool(old)) == (stopped and not old)

    def check(self) -> None:
        assert self.queue.epoch == self.stops
        assert len(self.queue) == len(self.queued) + len(self.running)
        assert self.queue.quiet == (self.queue.state is State.QUIET)
        if self.queue.state is not State.OPEN:
            draining = self.queue.state in (State.DRAINING, State.RESUMING)
            assert draining == bool(self.running)


OPERATIONS = ["add", "start", "end", "fail", "take_back", "unlink", "drop", "resume"]


@given(
    st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 7)), max_size=60),
    st.integers(1, 3),
)
def test_any_history_keeps_the_rules(history: list[tuple[str, int]], window: int) -> None:
    model = Model(window)
    for operation, choice in history:
        getattr(model, operation)(choice)
        model.check()


# The lane.


def test_what_is_lent_is_all_in_order_with_what_runs_first() -> None:
    queue = endpoint(1, 2, 3)
    start_all(queue)
    assert queue.lend() == [(urb(1), True), (urb(2), False), (urb(3), False)]
    assert queue.latest == 3


@pytest.mark.parametrize("number", [1, 2])
def test_an_endpoint_that_has_stopped_is_not_lent_before_it_is_resumed(number: int) -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    queue.unlink(number)
    assert queue.lend() is None
    if number == 1:
        queue.end(1, stops=True)
        assert queue.lend() is None
    queue.resume(queue.epoch)
    assert (queue.lend() is None) is (number == 2)  # URB 1 may still come back first


def test_what_is_handed_back_takes_the_place_of_what_was_lent() -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    queue.replace([(urb(4), True), (urb(5), False)], 6)
    assert (queue.running(), len(queue), queue.latest) == ([4], 2, 6)
    queue.end(4, stops=False)
    assert start_all(queue) == [5]


def test_the_last_number_that_was_seen_is_not_forgotten_with_a_lane() -> None:
    queue = endpoint(7)
    queue.replace([], 3)
    assert queue.latest == 7
    with pytest.raises(RemoteProtocolError, match="behind URB 7"):
        queue.add(urb(5))
