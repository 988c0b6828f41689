from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from rig.errors import ApiViolationError, RemoteProtocolError
from rig.splitdriver import back_queues
from rig.splitdriver.back_queues import Standing
from rig.splitdriver.backend import (
    Action,
    BackEnd,
    Discard,
    LentEndpoint,
    Perform,
    ResetPort,
    Send,
    Start,
    capabilities,
)
from rig.splitdriver.messages import (
    Capability,
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Message,
    Ping,
    Reset,
    ResetDone,
    Resume,
    Submit,
    Unlink,
    device_number,
)
from rig.splitdriver.policy import ACA_STATUSES, NAIVE_WINDOW, Policy
from rig.usb.setup import ClearHalt, Operation, SetConfiguration, SetInterface, SetupPacket
from rig.usb.urb import Speed, TransferFlags, TransferType

OUT, IN = 0x01, 0x81


KINDS = {OUT: TransferType.BULK, IN: TransferType.BULK, 0x82: TransferType.INTERRUPT}


def submit(
    number: int,
    address: int = OUT,
    device: int = 1,
    setup: bytes = bytes(8),
    *,
    clear: bool = False,
) -> Submit:
    return Submit(device, number, address, TransferFlags.NONE, 4, setup, b"data", clear)


def serving(window: int = 1, policy: Policy = Policy.HOLD) -> BackEnd:
    """A back end with a device that the front end knows of."""
    back = BackEnd(policy, window)
    back.linked()
    back.plugged(Speed.HIGH)
    back.configured(KINDS)
    back.take_actions()
    return back


def after(back: BackEnd, *messages: Message) -> list[Action]:
    """What the back end does when it hears this."""
    for message in messages:
        back.receive(message)
    return back.take_actions()


def stopped() -> BackEnd:
    """A back end where URB 1 has failed and 2 waits behind it."""
    back = serving()
    after(back, submit(1), submit(2))
    back.completed(1, -errno.EPROTO, 0)
    back.take_actions()
    return back


def test_a_plugged_device_is_told_with_its_speed() -> None:
    back = BackEnd()
    back.linked()
    back.plugged(Speed.SUPER)
    assert back.take_actions() == [Send(Connect(1, Speed.SUPER))]
    assert back.device == 1


def test_a_device_that_was_there_before_the_front_end_is_told_once_when_it_greets() -> None:
    back = BackEnd()
    back.plugged(Speed.HIGH)
    assert back.take_actions() == []
    back.linked()
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_a_front_end_hears_of_no_device_where_there_is_none() -> None:
    back = BackEnd()
    back.linked()
    assert back.take_actions() == []


def test_a_device_that_left_before_the_front_end_came_is_not_mentioned() -> None:
    back = BackEnd()
    back.plugged(Speed.HIGH)
    back.unplugged()
    back.linked()
    assert back.take_actions() == []
    back.plugged(Speed.FULL)
    assert back.take_actions() == [Send(Connect(2, Speed.FULL))]


def test_it_is_known_how_each_endpoint_of_a_device_stands() -> None:
    back = BackEnd()
    assert (back.served, back.standing()) == (False, [])
    back = stopped()
    after(back, submit(3, IN))
    assert back.served
    assert back.standing() == [
        Standing(0, "control"),
        Standing(OUT, "bulk", queued=1, in_flight=0, stopped=True),
        Standing(IN, "bulk", queued=1, in_flight=1, stopped=False),
        Standing(0x82, "interrupt"),
    ]


def test_unplug_without_a_device_is_nothing() -> None:
    back = serving()
    back.unplugged()
    back.take_actions()
    back.unplugged()
    assert back.take_actions() == []


def test_two_devices_in_one_port_are_our_own_fault() -> None:
    with pytest.raises(ApiViolationError, match="one already"):
        serving().plugged(Speed.HIGH)


def test_a_new_device_is_told_when_the_front_end_is_done_with_the_former() -> None:
    back = serving()
    back.unplugged()
    back.plugged(Speed.HIGH)
    assert back.take_actions() == [Send(Disconnect(1))]
    assert after(back, Disconnected(1)) == [Send(Connect(2, Speed.HIGH))]


def test_devices_that_come_and_go_before_the_farewell_are_never_told() -> None:
    back = serving()
    back.unplugged()
    back.plugged(Speed.HIGH)
    back.unplugged()
    assert back.take_actions() == [Send(Disconnect(1))]
    assert after(back, Disconnected(1)) == []


def test_device_numbers_wrap_without_zero() -> None:
    back = serving()
    back.unplugged()
    after(back, Disconnected(1))
    back._plug.plugs = 0xFFFF
    back.plugged(Speed.HIGH)
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_a_device_has_its_ports_number_above_its_own() -> None:
    back = BackEnd(port=7)
    back.linked()
    back.plugged(Speed.HIGH)
    assert back.take_actions() == [Send(Connect(device_number(7, 1), Speed.HIGH))]


def test_a_front_end_that_speaks_of_a_device_before_it_was_told_is_ignored() -> None:
    back = BackEnd()
    back.plugged(Speed.HIGH)
    assert after(back, submit(1), Unlink(1, 1), Resume(1, OUT, 9), Reset(1)) == []


@pytest.mark.parametrize("device", [2, device_number(1, 1)])
def test_a_farewell_from_a_device_that_was_not_told_is_the_peers_fault(device: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"device {device}, of which it was not told"):
        after(serving(), Disconnected(device))


def test_a_second_farewell_is_the_peers_fault() -> None:
    back = serving()
    back.unplugged()
    after(back, Disconnected(1))
    with pytest.raises(RemoteProtocolError, match="not told"):
        after(back, Disconnected(1))


def test_a_device_that_the_front_end_has_let_go_of_is_told_under_another_number() -> None:
    assert after(serving(), Disconnected(1)) == [Send(Connect(2, Speed.HIGH))]


def test_it_is_told_when_the_controller_has_let_go_of_all_the_newest_first() -> None:
    back = serving(window=2)
    after(back, submit(1), submit(2), submit(3))
    assert after(back, Disconnected(1)) == [Discard(2), Discard(1)]
    back.completed(2, -errno.ENOENT, 0)
    assert back.take_actions() == []
    back.completed(1, 0, 4)
    assert back.take_actions() == [Send(Connect(2, Speed.HIGH))]
    assert after(back, submit(1, device=2)) == [Start(submit(1, device=2))]


def test_a_stop_of_a_device_that_was_let_go_of_is_over() -> None:
    back = stopped()
    after(back, Disconnected(1))
    assert (back.stopped, after(back, Resume(1, OUT, 1))) == (frozenset(), [])
    assert after(back, submit(1, device=2)) == [Start(submit(1, device=2))]


def test_a_farewell_that_crosses_the_disconnect_answers_it() -> None:
    back = serving()
    back.unplugged()
    back.plugged(Speed.HIGH)
    back.take_actions()
    # It was sent unasked; the front end will not answer the DISCONNECT.
    assert after(back, Disconnected(1)) == [Send(Connect(2, Speed.HIGH))]


def test_a_device_that_was_let_go_of_and_leaves_is_told_to_nobody() -> None:
    back = serving()
    after(back, submit(1))
    after(back, Disconnected(1))
    back.unplugged()
    assert back.take_actions() == []
    back.plugged(Speed.FULL)
    assert back.take_actions() == [Send(Connect(3, Speed.FULL))]


def test_a_link_that_is_lost_as_a_device_is_let_go_of_still_has_all_taken_back() -> None:
    back = serving()
    after(back, submit(1))
    back.receive(Disconnected(1))
    back.link_lost()
    assert back.take_actions() == [Discard(1)]
    back.linked()
    back.completed(1, -errno.ENOENT, 0)
    assert back.take_actions() == [Send(Connect(2, Speed.HIGH))]


def test_messages_for_a_device_that_is_gone_are_ignored() -> None:
    back = serving()
    back.unplugged()
    back.plugged(Speed.HIGH)
    back.take_actions()
    late: list[Message] = [
        submit(1),
        submit(1, device=2),
        Unlink(1, 1),
        Resume(1, OUT, 9),
        Reset(1),
    ]
    assert after(back, *late) == []


def test_messages_for_another_device_are_ignored() -> None:
    assert after(serving(), submit(1, device=7)) == []


def test_what_only_a_back_end_says_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="must not send Ping"):
        after(serving(), Ping(1))


def test_an_urb_is_started_and_its_end_told() -> None:
    back = serving()
    urb = submit(1, IN)
    assert after(back, urb) == [Start(urb)]
    back.completed(1, 0, 2, b"in")
    assert back.take_actions() == [Send(Complete(1, 1, 0, 2, 0, quiet=False, data=b"in"))]


def test_a_failure_is_told_with_epoch_and_quiet_and_nothing_follows() -> None:
    back = serving()
    after(back, submit(1), submit(2))
    back.completed(1, -errno.EPROTO, 3)
    assert back.take_actions() == [Send(Complete(1, 1, -errno.EPROTO, 3, 1, quiet=True))]


def test_what_arrives_at_a_stopped_endpoint_waits_for_resume() -> None:
    back = stopped()
    assert after(back, submit(3)) == []
    assert after(back, Resume(1, OUT, 1)) == [Start(submit(2))]


def test_a_void_resume_starts_nothing() -> None:
    back = stopped()
    after(back, submit(3), Unlink(1, 2))
    assert after(back, Resume(1, OUT, 1)) == []
    assert after(back, Resume(1, OUT, 2)) == [Start(submit(3))]


def test_a_queued_urb_that_is_unlinked_comes_back_unrun() -> None:
    back = stopped()
    expected = Complete(1, 2, -errno.ECONNRESET, 0, 2, quiet=True)
    assert after(back, Unlink(1, 2)) == [Send(expected)]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (0, -errno.ECONNRESET),
        (-errno.ENOENT, -errno.ECONNRESET),
        (-errno.EPROTO, -errno.EPROTO),
    ],
)
def test_a_running_urb_that_is_unlinked_is_discarded_and_told_once(status: int, told: int) -> None:
    back = serving()
    after(back, submit(1), submit(2))
    assert after(back, Unlink(1, 1), Unlink(1, 1)) == [Discard(1)]
    back.completed(1, status, 4)
    assert back.take_actions() == [Send(Complete(1, 1, told, 4, 3, quiet=True))]


@pytest.mark.parametrize("actual_bytes", [0, 2])
def test_an_urb_that_a_reset_has_killed_is_told_as_usbcore_would(actual_bytes: int) -> None:
    back = serving()
    after(back, submit(1))
    back.completed(1, -errno.ENOENT, actual_bytes)
    expected = Complete(1, 1, -errno.ESHUTDOWN, actual_bytes, 1, quiet=True)
    assert back.take_actions() == [Send(expected)]


def test_a_status_of_an_urb_that_nobody_unlinked_is_not_translated() -> None:
    back = serving()
    after(back, submit(1))
    back.completed(1, -errno.ECONNRESET, 0)
    assert back.take_actions() == [Send(Complete(1, 1, -errno.ECONNRESET, 0, 1, quiet=True))]


def test_unlink_after_the_end_is_ignored() -> None:
    back = serving()
    after(back, submit(1))
    back.completed(1, 0, 4)
    back.take_actions()
    assert after(back, Unlink(1, 1), submit(2)) == [Start(submit(2))]


def test_a_local_unlink_is_dropped_without_an_answer() -> None:
    back = stopped()
    assert after(back, Unlink(1, 2, local=True), Resume(1, OUT, 1), submit(3)) == [Start(submit(3))]


def test_a_local_unlink_that_the_front_could_not_know_is_refused() -> None:
    back = serving()
    with pytest.raises(RemoteProtocolError, match="front alone"):
        after(back, submit(1), Unlink(1, 1, local=True))


def test_an_urb_that_is_older_than_its_endpoints_last_is_refused() -> None:
    back = serving()
    with pytest.raises(RemoteProtocolError, match="URB 1 was submitted behind URB 2"):
        after(back, submit(2), submit(1))


def test_endpoints_may_be_served_in_any_order_of_their_numbers() -> None:
    assert after(serving(), submit(2, OUT), submit(1, IN)) == [
        Start(submit(2, OUT)),
        Start(submit(1, IN)),
    ]


def test_the_same_urb_twice_is_refused_even_on_another_endpoint() -> None:
    back = serving()
    with pytest.raises(RemoteProtocolError, match="submitted twice"):
        after(back, submit(1), submit(1, IN))


def test_too_many_octets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_queues, "MAX_QUEUED_BYTES", 8)
    back = serving()
    after(back, submit(1), submit(2))
    with pytest.raises(RemoteProtocolError, match="More than 8 octets"):
        after(back, submit(3))


def test_too_many_urbs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_queues, "MAX_QUEUED_URBS", 2)
    back = serving()
    after(back, submit(1), submit(2))
    with pytest.raises(RemoteProtocolError, match="or 2 URBs"):
        after(back, submit(3))


def test_too_many_resets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_queues, "MAX_QUEUED_URBS", 2)
    back = serving()
    after(back, Reset(1), Reset(1))
    with pytest.raises(RemoteProtocolError, match="2 resets"):
        after(back, Reset(1))


def test_what_has_ended_makes_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_queues, "MAX_QUEUED_BYTES", 4)
    back = serving()
    for number in range(5):
        assert after(back, submit(number)) == [Start(submit(number))]
        back.completed(number, 0, 4)
        back.take_actions()


@pytest.mark.parametrize(
    ("setup", "operation"),
    [
        (SetupPacket(0x00, 0x09, 1, 0, 0), SetConfiguration(1)),
        (SetupPacket(0x01, 0x0B, 2, 3, 0), SetInterface(3, 2)),
        (SetupPacket(0x02, 0x01, 0, 0x81, 0), ClearHalt(0x81)),
    ],
)
def test_requests_of_which_the_kernel_keeps_state_are_performed(
    setup: SetupPacket, operation: Operation
) -> None:
    urb = submit(1, 0, setup=setup.pack())
    assert after(serving(), urb) == [Perform(urb, operation)]


def test_other_control_requests_go_to_the_device() -> None:
    urb = submit(1, 0x80, setup=SetupPacket(0x80, 0x06, 0x0100, 0, 18).pack())
    assert after(serving(), urb) == [Start(urb)]


def test_both_directions_of_ep0_are_one_queue() -> None:
    back = serving()
    into, out = submit(1, 0x80), submit(2, 0x00)
    assert after(back, into, out) == [Start(into)]
    back.completed(1, 0, 4)
    assert back.take_actions()[1:] == [Start(out)]


def test_both_directions_of_another_number_are_two_queues() -> None:
    assert len(after(serving(), submit(1, OUT), submit(2, IN))) == 2


def test_a_short_control_read_does_not_stop_ep0() -> None:
    back = serving()
    after(back, submit(1, 0x80), submit(2, 0x80))
    back.completed(1, -errno.EREMOTEIO, 1)
    assert back.take_actions() == [
        Send(Complete(1, 1, -errno.EREMOTEIO, 1, 0)),
        Start(submit(2, 0x80)),
    ]


def test_a_short_bulk_read_stops_its_endpoint() -> None:
    back = serving()
    after(back, submit(1, IN), submit(2, IN))
    back.completed(1, -errno.EREMOTEIO, 1)
    assert len(back.take_actions()) == 1


def test_a_reset_takes_its_turn_on_ep0_and_is_answered() -> None:
    back = serving()
    first, last = submit(1, 0), submit(2, 0)
    assert after(back, first, Reset(1), last) == [Start(first)]
    back.completed(1, 0, 4)
    assert back.take_actions()[1:] == [ResetPort()]
    back.reset_done(-errno.EIO)
    assert back.take_actions() == [Send(ResetDone(1, -errno.EIO)), Start(last)]


def test_nothing_starts_while_the_kernel_carries_something_out() -> None:
    back = serving(window=3)
    after(back, submit(1), Reset(1))
    assert after(back, submit(2)) == []
    back.completed(1, -errno.ENOENT, 0)  # the reset has killed it
    back.reset_done(0)
    assert back.take_actions() == [
        Send(Complete(1, 1, -errno.ESHUTDOWN, 0, epoch=1, quiet=True)),
        Send(ResetDone(1, 0)),
    ]
    assert after(back, Resume(1, OUT, 1)) == [Start(submit(2))]


def test_what_has_waited_for_a_reset_starts_when_it_is_done() -> None:
    back = serving()
    after(back, Reset(1))
    after(back, submit(1), submit(2, IN))
    back.reset_done(0)
    assert back.take_actions() == [
        Send(ResetDone(1, 0)),
        Start(submit(1)),
        Start(submit(2, IN)),
    ]


def test_the_end_of_a_reset_after_the_device_left_is_ignored() -> None:
    back = serving()
    after(back, Reset(1))
    back.unplugged()
    back.take_actions()
    back.reset_done(0)
    assert back.take_actions() == []


def test_the_end_of_a_reset_that_nobody_asked_for_is_ignored() -> None:
    back = serving()
    after(back, submit(1, 0))
    back.reset_done(0)
    assert back.take_actions() == []


def test_unplug_answers_all_with_one_disconnect_and_late_ends_are_ignored() -> None:
    back = serving()
    after(back, submit(1), submit(2))
    back.unplugged()
    back.completed(1, -errno.ESHUTDOWN, 0)
    assert back.take_actions() == [Send(Disconnect(1))]
    assert back.device is None


def test_what_was_to_be_done_to_a_device_is_not_done_to_the_next() -> None:
    back = serving()
    after(back, submit(1), submit(2))
    back.completed(1, 0, 4)  # and URB 2 is to be started
    back.unplugged()
    back.plugged(Speed.HIGH)
    assert back.take_actions() == [Send(Complete(1, 1, 0, 4)), Send(Disconnect(1))]


# A front end that is lost.


def orphaned(*messages: Message, window: int = 1) -> BackEnd:
    """The front end was lost after these, and the next has greeted."""
    back = serving(window)
    after(back, *messages)
    back.link_lost()
    back.take_actions()
    back.linked()
    return back


def test_a_lost_link_takes_back_what_runs_the_newest_first_and_forgets_the_rest() -> None:
    back = serving(window=2)
    after(back, submit(1), submit(2), submit(3), submit(4, IN))
    back.link_lost()
    assert back.take_actions() == [Discard(4), Discard(2), Discard(1)]
    for number in (1, 2, 3, 4):
        back.completed(number, -errno.ENOENT, 0)
    assert back.take_actions() == []


def test_a_reset_that_runs_is_not_discarded() -> None:
    back = serving()
    after(back, Reset(1))
    back.link_lost()
    assert back.take_actions() == []


@pytest.mark.parametrize(
    "message", [submit(1), Reset(1), submit(1, 0, setup=SetupPacket(0, 9, 1, 0, 0).pack())]
)
def test_what_was_to_be_done_for_a_lost_front_end_is_not_done(message: Message) -> None:
    back = serving()
    back.receive(message)
    back.link_lost()
    back.linked()
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_the_next_front_end_hears_of_the_device_when_the_controller_has_let_go_of_all() -> None:
    back = orphaned(submit(1), submit(2), submit(3, IN))
    assert back.take_actions() == []
    back.completed(3, 0, 4)
    assert back.take_actions() == []
    back.completed(1, -errno.ENOENT, 0)
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_the_next_front_end_waits_for_the_former_ones_reset() -> None:
    back = orphaned(Reset(1), submit(1))
    back.completed(1, -errno.ENOENT, 0)
    assert back.take_actions() == []
    back.reset_done(0)
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_the_next_front_end_may_use_the_former_ones_numbers() -> None:
    back = orphaned(submit(7))
    back.completed(7, -errno.ENOENT, 0)
    back.take_actions()
    assert after(back, submit(1)) == [Start(submit(1))]


def test_a_front_end_that_does_not_wait_to_be_told_is_ignored() -> None:
    back = orphaned(submit(1))
    assert after(back, submit(1), submit(2, IN), Reset(1)) == []
    back.completed(1, -errno.ENOENT, 0)
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_nobody_is_told_when_the_last_is_let_go_before_the_next_front_end_comes() -> None:
    back = serving()
    after(back, submit(1))
    back.link_lost()
    back.take_actions()
    back.completed(1, -errno.ENOENT, 0)
    assert back.take_actions() == []
    back.linked()
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_a_device_that_leaves_with_a_former_front_ends_urbs_is_never_told() -> None:
    back = orphaned(submit(1))
    back.unplugged()
    assert back.take_actions() == []
    back.plugged(Speed.SUPER)
    assert back.take_actions() == [Send(Connect(2, Speed.SUPER))]
    back.completed(1, -errno.ENOENT, 0)
    assert back.take_actions() == []


def test_a_second_front_end_that_is_lost_leaves_the_firsts_urbs_to_be_waited_for() -> None:
    back = orphaned(submit(1))
    back.link_lost()
    assert back.take_actions() == []
    back.linked()
    assert back.take_actions() == []
    back.completed(1, -errno.ENOENT, 0)
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_a_stop_of_a_lost_front_end_is_not_the_next_ones() -> None:
    back = stopped()
    back.link_lost()
    back.linked()
    back.take_actions()
    assert after(back, submit(1)) == [Start(submit(1))]
    assert back.stopped == frozenset()


def test_a_farewell_owed_by_a_lost_front_end_is_not_awaited_of_the_next() -> None:
    back = serving()
    back.unplugged()
    back.link_lost()
    back.linked()
    back.plugged(Speed.HIGH)
    assert back.take_actions() == [Send(Connect(2, Speed.HIGH))]


def test_the_end_of_a_reset_after_a_lost_link_is_told_to_nobody() -> None:
    back = serving()
    after(back, Reset(1))
    back.link_lost()
    back.reset_done(0)
    assert back.take_actions() == []


# Windows above 1.


def told(actions: list[Action]) -> list[Message]:
    return [action.message for action in actions if isinstance(action, Send)]


def deep() -> BackEnd:
    """URBs 1 to 3 are in the controller, 4 waits."""
    back = serving(window=3)
    after(back, *map(submit, range(1, 5)))
    return back


def test_what_stands_behind_others_in_the_controller_continues_them() -> None:
    assert after(serving(window=2), submit(1), submit(2), submit(3)) == [
        Start(submit(1), continues=False),
        Start(submit(2), continues=True),
    ]


@pytest.mark.parametrize("address", [0x82, 0x83, 0x00])
def test_only_bulk_endpoints_have_a_window(address: int) -> None:
    assert len(after(serving(window=2), submit(1, address), submit(2, address))) == 1


def test_a_wider_window_is_quiet_only_when_all_ended() -> None:
    back = deep()
    back.completed(1, -errno.EPROTO, 0)
    back.completed(2, 0, 4)
    back.completed(3, 0, 4)
    completes = told(back.take_actions())
    assert [m.quiet for m in completes if isinstance(m, Complete)] == [False, False, True]
    assert (back.violations, set(back.stopped)) == (2, {OUT})


def test_what_the_kernel_took_back_behind_an_error_runs_after_the_resume_in_order() -> None:
    back = deep()
    back.completed(1, -errno.EPROTO, 2)
    back.completed(3, -errno.ECONNRESET, 0)
    back.completed(2, -errno.ECONNRESET, 0)
    assert told(back.take_actions()) == [Complete(1, 1, -errno.EPROTO, 2, 1, quiet=False)]
    assert after(back, Resume(1, OUT, 1)) == [
        Start(submit(2), continues=False),
        Start(submit(3), continues=True),
        Start(submit(4), continues=True),
    ]
    assert back.violations == 0


def test_what_is_unlinked_behind_an_error_comes_back_unlinked_and_not_queued() -> None:
    back = deep()
    back.completed(1, -errno.EPROTO, 0)
    back.take_actions()
    assert after(back, Unlink(1, 3)) == [Discard(3)]
    back.completed(2, -errno.ECONNRESET, 0)
    back.completed(3, -errno.ECONNRESET, 0)
    assert told(back.take_actions()) == [Complete(1, 3, -errno.ECONNRESET, 0, 3, quiet=True)]


def test_to_take_one_back_all_behind_it_are_taken_back_first_the_newest_first() -> None:
    assert after(deep(), Unlink(1, 1)) == [Discard(3), Discard(2), Discard(1)]
    assert after(deep(), Unlink(1, 2)) == [Discard(3), Discard(2)]


def test_nothing_is_discarded_twice() -> None:
    back = deep()
    assert after(back, Unlink(1, 3)) == [Discard(3)]
    assert after(back, Unlink(1, 1)) == [Discard(2), Discard(1)]
    assert after(back, Unlink(1, 2), Unlink(1, 1), Unlink(1, 3)) == []


def test_what_was_only_taken_aside_comes_back_untouched_and_runs_after_the_resume() -> None:
    back = deep()
    after(back, Unlink(1, 1))
    for number in (3, 2, 1):
        back.completed(number, -errno.ENOENT, 0)
    assert told(back.take_actions()) == [Complete(1, 1, -errno.ECONNRESET, 0, 2, quiet=True)]
    started = after(back, Resume(1, OUT, 2))
    assert [a.urb.urb_id for a in started if isinstance(a, Start)] == [2, 3, 4]
    assert back.violations == 0


def test_a_resume_while_some_are_aside_waits_for_them() -> None:
    back = deep()
    after(back, Unlink(1, 1))
    back.completed(1, 0, 4)
    (message,) = told(back.take_actions())
    assert isinstance(message, Complete)
    assert (message.status, message.quiet) == (-errno.ECONNRESET, False)
    assert after(back, Resume(1, OUT, message.epoch)) == []
    back.completed(3, -errno.ENOENT, 0)
    assert back.take_actions() == []
    back.completed(2, -errno.ENOENT, 0)
    started = back.take_actions()
    assert [a.urb.urb_id for a in started if isinstance(a, Start)] == [2, 3, 4]


def test_what_had_begun_when_it_was_taken_aside_is_told_as_cut_off() -> None:
    back = deep()
    after(back, Unlink(1, 1))
    back.completed(2, -errno.ENOENT, 1)
    assert told(back.take_actions()) == [Complete(1, 2, -errno.EPROTO, 1, 2, quiet=False)]


@pytest.mark.parametrize("status", [0, -errno.EPIPE])
def test_what_ended_by_itself_while_it_was_taken_aside_is_told_as_it_ended(status: int) -> None:
    back = deep()
    after(back, Unlink(1, 1))
    back.completed(2, status, 0)
    (message,) = told(back.take_actions())
    assert isinstance(message, Complete)
    assert message.status == status


def test_what_is_unlinked_after_it_was_taken_aside_is_told_as_unlinked() -> None:
    back = deep()
    after(back, Unlink(1, 1))
    assert after(back, Unlink(1, 2)) == []
    back.completed(2, -errno.ENOENT, 0)
    assert told(back.take_actions()) == [Complete(1, 2, -errno.ECONNRESET, 0, 3, quiet=False)]


def test_what_came_back_from_aside_may_be_unlinked_in_the_queue() -> None:
    back = deep()
    after(back, Unlink(1, 1))
    back.completed(2, -errno.ENOENT, 0)
    back.take_actions()
    assert told(after(back, Unlink(1, 2))) == [Complete(1, 2, -errno.ECONNRESET, 0, 2, quiet=False)]


def test_an_unlink_that_comes_too_late_for_all_in_the_controller_is_no_violation() -> None:
    back = deep()
    after(back, Unlink(1, 1))
    for number in (1, 2, 3):
        back.completed(number, 0, 4)
    completes = [m for m in told(back.take_actions()) if isinstance(m, Complete)]
    assert [m.status for m in completes] == [-errno.ECONNRESET, 0, 0]
    assert back.violations == 0


def test_what_runs_behind_an_urb_that_was_taken_back_is_a_violation() -> None:
    back = deep()
    after(back, Unlink(1, 1))
    back.completed(1, -errno.ENOENT, 0)
    back.completed(2, 0, 4)
    assert back.violations == 1


def test_violations_outlive_the_device_and_the_link() -> None:
    back = deep()
    back.completed(1, -errno.EPROTO, 0)
    back.completed(2, 0, 4)
    back.link_lost()
    back.unplugged()
    assert back.violations == 1


# Policy aca.


def contingent() -> BackEnd:
    """URB 1 has failed, and 2 with it."""
    back = serving(policy=Policy.ACA)
    after(back, submit(1), submit(2))
    back.completed(1, -errno.EPIPE, 0)
    assert told(back.take_actions()) == [
        Complete(1, 1, -errno.EPIPE, 0, 1, quiet=False),
        Complete(1, 2, -errno.EPROTO, 0, 1, quiet=False),
    ]
    return back


def test_aca_fails_what_comes_and_runs_what_clears() -> None:
    back = contingent()
    assert back.stopped == {OUT}
    assert after(back, submit(3)) == [Send(Complete(1, 3, -errno.EPROTO, 0, 1))]
    assert after(back, submit(4, clear=True)) == [Start(submit(4, clear=True))]
    assert back.stopped == frozenset()


def test_aca_fails_nothing_on_other_endpoints() -> None:
    assert after(contingent(), submit(3, IN)) == [Start(submit(3, IN))]


def test_aca_fails_what_is_queued_when_one_is_unlinked() -> None:
    back = serving(policy=Policy.ACA)
    after(back, submit(1), submit(2), submit(3))
    assert after(back, Unlink(1, 2)) == [
        Send(Complete(1, 2, -errno.ECONNRESET, 0, 1)),
        Send(Complete(1, 3, -errno.EPROTO, 0, 1)),
    ]


def test_aca_runs_a_queued_urb_that_clears_when_the_one_before_it_has_failed() -> None:
    back = serving(policy=Policy.ACA)
    marked = submit(3, clear=True)
    after(back, submit(1), submit(2), marked)
    back.completed(1, -errno.EPROTO, 0)
    assert back.take_actions()[1:] == [Send(Complete(1, 2, -errno.EPROTO, 0, 1)), Start(marked)]


def test_aca_on_endpoint_0_is_cleared_by_a_port_reset() -> None:
    back = serving(policy=Policy.ACA)
    after(back, submit(1, 0))
    back.completed(1, -errno.EPIPE, 0)
    back.take_actions()
    assert after(back, Reset(1)) == [ResetPort()]


@pytest.mark.parametrize("name", ACA_STATUSES)
def test_what_aca_fails_urbs_with_can_be_chosen(name: str) -> None:
    back = BackEnd(Policy.ACA, aca_status=ACA_STATUSES[name])
    back.linked()
    back.plugged(Speed.HIGH)
    after(back, submit(1))
    back.completed(1, -errno.EPROTO, 0)
    back.take_actions()
    assert after(back, submit(2)) == [Send(Complete(1, 2, ACA_STATUSES[name], 0, 1))]


def test_aca_has_a_window_of_1() -> None:
    assert len(after(serving(window=8, policy=Policy.ACA), submit(1), submit(2))) == 1


# Policy naive.


def test_naive_gives_all_to_the_controller_and_asks_for_nothing_back() -> None:
    back = serving(policy=Policy.NAIVE)
    urbs = [submit(number) for number in range(NAIVE_WINDOW + 1)]
    assert after(back, *urbs) == [Start(urb, continues=False) for urb in urbs[:-1]]
    back.completed(0, -errno.EPROTO, 0)
    back.completed(1, 0, 4)
    assert told(back.take_actions()) == [
        Complete(1, 0, -errno.EPROTO, 0, 0),
        Complete(1, 1, 0, 4, 0),
    ]
    assert (back.violations, back.stopped) == (0, frozenset())


def test_naive_takes_back_only_what_is_unlinked() -> None:
    back = serving(policy=Policy.NAIVE)
    after(back, submit(1), submit(2), submit(3))
    assert after(back, Unlink(1, 1)) == [Discard(1)]


def test_naive_has_one_control_transfer_at_a_time() -> None:
    assert len(after(serving(policy=Policy.NAIVE), submit(1, 0), submit(2, 0))) == 1


# What one policy's front end says and another's does not.


@pytest.mark.parametrize("policy", [Policy.ACA, Policy.NAIVE])
def test_a_resume_where_the_policy_knows_none_is_refused(policy: Policy) -> None:
    with pytest.raises(RemoteProtocolError, match=f"RESUME, but the policy is {policy}"):
        after(serving(policy=policy), Resume(1, OUT, 0))


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.NAIVE])
def test_an_urb_that_clears_where_the_policy_knows_it_not_is_refused(policy: Policy) -> None:
    with pytest.raises(RemoteProtocolError, match=f"clears, but the policy is {policy}"):
        after(serving(policy=policy), submit(1, clear=True))


@pytest.mark.parametrize("policy", [Policy.ACA, Policy.NAIVE])
def test_a_local_unlink_where_nothing_is_ever_quiet_is_refused(policy: Policy) -> None:
    back = serving(policy=policy)
    with pytest.raises(RemoteProtocolError, match="front alone"):
        after(back, submit(1), submit(2), Unlink(1, 2, local=True))


def pinned_by_what_waits(data_bytes: int) -> bool:
    """Whether an URB that waits keeps the receive buffer that its data came in."""
    received = bytearray(data_bytes)
    back = serving()
    after(back, submit(1))
    back.receive(Submit(1, 2, OUT, 0, data_bytes, bytes(8), memoryview(received)))
    back.take_actions()
    try:
        received.append(0)  # refused while anybody holds a view
    except BufferError:
        return True
    return False


def test_an_urb_that_waits_keeps_no_receive_buffer_for_a_little_data() -> None:
    assert not pinned_by_what_waits(back_queues.COPIED_BYTES - 1)


def test_much_data_is_not_copied() -> None:
    assert pinned_by_what_waits(back_queues.COPIED_BYTES)


# The lane.


def test_a_device_without_a_trouble_is_lent_with_its_endpoints_and_urbs() -> None:
    back = serving()
    after(back, submit(1), submit(2), submit(3, IN))
    loan = back.lend()
    assert loan is not None
    assert loan.device == 1
    assert loan.endpoints == [
        LentEndpoint(OUT, TransferType.BULK, 0, 2),
        LentEndpoint(IN, TransferType.BULK, 0, 3),
        LentEndpoint(0x82, TransferType.INTERRUPT, 0, -1),
    ]
    assert loan.urbs == [(submit(1), True), (submit(2), False), (submit(3, IN), True)]


def unplugged() -> BackEnd:
    back = serving()
    back.unplugged()
    return back


def unknown() -> BackEnd:
    """A back end whose front end has not come yet."""
    back = BackEnd()
    back.plugged(Speed.HIGH)
    return back


def hearing(*messages: Message) -> BackEnd:
    back = serving()
    after(back, *messages)
    return back


NOT_LENT = {
    "no device": unplugged,
    "no front end": unknown,
    "an endpoint has stopped": stopped,
    "a window": lambda: serving(window=2),
    "naive": lambda: serving(policy=Policy.NAIVE),
    "aca": lambda: serving(policy=Policy.ACA),
    "endpoint 0 is busy": lambda: hearing(submit(1, 0x80)),
    "the kernel carries something out": lambda: hearing(Reset(1)),
    "an endpoint that the device does not have is busy": lambda: hearing(submit(1, 0x05)),
}


@pytest.mark.parametrize("make", NOT_LENT.values(), ids=NOT_LENT)
def test_a_device_about_which_something_is_to_be_decided_is_not_lent(
    make: Callable[[], BackEnd],
) -> None:
    assert make().lend() is None


def test_what_a_lane_has_left_goes_on_and_counts() -> None:
    back = serving()
    after(back, submit(1), submit(2), submit(3, IN))
    assert back.lend() is not None
    # The lane has told 1 and 2, has started 4, and was not able to start 5.
    back.take_back([(submit(4), True), (submit(5, IN), False)], 5)
    assert back.take_actions() == [Start(submit(5, IN))]
    back.completed(4, 0, 4)
    back.completed(5, 0, 4, b"data")
    ended = [a.message for a in back.take_actions() if isinstance(a, Send)]
    assert ended == [Complete(1, 4, 0, 4, 0), Complete(1, 5, 0, 4, 0, data=b"data")]
    assert (back._queues.queued_bytes, back._queues.open) == (0, frozenset())
    with pytest.raises(RemoteProtocolError, match="behind URB 5"):
        back.receive(submit(4))


def test_what_a_lane_has_left_is_taken_back_when_the_front_end_is_lost() -> None:
    back = serving()
    assert back.lend() is not None
    back.take_back([(submit(4), True)], 4)
    back.link_lost()
    assert back.take_actions() == [Discard(4)]
    back.linked()
    assert back.take_actions() == []
    back.completed(4, -errno.ENOENT, 0)
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


@pytest.mark.parametrize(
    ("policy", "window", "kept"),
    [
        (Policy.HOLD, 1, True),
        (Policy.HOLD, 2, False),
        (Policy.ACA, 1, True),
        (Policy.NAIVE, 1, False),
    ],
)
def test_the_order_of_completions_is_promised_where_it_is_certain(
    policy: Policy, window: int, kept: bool
) -> None:
    assert (Capability.IN_ORDER in capabilities(policy, window)) is kept
