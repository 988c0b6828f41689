from __future__ import annotations

import errno

import pytest

from rig.errors import ApiViolationError, RemoteProtocolError
from rig.splitdriver import backend
from rig.splitdriver.backend import Action, BackEnd, Discard, Perform, ResetPort, Send, Start
from rig.splitdriver.messages import (
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
)
from rig.usb.setup import ClearHalt, Operation, SetConfiguration, SetInterface, SetupPacket
from rig.usb.urb import Speed, TransferFlags

OUT, IN = 0x01, 0x81


def submit(number: int, address: int = OUT, device: int = 1, setup: bytes = bytes(8)) -> Submit:
    return Submit(device, number, address, TransferFlags.NONE, 4, setup, b"data")


def serving(window: int = 1) -> BackEnd:
    """A back end with a device that the front end knows of."""
    back = BackEnd(window)
    back.linked()
    back.plugged(Speed.HIGH)
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
    back._last_device = 0xFFFF
    back.plugged(Speed.HIGH)
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]


def test_a_farewell_that_was_not_asked_for_is_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="was not sent"):
        after(serving(), Disconnected(1))


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


def test_a_status_of_an_urb_that_nobody_unlinked_is_not_translated() -> None:
    back = serving()
    after(back, submit(1))
    back.completed(1, -errno.ENOENT, 0)
    assert back.take_actions() == [Send(Complete(1, 1, -errno.ENOENT, 0, 1, quiet=True))]


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


def test_the_same_urb_twice_is_refused_even_on_another_endpoint() -> None:
    back = serving()
    with pytest.raises(RemoteProtocolError, match="submitted twice"):
        after(back, submit(1), submit(1, IN))


def test_too_many_octets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "MAX_QUEUED_BYTES", 8)
    back = serving()
    after(back, submit(1), submit(2))
    with pytest.raises(RemoteProtocolError, match="More than 8 octets"):
        after(back, submit(3))


def test_too_many_urbs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "MAX_QUEUED_URBS", 2)
    back = serving()
    after(back, submit(1), submit(2))
    with pytest.raises(RemoteProtocolError, match="or 2 URBs"):
        after(back, submit(3))


def test_too_many_resets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "MAX_QUEUED_URBS", 2)
    back = serving()
    after(back, Reset(1), Reset(1))
    with pytest.raises(RemoteProtocolError, match="2 resets"):
        after(back, Reset(1))


def test_what_has_ended_makes_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "MAX_QUEUED_BYTES", 4)
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


def test_a_lost_link_leaves_nothing_and_names_what_runs() -> None:
    back = serving()
    after(back, submit(1), submit(2), submit(3, IN), Reset(1))
    assert back.link_lost() == [1, 3]
    back.completed(1, 0, 4)
    back.reset_done(0)
    assert back.take_actions() == []


def test_what_was_to_be_done_for_a_lost_front_end_is_not_done() -> None:
    back = serving()
    back.receive(submit(1))
    back.link_lost()
    assert back.take_actions() == []


def test_the_next_front_end_hears_of_the_device_and_may_reuse_numbers() -> None:
    back = serving()
    after(back, submit(1))
    back.link_lost()
    back.linked()
    assert back.take_actions() == [Send(Connect(1, Speed.HIGH))]
    assert after(back, submit(1)) == [Start(submit(1))]


def test_a_farewell_owed_by_a_lost_front_end_is_not_awaited_of_the_next() -> None:
    back = serving()
    back.unplugged()
    back.link_lost()
    back.linked()
    back.plugged(Speed.HIGH)
    assert back.take_actions() == [Send(Connect(2, Speed.HIGH))]


def test_a_wider_window_starts_more_and_is_quiet_only_when_all_ended() -> None:
    back = serving(window=2)
    assert after(back, submit(1), submit(2), submit(3)) == [Start(submit(1)), Start(submit(2))]
    back.completed(1, -errno.EPROTO, 0)
    back.completed(2, 0, 4)
    quiet = [a.message.quiet for a in back.take_actions() if isinstance(a, Send)]  # type: ignore[union-attr]
    assert quiet == [False, True]
