from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from rig.errors import RemoteProtocolError
from rig.splitdriver.frontend import (
    Action,
    AnswerUnlink,
    Fence,
    FrontEnd,
    GiveBack,
    OpenUrb,
    Plug,
    Send,
    Unplug,
)
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
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
)
from rig.splitdriver.policy import Policy
from rig.usb.setup import SetupPacket
from rig.usb.urb import MAX_TRANSFER_BYTES, Speed, TransferFlags
from rig.usb.usbip import CmdSubmit, CmdUnlink

OUT, IN = 0x01, 0x81
SET_CONFIGURATION = SetupPacket(0x00, 0x09, 1, 0, 0).pack()


def command(
    seqnum: int, address: int = OUT, setup: bytes = bytes(8), length: int = 4, packets: int = 0
) -> CmdSubmit:
    return CmdSubmit(seqnum, 1, address, 0, length, packets, 0, setup)


def descriptor(length: int) -> bytes:
    return SetupPacket(0x80, 0x06, 0x0100, 0, length).pack()


def plugged(
    speed: Speed = Speed.HIGH,
    policy: Policy = Policy.HOLD,
    capabilities: Capability = ALL_CAPABILITIES,
) -> FrontEnd:
    """A front end that shows a device."""
    front = FrontEnd(policy, capabilities)
    front.receive(Connect(1, speed))
    front.take_actions()
    return front


def queue(front: FrontEnd, *commands: CmdSubmit) -> list[Action]:
    """What the front end does when the kernel queues these URBs."""
    for one in commands:
        front.submit(one, b"data"[: one.payload_bytes])
    return front.take_actions()


def unlink(front: FrontEnd, seqnum: int, target: int) -> list[Action]:
    """What the front end does when the kernel wants this URB back."""
    front.unlink(CmdUnlink(seqnum, 1, target))
    return front.take_actions()


def hear(front: FrontEnd, *messages: Message) -> list[Action]:
    """What the front end does when the back end says this."""
    for message in messages:
        front.receive(message)
    return front.take_actions()


def passed(front: FrontEnd) -> list[Action]:
    """What the front end does when the round of the fence is over."""
    front.fence_passed()
    return front.take_actions()


def failed(quiet: bool = True, capabilities: Capability = ALL_CAPABILITIES) -> FrontEnd:
    """A front end whose URB 1 of three has failed; a round of the fence is under way."""
    front = plugged(capabilities=capabilities)
    queue(front, command(1), command(2), command(3))
    hear(front, Complete(1, 1, -errno.EPROTO, 0, 1, quiet))
    return front


def test_a_connected_device_is_plugged_in() -> None:
    assert hear(FrontEnd(), Connect(4, Speed.SUPER)) == [Plug(4, Speed.SUPER)]


def test_a_second_device_in_the_port_is_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="second device"):
        hear(plugged(), Connect(2, Speed.HIGH))


def test_a_disconnect_is_answered_and_the_port_unplugged() -> None:
    assert hear(plugged(), Disconnect(1)) == [Send(Disconnected(1)), Unplug()]


@pytest.mark.parametrize(
    "message",
    [Disconnect(2), Complete(2, 1, 0, 0), ResetDone(2, 0)],
    ids=lambda m: type(m).__name__,
)
def test_talk_of_another_device_is_the_peers_fault(message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match="device 2, not 1"):
        hear(plugged(), message)


def test_what_only_a_front_end_says_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="must not send Ping"):
        hear(plugged(), Ping(1))


def test_a_lost_link_is_an_unplug() -> None:
    front = plugged()
    queue(front, command(1))
    front.link_lost()
    assert front.take_actions() == [Unplug()]


def test_a_device_that_cannot_be_shown_any_longer_is_let_go_of() -> None:
    front = plugged()
    queue(front, command(1))
    assert front.let_go()
    assert front.take_actions() == [Send(Disconnected(1)), Unplug()]


@pytest.mark.parametrize(
    "late",
    [Complete(1, 1, 0, 4), Complete(1, 9, -errno.EPROTO, 0, 1), ResetDone(1, 0), Disconnect(1)],
    ids=repr,
)
def test_what_was_said_before_it_was_known_is_not_answered(late: Message) -> None:
    front = plugged()
    queue(front, command(1))
    front.let_go()
    front.take_actions()
    assert hear(front, late) == []


def test_a_device_of_which_it_had_let_go_is_shown_when_it_is_told_anew() -> None:
    front = plugged()
    front.let_go()
    assert hear(front, Connect(2, Speed.HIGH))[-1] == Plug(2, Speed.HIGH)
    with pytest.raises(RemoteProtocolError, match="device 1, not 2"):
        hear(front, Disconnect(1))


def test_a_device_is_not_let_go_of_twice() -> None:
    front = plugged()
    front.let_go()
    front.take_actions()
    assert front.let_go()
    assert front.take_actions() == []


def test_a_back_end_that_does_not_know_of_it_cannot_be_told() -> None:
    front = plugged(capabilities=ALL_CAPABILITIES & ~Capability.LET_GO)
    assert not front.let_go()
    assert front.take_actions() == []


def test_a_lost_link_without_a_device_is_nothing() -> None:
    front = FrontEnd()
    front.link_lost()
    assert front.take_actions() == []


def test_an_urb_is_submitted_with_the_flags_that_mean_something_there() -> None:
    kernels = CmdSubmit(1, 1, IN, 0x40281, 512, 0, 0, bytes(8))
    flags = TransferFlags.SHORT_NOT_OK  # and not NO_INTERRUPT: no next one is in the controller
    assert queue(plugged(), kernels) == [Send(Submit(1, 1, IN, flags, 512, bytes(8), b""))]


def test_out_data_travel_with_the_submit() -> None:
    (action,) = queue(plugged(), command(1))
    assert isinstance(action, Send)
    assert isinstance(action.message, Submit)
    assert action.message.data == b"data"


def test_an_urb_without_a_device_is_given_back_at_once() -> None:
    assert queue(FrontEnd(), command(1)) == [GiveBack(1, -errno.ENODEV, 0)]


@pytest.mark.parametrize(
    "refused", [command(1, IN, packets=1), command(1, IN, length=MAX_TRANSFER_BYTES + 1)]
)
def test_what_cannot_be_carried_is_refused_and_not_half_done(refused: CmdSubmit) -> None:
    assert queue(plugged(), refused) == [GiveBack(1, -errno.EINVAL, 0)]


def test_the_largest_transfer_is_carried() -> None:
    assert isinstance(queue(plugged(), command(1, IN, length=MAX_TRANSFER_BYTES))[0], Send)


def test_a_success_is_given_back_with_its_data_and_without_a_fence() -> None:
    front = plugged()
    queue(front, command(1, IN))
    assert hear(front, Complete(1, 1, 0, 2, data=b"in")) == [GiveBack(1, 0, 2, b"in")]


def test_a_completion_of_what_is_not_open_is_the_peers_fault() -> None:
    front = plugged()
    queue(front, command(1))
    hear(front, Complete(1, 1, 0, 4))
    with pytest.raises(RemoteProtocolError, match="is not open"):
        hear(front, Complete(1, 1, 0, 4))


@pytest.mark.parametrize(
    ("address", "actual_bytes", "data"), [(IN, 5, b"12345"), (IN, 2, b""), (OUT, 4, b"data")]
)
def test_a_completion_with_other_data_than_moved_is_the_peers_fault(
    address: int, actual_bytes: int, data: bytes
) -> None:
    front = plugged()
    queue(front, command(1, address))
    with pytest.raises(RemoteProtocolError, match="came back with"):
        hear(front, Complete(1, 1, 0, actual_bytes, data=data))


def test_a_failure_is_given_back_and_fenced() -> None:
    front = plugged()
    queue(front, command(1))
    failure = Complete(1, 1, -errno.EPROTO, 2, 1, quiet=True)
    assert hear(front, failure) == [GiveBack(1, -errno.EPROTO, 2), Fence()]


def test_resume_follows_a_round_that_brought_nothing_and_names_the_epoch() -> None:
    assert passed(failed()) == [Send(Resume(1, OUT, 1))]


def test_one_stop_is_resumed_once() -> None:
    front = failed()
    assert passed(front) != []
    assert passed(front) == []


def test_a_round_that_nobody_asked_for_says_nothing() -> None:
    assert passed(plugged()) == []


def test_a_round_that_ends_after_the_device_left_says_nothing() -> None:
    front = failed()
    hear(front, Disconnect(1))
    assert passed(front) == []


def test_a_round_that_brought_an_unlink_is_followed_by_another() -> None:
    front = failed()
    unlink(front, 4, 2)  # given back after the round had begun
    assert passed(front) == [Fence()]
    assert passed(front) == [Send(Resume(1, OUT, 1))]


def test_submits_of_the_handler_need_no_further_round() -> None:
    front = failed()
    queue(front, command(4))
    assert passed(front) == [Send(Resume(1, OUT, 1))]


def test_an_unlink_behind_a_quiet_stop_is_answered_here() -> None:
    front = failed()
    assert passed(front) == [Send(Resume(1, OUT, 1))]
    front = failed()
    assert unlink(front, 4, 2) == [
        Send(Unlink(1, 2, local=True)),
        GiveBack(2, -errno.ECONNRESET, 0),
        AnswerUnlink(4),
    ]


def test_several_unlinks_of_one_round_share_the_next() -> None:
    front = failed()
    assert Fence() not in unlink(front, 4, 2)
    assert Fence() not in unlink(front, 5, 3)
    assert passed(front) == [Fence()]
    assert passed(front) == [Send(Resume(1, OUT, 1))]


def test_an_unlink_behind_a_stop_that_is_not_quiet_is_asked_of_the_back_end() -> None:
    assert unlink(failed(quiet=False), 4, 2) == [Send(Unlink(1, 2))]


def test_an_unlink_after_resume_is_asked_of_the_back_end() -> None:
    front = failed()
    passed(front)
    assert unlink(front, 4, 2) == [Send(Unlink(1, 2))]


def test_without_the_capability_every_unlink_is_asked_of_the_back_end() -> None:
    front = failed(capabilities=Capability.PORT_RESET)
    assert unlink(front, 4, 2) == [Send(Unlink(1, 2))]
    assert passed(front) == []
    assert hear(front, Complete(1, 2, -errno.ECONNRESET, 0, 2, quiet=True)) == [
        GiveBack(2, -errno.ECONNRESET, 0),
        AnswerUnlink(4),
        Fence(),
    ]
    assert passed(front) == [Send(Resume(1, OUT, 2))]


def test_resume_waits_for_unlinks_that_are_not_answered() -> None:
    front = failed(quiet=False)
    unlink(front, 4, 2)
    assert passed(front) == []
    assert hear(front, Complete(1, 2, -errno.ECONNRESET, 0, 2, quiet=True)) == [
        GiveBack(2, -errno.ECONNRESET, 0),
        AnswerUnlink(4),
        Fence(),
    ]
    assert passed(front) == [Send(Resume(1, OUT, 2))]


def test_resume_waits_for_every_unlink_of_the_endpoint() -> None:
    front = failed(quiet=False)
    unlink(front, 4, 2)
    unlink(front, 5, 3)
    passed(front)
    assert Fence() not in hear(front, Complete(1, 3, -errno.ECONNRESET, 0, 2))
    assert hear(front, Complete(1, 2, -errno.ECONNRESET, 0, 3, quiet=True))[-1] == Fence()
    assert passed(front) == [Send(Resume(1, OUT, 3))]


def test_an_unlink_that_is_answered_during_a_round_is_not_known_to_be_done_with() -> None:
    front = failed(quiet=False)
    unlink(front, 4, 2)
    # Its handler may run on behind this round's first part: there is another round for it.
    assert Fence() not in hear(front, Complete(1, 2, -errno.ECONNRESET, 0, 2, quiet=True))
    assert passed(front) == [Fence()]
    assert passed(front) == [Send(Resume(1, OUT, 2))]


def test_a_further_stop_during_a_round_is_resumed_by_the_next() -> None:
    front = failed(quiet=False)
    assert Fence() not in hear(front, Complete(1, 2, -errno.EPROTO, 0, 2, quiet=True))
    assert passed(front) == [Fence()]
    assert passed(front) == [Send(Resume(1, OUT, 2))]


def test_what_only_ended_during_a_round_begins_another() -> None:
    front = failed(quiet=False)
    hear(front, Complete(1, 2, 0, 4, 1, quiet=True))
    assert passed(front) == [Fence()]
    assert passed(front) == [Send(Resume(1, OUT, 1))]


def both_failed() -> FrontEnd:
    """An OUT and then an IN endpoint have stopped; the round is about the first."""
    front = plugged()
    queue(front, command(1), command(2, IN), command(3, IN))
    assert hear(front, Complete(1, 1, -errno.EPROTO, 0, 1, quiet=True))[-1] == Fence()
    assert Fence() not in hear(front, Complete(1, 2, -errno.EPIPE, 0, 1, quiet=True))
    return front


def test_an_endpoint_that_stops_during_anothers_round_gets_its_own() -> None:
    front = both_failed()
    assert passed(front) == [Send(Resume(1, OUT, 1)), Fence()]
    assert passed(front) == [Send(Resume(1, IN, 1))]


def test_endpoints_that_stopped_before_a_round_are_resumed_by_it_together() -> None:
    front = plugged()
    queue(front, command(1), command(2, IN))
    unlink(front, 3, 1)
    hear(front, Complete(1, 1, -errno.ECONNRESET, 0, 1, quiet=True))
    hear(front, Complete(1, 2, -errno.EPIPE, 0, 1, quiet=True))
    assert passed(front) == [Send(Resume(1, OUT, 1)), Fence()]
    assert passed(front) == [Send(Resume(1, IN, 1))]


def test_an_unlink_on_one_endpoint_does_not_hold_up_another() -> None:
    front = both_failed()
    unlink(front, 4, 3)
    assert passed(front) == [Send(Resume(1, OUT, 1)), Fence()]
    assert passed(front) == [Send(Resume(1, IN, 1))]


def test_an_endpoint_that_waits_for_an_unlink_does_not_start_rounds_for_nothing() -> None:
    front = plugged()
    queue(front, command(1), command(2), command(3, IN))
    hear(front, Complete(1, 1, -errno.EPROTO, 0, 1, quiet=False))
    unlink(front, 4, 2)
    assert passed(front) == []  # and none is under way now
    assert hear(front, Complete(1, 3, -errno.EPIPE, 0, 1, quiet=True))[-1] == Fence()
    assert passed(front) == [Send(Resume(1, IN, 1))]


def test_a_completion_on_its_way_when_resume_was_sent_is_not_a_new_quiet() -> None:
    front = failed(quiet=False)
    passed(front)
    hear(front, Complete(1, 2, 0, 4, 1, quiet=True))
    assert unlink(front, 4, 3) == [Send(Unlink(1, 3))]


def test_a_success_of_a_resumed_endpoint_needs_no_fence() -> None:
    front = failed()
    passed(front)
    assert hear(front, Complete(1, 2, 0, 4, 1)) == [GiveBack(2, 0, 4)]


def test_an_unlink_of_what_was_given_back_is_answered() -> None:
    front = plugged()
    queue(front, command(1))
    hear(front, Complete(1, 1, 0, 4))
    assert unlink(front, 2, 1) == [AnswerUnlink(2)]


def test_a_second_unlink_of_an_urb_is_answered_and_not_sent() -> None:
    front = plugged()
    queue(front, command(1))
    unlink(front, 2, 1)
    assert unlink(front, 3, 1) == [AnswerUnlink(3)]


def test_an_unlink_without_a_device_is_answered() -> None:
    front = FrontEnd()
    queue(front, command(1))
    assert unlink(front, 2, 1) == [AnswerUnlink(2)]


def replugged(front: FrontEnd) -> FrontEnd:
    """The same front end with another device."""
    hear(front, Disconnect(1), Connect(2, Speed.HIGH))
    return front


def test_a_stop_of_the_former_device_is_not_the_next_ones() -> None:
    front = replugged(failed())
    queue(front, command(11))
    assert hear(front, Complete(2, 11, 0, 4)) == [GiveBack(11, 0, 4)]


def test_urbs_of_the_former_device_are_not_completed_on_the_next() -> None:
    front = plugged()
    queue(front, command(1))
    with pytest.raises(RemoteProtocolError, match="is not open"):
        hear(replugged(front), Complete(2, 1, 0, 4))


def test_a_round_about_the_former_device_says_nothing_of_the_next() -> None:
    front = replugged(failed())
    queue(front, command(11))
    assert hear(front, Complete(2, 11, -errno.EPROTO, 0, 1, quiet=True))[-1] == Fence()
    assert passed(front) == [Send(Resume(2, OUT, 1))]


# COMPLETEs that overtook one another on the link.


def test_a_completion_behind_a_later_stop_of_its_endpoint_is_the_links_fault() -> None:
    front = failed(quiet=False)
    with pytest.raises(RemoteProtocolError, match=r"URB 2 .* in epoch 0 .* behind epoch 1"):
        hear(front, Complete(1, 2, 0, 4, 0))


def test_a_completion_that_says_of_a_quiet_endpoint_that_it_is_not_is_the_links_fault() -> None:
    front = failed()
    unlink(front, 4, 2)
    with pytest.raises(RemoteProtocolError, match=r"URB 3 .* quiet and was not resumed"):
        hear(front, Complete(1, 3, -errno.ECONNRESET, 0, 2))


@pytest.mark.parametrize("status", [0, -errno.EPROTO, -errno.ECONNRESET])
def test_what_is_completed_before_an_older_one_is_the_links_fault(status: int) -> None:
    front = plugged()
    queue(front, command(1), command(2))
    epoch = int(status != 0)
    with pytest.raises(RemoteProtocolError, match="URB 2 was completed before URB 1"):
        hear(front, Complete(1, 2, status, 0, epoch))


@pytest.mark.parametrize(("status", "moved"), [(0, 0), (-errno.ECONNRESET, 4), (-errno.EPROTO, 0)])
def test_what_was_asked_for_has_not_run_before_an_older_one(status: int, moved: int) -> None:
    front = plugged()
    queue(front, command(1), command(2))
    unlink(front, 3, 2)
    with pytest.raises(RemoteProtocolError, match="URB 2 was completed before URB 1"):
        hear(front, Complete(1, 2, status, moved, 1))


def test_what_was_asked_for_may_come_back_before_an_older_one_untouched() -> None:
    front = plugged()
    queue(front, command(1), command(2))
    unlink(front, 3, 2)
    assert hear(front, Complete(1, 2, -errno.ECONNRESET, 0, 1))[:2] == [
        GiveBack(2, -errno.ECONNRESET, 0),
        AnswerUnlink(3),
    ]
    assert hear(front, Complete(1, 1, 0, 4, 1, quiet=True)) == [GiveBack(1, 0, 4)]


def test_what_aca_fails_may_come_back_before_an_older_one_but_not_what_ran() -> None:
    front = plugged(policy=Policy.ACA)
    queue(front, *map(command, range(1, 5)))
    hear(front, Complete(1, 3, -errno.EPROTO, 0, 1))
    with pytest.raises(RemoteProtocolError, match="URB 4 was completed before URB 1"):
        hear(front, Complete(1, 4, 0, 4, 1))


def test_completions_of_different_endpoints_have_no_order() -> None:
    front = plugged()
    queue(front, command(1), command(2, IN))
    assert hear(front, Complete(1, 2, 0, 4, data=b"data")) == [GiveBack(2, 0, 4, b"data")]


def test_both_directions_of_ep0_have_one_order() -> None:
    front = plugged()
    queue(front, command(1, 0x80, descriptor(18)), command(2, 0x00))
    with pytest.raises(RemoteProtocolError, match="URB 2 was completed before URB 1"):
        hear(front, Complete(1, 2, 0, 4))


def test_a_back_end_that_promises_no_order_may_complete_in_any() -> None:
    front = plugged(capabilities=ALL_CAPABILITIES & ~Capability.IN_ORDER)
    queue(front, command(1), command(2))
    assert hear(front, Complete(1, 2, 0, 4), Complete(1, 1, 0, 4)) == [
        GiveBack(2, 0, 4),
        GiveBack(1, 0, 4),
    ]


def test_what_a_lane_has_left_is_in_order_still() -> None:
    front = plugged()
    queue(front, command(1), command(2))
    front.take_back([OpenUrb(2, OUT, 4), OpenUrb(3, OUT, 4)])
    with pytest.raises(RemoteProtocolError, match="URB 3 was completed before URB 2"):
        hear(front, Complete(1, 3, 0, 4))


# Policy aca.


def contingent() -> FrontEnd:
    """URB 1 has failed on the back end, and 2 with it; 3 is on its way there."""
    front = plugged(policy=Policy.ACA)
    queue(front, command(1), command(2), command(3))
    assert hear(front, Complete(1, 1, -errno.EPROTO, 0, 1))[-1] == Fence()
    hear(front, Complete(1, 2, -errno.EPROTO, 0, 1))
    return front


def clears(actions: list[Action]) -> list[bool]:
    """Which of the submits that are sent carry the mark."""
    messages = [a.message for a in actions if isinstance(a, Send)]
    return [m.clear for m in messages if isinstance(m, Submit)]


def test_aca_clears_with_the_first_urb_after_the_endpoint_has_gone_idle() -> None:
    front = contingent()
    hear(front, Complete(1, 3, -errno.EPROTO, 0, 1))
    assert passed(front) == [Fence()]
    assert passed(front) == []
    assert clears(queue(front, command(4), command(5))) == [True, False]


def test_aca_does_not_clear_while_an_urb_is_open() -> None:
    front = contingent()
    assert passed(front) == [Fence()]
    assert passed(front) == []
    assert clears(queue(front, command(4))) == [False]
    # When the last has failed there is another round, and only then the mark.
    assert hear(front, Complete(1, 3, -errno.EPROTO, 0, 1))[-1] == Fence()
    hear(front, Complete(1, 4, -errno.EPROTO, 0, 1))
    assert [passed(front), passed(front)] == [[Fence()], []]
    assert clears(queue(front, command(5))) == [True]


def test_aca_does_not_clear_before_the_clients_handlers_have_returned() -> None:
    front = contingent()
    hear(front, Complete(1, 3, -errno.EPROTO, 0, 1))
    assert clears(queue(front, command(4))) == [False]


def test_aca_clears_each_endpoint_by_itself() -> None:
    front = contingent()
    hear(front, Complete(1, 3, -errno.EPROTO, 0, 1))
    passed(front)
    passed(front)
    assert clears(queue(front, command(4, IN), command(5))) == [False, True]


def test_aca_asks_the_back_end_about_every_unlink() -> None:
    assert unlink(contingent(), 4, 3) == [Send(Unlink(1, 3))]


def test_aca_marks_no_urb_that_is_refused_here() -> None:
    front = contingent()
    hear(front, Complete(1, 3, -errno.EPROTO, 0, 1))
    passed(front)
    passed(front)
    assert clears(queue(front, command(4, packets=1), command(5))) == [True]


# Policy naive.


def test_naive_needs_no_fence() -> None:
    front = plugged(policy=Policy.NAIVE)
    queue(front, command(1), command(2))
    failure = Complete(1, 1, -errno.EPROTO, 0, 0)
    assert hear(front, failure) == [GiveBack(1, -errno.EPROTO, 0)]
    assert unlink(front, 3, 2) == [Send(Unlink(1, 2))]
    assert hear(front, Complete(1, 2, -errno.ECONNRESET, 0, 0)) == [
        GiveBack(2, -errno.ECONNRESET, 0),
        AnswerUnlink(3),
    ]


@pytest.mark.parametrize(("speed", "length"), [(Speed.HIGH, 64), (Speed.SUPER, 8)])
def test_a_port_reset_is_recognised_and_sent_before_what_told_of_it(
    speed: Speed, length: int
) -> None:
    front = plugged(speed)
    queue(front, command(1, 0, SET_CONFIGURATION, 0))
    reset, request = queue(front, command(2, 0x80, descriptor(length), length))
    assert reset == Send(Reset(1))
    assert isinstance(request, Send)
    assert isinstance(request.message, Submit)


def test_the_first_requests_to_a_new_device_are_no_reset() -> None:
    assert len(queue(plugged(), command(1, 0x80, descriptor(64), 64))) == 1


def test_a_device_that_was_plugged_anew_is_not_configured() -> None:
    front = plugged()
    queue(front, command(1, 0, SET_CONFIGURATION, 0))
    hear(front, Disconnect(1), Connect(2, Speed.HIGH))
    assert len(queue(front, command(2, 0x80, descriptor(64), 64))) == 1


def test_other_requests_to_a_configured_device_are_no_reset() -> None:
    front = plugged()
    queue(front, command(1, 0, SET_CONFIGURATION, 0))
    assert len(queue(front, command(2, 0x80, descriptor(18), 18))) == 1


def test_data_that_look_like_a_request_are_no_reset() -> None:
    front = plugged()
    queue(front, command(1, 0, SET_CONFIGURATION, 0))
    assert len(queue(front, command(2, IN, descriptor(64), 64))) == 1


def test_the_end_of_a_reset_needs_no_action() -> None:
    assert hear(plugged(), ResetDone(1, 0)) == []


def test_a_reset_is_not_sent_to_a_back_end_that_cannot() -> None:
    front = plugged(capabilities=Capability.LOCAL_UNLINK)
    queue(front, command(1, 0, SET_CONFIGURATION, 0))
    assert len(queue(front, command(2, 0x80, descriptor(64), 64))) == 1


def test_both_directions_of_ep0_are_resumed_as_one() -> None:
    front = plugged()
    queue(front, command(1, 0x80, descriptor(18), 18), command(2, 0x00, length=0))
    hear(front, Complete(1, 1, -errno.EPIPE, 0, 1, quiet=True))
    assert unlink(front, 3, 2)[0] == Send(Unlink(1, 2, local=True))
    passed(front)
    assert passed(front) == [Send(Resume(1, 0, 1))]


# The lane.


def test_a_device_without_a_trouble_is_lent_with_its_open_urbs() -> None:
    front = plugged()
    queue(front, command(1), command(2, IN))
    loan = front.lend()
    assert loan is not None
    assert (loan.device, sorted(loan.epochs)) == (1, [(OUT, 0), (IN, 0)])
    assert loan.urbs == [OpenUrb(1, OUT, 4), OpenUrb(2, IN, 4)]


def test_an_endpoint_is_lent_with_the_epoch_of_its_last_stop() -> None:
    front = failed()
    assert passed(front) == [Send(Resume(1, OUT, 1))]
    loan = front.lend()
    assert loan is not None
    assert loan.epochs == [(OUT, 1)]


def unlinking() -> FrontEnd:
    front = plugged()
    queue(front, command(1))
    unlink(front, 2, 1)
    return front


def waiting(address: int) -> FrontEnd:
    front = plugged()
    queue(front, command(1, address))
    return front


def stood_still() -> FrontEnd:
    """An endpoint stands still, and no round is under way: an unlink has not been answered."""
    front = failed(capabilities=Capability.NONE)
    unlink(front, 4, 2)
    assert passed(front) == []
    return front


NOT_LENT = {
    "no device": FrontEnd,
    "naive": lambda: plugged(policy=Policy.NAIVE),
    "aca": lambda: plugged(policy=Policy.ACA),
    "a round of the fence": failed,
    "an endpoint stands still": stood_still,
    "an unlink": unlinking,
    "endpoint 0 is busy": lambda: waiting(0x80),
}


@pytest.mark.parametrize("make", NOT_LENT.values(), ids=NOT_LENT)
def test_a_device_about_which_something_is_to_be_decided_is_not_lent(
    make: Callable[[], FrontEnd],
) -> None:
    assert make().lend() is None


def test_what_a_lane_has_left_is_open_and_nothing_else_is() -> None:
    front = plugged()
    queue(front, command(1), command(2, IN))
    assert front.lend() is not None
    front.take_back([OpenUrb(2, IN, 4), OpenUrb(5, 0x02, 8)])
    assert hear(front, Complete(1, 5, 0, 8)) == [GiveBack(5, 0, 8)]
    assert hear(front, Complete(1, 2, 0, 2, data=b"in")) == [GiveBack(2, 0, 2, b"in")]
    with pytest.raises(RemoteProtocolError, match="URB 1 was completed, but is not open"):
        hear(front, Complete(1, 1, 0, 4))


def test_what_fails_behind_a_lane_is_fenced_as_ever() -> None:
    front = plugged()
    front.take_back([OpenUrb(5, OUT, 8), OpenUrb(6, OUT, 8)])
    told = hear(front, Complete(1, 5, -errno.EPROTO, 0, 1, quiet=True))
    assert told == [GiveBack(5, -errno.EPROTO, 0), Fence()]
    assert unlink(front, 7, 6)[:2] == [Send(Unlink(1, 6, local=True)), GiveBack(6, -104, 0)]
