"""Both cores together, on any schedule: `rig.tests.harness.split_pair` says what must hold."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.splitdriver import backend
from rig.splitdriver.endpoint import Endpoint, Event, State, Work
from rig.splitdriver.frontend import FrontEnd
from rig.splitdriver.messages import Payload
from rig.tests.harness.split_pair import (
    BULK_IN,
    BULK_OUT,
    GET_DESCRIPTOR_64,
    SET_CONFIGURATION,
    InvariantBrokenError,
    SplitPair,
)

SCHEDULES = st.lists(st.integers(0, 997), min_size=20, max_size=250)


def plugged(window: int = 1) -> SplitPair:
    """A pair whose client has a device and nothing to do."""
    pair = SplitPair(window)
    pair.plug()
    pair.settle()
    return pair


def walk(seed: int, steps: int = 250, window: int = 1) -> SplitPair:
    """A pair after a schedule that is a function of the seed."""
    pair = plugged(window)
    chance = random.Random(seed)
    pair.walk([chance.randrange(997) for _ in range(steps)])
    pair.check_quiescence()
    return pair


@settings(max_examples=150, deadline=None)
@given(SCHEDULES)
def test_the_promise_holds_on_every_schedule(schedule: list[int]) -> None:
    pair = plugged()
    pair.walk(schedule)
    pair.check_quiescence()


@pytest.mark.parametrize("seed", range(60))
def test_the_promise_holds_on_long_walks(seed: int) -> None:
    walk(seed)


@pytest.mark.parametrize("seed", range(20))
def test_the_promise_holds_with_a_wider_window_while_nothing_fails(seed: int) -> None:
    pair = plugged(window=4)
    chance = random.Random(seed)
    for _ in range(100):
        pair.submit(BULK_OUT)
        move = chance.choice([pair.send_all, pair.deliver_to_back, pair.deliver_to_front])
        move()
        if pair.controller.running:
            pair.end(chance.choice(list(pair.controller.running)))
    pair.check_quiescence()


# Schedules that once were, or could be, somebody's downfall.


def test_what_is_queued_behind_a_failed_urb_waits_for_the_handler_and_then_runs() -> None:
    pair = plugged()
    first, second = pair.submit(BULK_OUT), pair.submit(BULK_OUT)
    pair.send_all()
    pair.deliver_to_back()
    pair.end(first, -errno.EPROTO)
    pair.deliver_to_front()
    assert pair.controller.ran == [first]
    pair.read()
    pair.settle()
    assert pair.controller.ran == [first, second]
    assert pair.client.given_back == {first: -errno.EPROTO, second: 0}


def test_what_the_handler_unlinks_never_reaches_the_controller() -> None:
    pair = plugged()
    first, second, third = (pair.submit(BULK_IN) for _ in range(3))
    pair.send_all()
    pair.deliver_to_back()
    pair.end(first, -errno.EPROTO)
    pair.deliver_to_front()
    pair.read(unlinks_rest=True)
    pair.check_quiescence()
    assert not {second, third} & set(pair.controller.ran)
    assert pair.client.given_back[third] == -errno.ECONNRESET


def test_a_stop_on_one_endpoint_leaves_the_others_running() -> None:
    pair = plugged()
    failing, other = pair.submit(BULK_OUT), pair.submit(BULK_IN)
    pair.send_all()
    pair.deliver_to_back()
    pair.end(failing, -errno.EPROTO)
    later = pair.submit(BULK_IN)
    pair.send_all()
    pair.deliver_to_back()
    pair.end(other)
    assert pair.controller.ran == [failing, other, later]


def void_resume(pair: SplitPair) -> None:
    """An unlink's RESUME is still on its way when the running URB fails: it is void."""
    first, second, _third = (pair.submit(BULK_OUT) for _ in range(3))
    pair.send_all()
    pair.deliver_to_back()
    pair.unlink(second)
    pair.send_all()
    pair.deliver_to_back()  # the queue stops, epoch 1; the first URB runs on
    pair.deliver_to_front()
    pair.read()  # the second is given back
    pair.read()  # its unlink is answered
    pair.read()  # the fence
    pair.pass_fence()  # RESUME of epoch 1 is on its way
    pair.end(first, -errno.EPROTO)  # epoch 2
    pair.deliver_to_back()


def test_a_resume_that_is_older_than_the_last_stop_is_void() -> None:
    pair = plugged()
    void_resume(pair)
    assert len(pair.controller.ran) == 1
    pair.check_quiescence()


def test_an_urb_that_ended_before_its_unlink_came_is_given_back_once() -> None:
    pair = plugged()
    urb = pair.submit(BULK_IN)
    pair.send_all()
    pair.deliver_to_back()
    pair.unlink(urb)
    pair.end(urb)
    pair.send_all()
    pair.check_quiescence()
    assert pair.client.given_back[urb] == -errno.ECONNRESET


def test_an_unlink_that_overtakes_its_submit_is_carried_out_when_the_submit_comes() -> None:
    pair = plugged()
    urb = pair.submit(BULK_OUT)
    pair.unlink(urb)
    pair.send_unlink()
    pair.check_quiescence()
    assert pair.client.given_back[urb] == -errno.ECONNRESET


def test_a_port_reset_takes_its_turn_before_the_request_that_told_of_it() -> None:
    pair = plugged()
    configure = pair.submit(0x00, SET_CONFIGURATION, 0)
    describe = pair.submit(0x80, GET_DESCRIPTOR_64, 18)
    pair.send_all()
    pair.deliver_to_back()
    pair.end(configure)
    assert (pair.controller.resets, pair.controller.ran) == (1, [configure])
    pair.end_reset()
    assert pair.controller.ran == [configure, describe]


@pytest.mark.parametrize("steps", range(0, 120, 8))
@pytest.mark.parametrize("how", ["unplug", "lose_link"])
def test_an_end_at_any_moment_leaves_nothing_open(how: str, steps: int) -> None:
    pair = plugged()
    chance = random.Random(steps)
    pair.walk([chance.randrange(997) for _ in range(steps)])
    if not pair.linked:
        pair.relink()
    pair.settle()
    if pair.back.device is None:
        pair.plug()
        pair.settle()
    for address in (BULK_OUT, BULK_OUT, BULK_IN, BULK_IN):
        pair.unlink(pair.submit(address))
        pair.submit(address)
    pair.walk([chance.randrange(997) for _ in range(steps % 11)])
    if pair.linked and pair.back.device is not None:
        getattr(pair, how)()
    pair.settle()
    assert not pair.client.open
    assert not pair.client.unanswered
    if not pair.linked:
        pair.relink()
    if pair.back.device is None:
        pair.plug()
    pair.check_quiescence()
    assert pair.client.plugged


# The harness sees: broken rules do not get past it.


def found(walks: int = 150) -> bool:
    """Whether the harness notices what is broken."""
    for seed in range(walks):
        try:
            walk(seed)
        except InvariantBrokenError:
            return True
    return False


def _resume_whatever_epoch(self: Endpoint, epoch: int) -> bool:
    if self.state is State.OPEN:
        return False
    self._happened(Event.RESUME)
    return True


def test_a_back_end_that_ignores_the_epoch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "resume", _resume_whatever_epoch)
    assert found()
    with pytest.raises(InvariantBrokenError, match="is not done with"):
        void_resume(plugged())


def test_a_back_end_that_does_not_stop_on_errors_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "stops_endpoint", lambda *_: False)
    assert found()


def test_a_back_end_that_does_not_stop_on_unlinks_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened = Endpoint._happened

    def ignore_unlinks(self: Endpoint, event: Event) -> None:
        if event not in (Event.UNLINK_BUSY, Event.UNLINK_IDLE):
            happened(self, event)

    monkeypatch.setattr(Endpoint, "_happened", ignore_unlinks)
    assert found()


def test_a_back_end_that_starts_the_newest_first_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    add = Endpoint.add

    def push(self: Endpoint, work: Work) -> None:
        add(self, work)
        self._queue.rotate(1)

    monkeypatch.setattr(Endpoint, "add", push)
    assert found()


def test_a_front_end_that_answers_the_unlink_before_the_urb_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_back = FrontEnd._give_back

    def reversed_order(
        self: FrontEnd, seqnum: int, status: int, count: int, data: Payload = b""
    ) -> None:
        before = len(self._actions)
        give_back(self, seqnum, status, count, data)
        self._actions[before:] = self._actions[before:][::-1]

    monkeypatch.setattr(FrontEnd, "_give_back", reversed_order)
    assert found()


def test_a_resume_before_the_handler_has_returned_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_back = FrontEnd._give_back

    def resume_at_once(
        self: FrontEnd, seqnum: int, status: int, count: int, data: Payload = b""
    ) -> None:
        key = self._urbs[seqnum].endpoint_key
        give_back(self, seqnum, status, count, data)
        self.fence_passed(key, self._endpoints[key].fence)

    monkeypatch.setattr(FrontEnd, "_give_back", resume_at_once)
    assert found()


def test_unlinks_that_the_kernel_has_not_sent_yet_are_the_fences_known_limit() -> None:
    """Until the barrier on a hidden device exists, a client with URBs behind a failed one loses."""
    pair = SplitPair(whole_fence=False)
    pair.plug()
    pair.settle()
    first = pair.submit(BULK_OUT)
    pair.submit(BULK_OUT)
    pair.send_all()
    pair.deliver_to_back()
    pair.end(first, -errno.EPROTO)
    pair.deliver_to_front()
    pair.read(unlinks_rest=True)
    pair.read()
    pair.pass_fence()
    with pytest.raises(InvariantBrokenError, match="is not done with"):
        pair.deliver_to_back()
