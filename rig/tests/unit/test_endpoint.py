from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError, RemoteProtocolError
from rig.splitdriver.endpoint import (
    RESET_NUMBER,
    STOPS,
    TRANSITIONS,
    Endpoint,
    Event,
    State,
    Unlinked,
)
from rig.splitdriver.messages import Reset, Submit
from rig.usb.urb import TransferFlags


def urb(number: int) -> Submit:
    return Submit(1, number, 0x01, TransferFlags.NONE, 0, bytes(8))


def endpoint(*numbers: int, window: int = 1) -> Endpoint:
    """An endpoint with these URBs queued."""
    result = Endpoint(window)
    for number in numbers:
        result.add(urb(number))
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
    assert queue.state is State.OPEN


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


@pytest.mark.parametrize("number", [1, 2])
def test_the_same_number_twice_is_the_peers_fault(number: int) -> None:
    queue = endpoint(1, 2)
    start_all(queue)
    with pytest.raises(RemoteProtocolError, match="submitted twice"):
        queue.add(urb(number))


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


def test_an_event_that_cannot_happen_is_our_own_fault() -> None:
    with pytest.raises(ApiViolationError, match="cannot happen to an endpoint that is open"):
        endpoint()._happened(Event.RESUME)


def test_every_state_is_reached_and_left() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {target for row in TRANSITIONS.values() for target in row.values()} == set(State)


def test_every_event_happens_in_some_state() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


OPERATIONS = st.lists(
    st.sampled_from(["add", "start", "end", "fail", "unlink", "drop", "resume"]), max_size=60
)


@given(OPERATIONS, st.integers(1, 3), st.randoms(use_true_random=False))
def test_any_history_keeps_the_rules(operations: list[str], window: int, chance: object) -> None:
    choice = chance.choice  # type: ignore[attr-defined]
    queue = Endpoint(window)
    number = stops = 0
    queued: list[int] = []
    for operation in operations:
        running = queue.running()
        if operation == "add":
            number += 1
            queue.add(urb(number))
            queued.append(number)
        elif operation == "start":
            may = queue.state is State.OPEN and bool(queued) and len(running) < window
            started = queue.start()
            assert (started is not None) == may
            if isinstance(started, Submit):
                assert started.urb_id == queued.pop(0)
        elif operation in ("end", "fail") and running:
            queue.end(choice(running), stops=operation == "fail")
            stops += operation == "fail"
        elif operation == "unlink" and running + queued:
            target = choice(running + queued)
            expected = Unlinked.RUNNING if target in running else Unlinked.DROPPED
            assert queue.unlink(target) is expected
            queued = [n for n in queued if n != target]
            stops += 1
        elif operation == "drop" and queued and queue.quiet:
            queue.drop(queued.pop(choice(range(len(queued)))))
        elif operation == "resume":
            stopped = queue.state is not State.OPEN
            assert queue.resume(stops) == stopped
        assert queue.epoch == stops
        assert len(queue) == len(queued) + len(queue.running())
        if queue.quiet:
            assert not queue.running()


def test_only_stops_advance_the_epoch() -> None:
    assert {Event.RESUME, Event.ENDED_BUSY, Event.ENDED_IDLE} == set(Event) - STOPS
