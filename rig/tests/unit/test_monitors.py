"""The monitors: each rule is seen broken, and nothing is said of what is right."""

from __future__ import annotations

import errno
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.integrity.monitors.breach import Breach, Rule
from rig.integrity.monitors.merge import merged
from rig.integrity.monitors.run import watch
from rig.usb.urblog import Kind, Place, UrbEvent

DEVICE = 1
IN, OUT = 0x81, 0x01
EPROTO, UNLINKED = -errno.EPROTO, -errno.ECONNRESET


def front(kind: Kind, urb: int = 0, endpoint: int = OUT, **fields: int) -> UrbEvent:
    fields = {"device": DEVICE, **fields}
    return UrbEvent(kind, Place.FRONT, urb=urb, endpoint=endpoint, **fields)


def back(kind: Kind, urb: int = 0, endpoint: int = OUT, **fields: int) -> UrbEvent:
    fields = {"device": DEVICE, **fields}
    return UrbEvent(kind, Place.BACK, urb=urb, endpoint=endpoint, **fields)


def rules(*events: UrbEvent, window: int = 1, holds: bool = True) -> list[Rule]:
    return [breach.rule for breach in breaches(*events, window=window, holds=holds)]


def breaches(*events: UrbEvent, window: int = 1, holds: bool = True) -> list[Breach]:
    return watch(events, window, holds=holds)


def submitted(*urbs: int) -> list[UrbEvent]:
    """URBs of 512 octets each that the back end has got."""
    return [back(Kind.SUBMIT, urb, length_bytes=512) for urb in urbs]


def ran(urb: int, status: int = 0, moved: int = 512, epoch: int = 0) -> list[UrbEvent]:
    return [
        back(Kind.START, urb, length_bytes=512),
        *ended(urb, status, moved, epoch),
    ]


def ended(urb: int, status: int = 0, moved: int = 512, epoch: int = 0) -> list[UrbEvent]:
    return [
        back(Kind.END, urb, status=status, length_bytes=moved),
        back(Kind.GIVEBACK, urb, status=status, length_bytes=moved, epoch=epoch),
    ]


# The front end.


def test_urbs_that_come_back_once_are_well() -> None:
    assert not rules(
        front(Kind.SUBMIT, 1), front(Kind.SUBMIT, 2), front(Kind.GIVEBACK, 1),
        front(Kind.GIVEBACK, 2),
    )  # fmt: skip


def test_an_urb_that_comes_back_twice_is_told() -> None:
    told = breaches(front(Kind.SUBMIT, 1), front(Kind.GIVEBACK, 1), front(Kind.GIVEBACK, 1))
    assert [(each.rule, each.at, each.urb) for each in told] == [(Rule.ONE_COMPLETION, 2, 1)]
    assert told[0].text == "URB 1 was given back, but is not open."


def test_an_urb_that_never_comes_back_is_told_at_the_end() -> None:
    told = breaches(front(Kind.SUBMIT, 1))
    assert [(each.rule, each.at) for each in told] == [(Rule.ONE_COMPLETION, 1)]


def test_an_urb_that_overtakes_another_is_told() -> None:
    events = [front(Kind.SUBMIT, 1), front(Kind.SUBMIT, 2), front(Kind.GIVEBACK, 2)]
    assert rules(*events, front(Kind.GIVEBACK, 1)) == [Rule.ORDER]


def test_an_urb_may_overtake_one_of_another_endpoint() -> None:
    assert not rules(
        front(Kind.SUBMIT, 1), front(Kind.SUBMIT, 2, IN), front(Kind.GIVEBACK, 2, IN),
        front(Kind.GIVEBACK, 1),
    )  # fmt: skip


def test_both_directions_of_endpoint_0_are_one_queue() -> None:
    events = [front(Kind.SUBMIT, 1, 0x80), front(Kind.SUBMIT, 2, 0x00)]
    events += [front(Kind.GIVEBACK, 2, 0x00), front(Kind.GIVEBACK, 1, 0x80)]
    assert rules(*events) == [Rule.ORDER]


def test_an_unlinked_urb_may_come_back_first() -> None:
    assert not rules(
        front(Kind.SUBMIT, 1), front(Kind.SUBMIT, 2), front(Kind.UNLINK, 2),
        front(Kind.GIVEBACK, 2, status=UNLINKED), front(Kind.ANSWER, 2), front(Kind.GIVEBACK, 1),
    )  # fmt: skip


def test_an_unlink_that_is_answered_before_its_urb_comes_back_is_told() -> None:
    events = [front(Kind.SUBMIT, 1), front(Kind.UNLINK, 1), front(Kind.ANSWER, 1)]
    assert rules(*events, front(Kind.GIVEBACK, 1, status=UNLINKED)) == [Rule.ONE_COMPLETION]


@pytest.mark.parametrize("answers", [0, 2])
def test_an_unlink_is_answered_once(answers: int) -> None:
    events = [front(Kind.SUBMIT, 1), front(Kind.UNLINK, 1), front(Kind.GIVEBACK, 1)]
    assert rules(*events, *[front(Kind.ANSWER, 1)] * answers) == [Rule.ONE_COMPLETION]


def test_more_than_was_asked_for_is_told() -> None:
    events = [front(Kind.SUBMIT, 1, IN, length_bytes=512)]
    assert rules(*events, front(Kind.GIVEBACK, 1, IN, length_bytes=513)) == [Rule.LENGTH]


def test_what_is_open_when_the_device_goes_needs_no_giveback() -> None:
    assert not rules(front(Kind.UP), front(Kind.SUBMIT, 1), front(Kind.DOWN))


def test_a_giveback_behind_the_devices_going_is_told() -> None:
    events = [front(Kind.UP), front(Kind.SUBMIT, 1), front(Kind.DOWN), front(Kind.GIVEBACK, 1)]
    assert rules(*events) == [Rule.PORT_DOWN]


# The back end.


def test_urbs_that_run_one_after_the_other_are_well() -> None:
    assert not rules(*submitted(1, 2), *ran(1), *ran(2))


def test_an_urb_that_runs_before_another_is_told() -> None:
    assert rules(*submitted(1, 2), *ran(2), *ran(1)) == [Rule.ORDER]


def test_an_urb_that_runs_twice_is_told() -> None:
    events = [*submitted(1), back(Kind.START, 1), back(Kind.END, 1)]
    assert rules(*events, *ran(1)) == [Rule.ONE_COMPLETION]


def test_an_urb_that_was_taken_back_untouched_may_run_again() -> None:
    events = [*submitted(1), back(Kind.START, 1), back(Kind.END, 1, status=UNLINKED)]
    assert not rules(*events, *ran(1))


def test_more_urbs_than_the_window_are_told() -> None:
    events = [*submitted(1, 2), back(Kind.START, 1), back(Kind.START, 2)]
    events += [*ended(1), *ended(2)]
    assert rules(*events) == [Rule.WINDOW]
    assert not rules(*events, window=2)


def test_endpoint_0_has_a_window_of_one() -> None:
    events = [
        each for number in (1, 2)
        for each in (back(Kind.SUBMIT, number, 0), back(Kind.START, number, 0))
    ]  # fmt: skip
    events += [each for n in (1, 2) for each in (back(Kind.END, n, 0), back(Kind.GIVEBACK, n, 0))]
    assert rules(*events, window=8) == [Rule.WINDOW]


def test_what_starts_behind_a_failed_urb_is_told() -> None:
    events = [*submitted(1, 2), *ran(1, EPROTO, 0, epoch=1), *ran(2, epoch=1)]
    assert Rule.BEHIND in rules(*events)
    assert not rules(*events, holds=False)


def test_what_starts_behind_a_failed_urb_after_resume_is_well() -> None:
    resume = back(Kind.RESUME, epoch=1)
    assert not rules(*submitted(1, 2), *ran(1, EPROTO, 0, epoch=1), resume, *ran(2, epoch=1))


def test_a_resume_of_a_former_stop_does_not_count() -> None:
    resume = back(Kind.RESUME, epoch=1)
    events = [*submitted(1, 2), *ran(1, EPROTO, 0, epoch=2), resume, *ran(2, epoch=2)]
    assert Rule.BEHIND in rules(*events)


def test_what_starts_behind_an_unlinked_urb_is_told() -> None:
    gone = back(Kind.GIVEBACK, 1, status=UNLINKED, epoch=1)
    assert rules(*submitted(1, 2), gone, *ran(2, epoch=1)) == [Rule.BEHIND]


def test_what_stands_before_an_unlinked_urb_may_start() -> None:
    gone = back(Kind.GIVEBACK, 2, status=UNLINKED, epoch=1)
    assert not rules(*submitted(1, 2), gone, *ran(1, epoch=1))


def test_an_urb_that_ran_in_the_controller_behind_a_failed_one_is_told() -> None:
    events = [*submitted(1, 2), back(Kind.START, 1), back(Kind.START, 2)]
    events += [*ended(1, EPROTO, 0, epoch=1), *ended(2, epoch=1)]
    assert rules(*events, window=2) == [Rule.BEHIND]


def test_a_short_read_on_endpoint_0_stops_nothing() -> None:
    short = -errno.EREMOTEIO
    events = [back(Kind.SUBMIT, number, 0x80, length_bytes=64) for number in (1, 2)]
    for number in (1, 2):
        events.append(back(Kind.START, number, 0x80))
        events.append(back(Kind.END, number, 0x80, status=short, length_bytes=18))
        events.append(back(Kind.GIVEBACK, number, 0x80, status=short, length_bytes=18))
    assert not rules(*events)


def test_an_urb_that_is_completed_while_it_runs_is_told() -> None:
    events = [*submitted(1), back(Kind.START, 1), back(Kind.GIVEBACK, 1), back(Kind.END, 1)]
    assert Rule.ONE_COMPLETION in rules(*events)


def test_what_the_front_end_gave_back_by_itself_must_not_have_run() -> None:
    assert not rules(*submitted(1), back(Kind.DROP, 1))
    started = [*submitted(1), back(Kind.START, 1), back(Kind.DROP, 1)]
    assert Rule.ONE_COMPLETION in rules(*started)


def test_an_urb_that_starts_without_a_device_is_told() -> None:
    events = [back(Kind.UP), back(Kind.DOWN), back(Kind.START, 1)]
    assert rules(*events) == [Rule.PORT_DOWN]


def test_a_submit_that_crossed_the_devices_going_is_well() -> None:
    assert not rules(back(Kind.UP), back(Kind.DOWN), *submitted(1))


def test_a_device_that_still_runs_a_former_front_ends_urb_is_not_told_of() -> None:
    events = [back(Kind.UP), *submitted(1), back(Kind.START, 1), back(Kind.DOWN)]
    assert rules(*events, back(Kind.UP)) == [Rule.PORT_DOWN]
    assert not rules(*events, back(Kind.END, 1, status=-errno.ENOENT), back(Kind.UP))


def test_with_the_device_go_its_urbs() -> None:
    gone = back(Kind.DOWN, status=-errno.ENODEV)
    assert not rules(back(Kind.UP), *submitted(1), back(Kind.START, 1), gone, back(Kind.UP))


# Both ends.


def crossing(*, sent: int = 5, arrived: int = 5, status: int = 0, told: int = 0) -> list[UrbEvent]:
    """One OUT URB from the client to the device and back."""
    return [
        front(Kind.SUBMIT, 1, length_bytes=512, digest=sent),
        back(Kind.SUBMIT, 1, length_bytes=512, digest=arrived),
        back(Kind.START, 1, length_bytes=512, digest=arrived),
        back(Kind.END, 1, status=status, length_bytes=512),
        back(Kind.GIVEBACK, 1, status=status, length_bytes=512),
        front(Kind.GIVEBACK, 1, status=told, length_bytes=512),
    ]


def test_an_urb_that_crosses_well_is_well() -> None:
    assert not rules(*crossing())


def test_other_data_than_the_clients_are_told() -> None:
    assert rules(*crossing(arrived=6)) == [Rule.ENDS_AGREE]


def test_an_error_that_becomes_a_success_is_told() -> None:
    assert rules(*crossing(status=EPROTO)) == [Rule.ENDS_AGREE]


def test_a_success_that_becomes_an_error_is_told() -> None:
    assert rules(*crossing(told=EPROTO)) == [Rule.ENDS_AGREE]


def test_other_data_than_the_devices_are_told() -> None:
    events = crossing()
    events[3] = back(Kind.END, 1, length_bytes=512, digest=3)
    assert rules(*events) == [Rule.ENDS_AGREE]


def test_another_length_than_the_devices_is_told() -> None:
    events = crossing()
    events[-1] = front(Kind.GIVEBACK, 1, length_bytes=511)
    assert rules(*events) == [Rule.ENDS_AGREE]


def test_an_urb_that_was_given_back_as_done_and_never_ran_is_told() -> None:
    events = [front(Kind.SUBMIT, 1, length_bytes=512), front(Kind.GIVEBACK, 1, length_bytes=512)]
    assert rules(back(Kind.UP), *events) == [Rule.ENDS_AGREE]


@given(st.integers(0, 36), st.integers(0, 36))
def test_only_what_both_logs_cover_is_compared(begin: int, end: int) -> None:
    stream = [event for number in range(1, 7) for event in crossing_of(number)]
    ends = {place: [e for e in stream if e.place is place] for place in Place}
    cut_back = merged(ends[Place.FRONT], ends[Place.BACK][begin:end])
    cut_front = merged(ends[Place.FRONT][:end], ends[Place.BACK][begin:])
    for events in (cut_back, cut_front):  # where an URB's beginning lacks, other rules may speak
        seen = watch(events, calm=False)
        assert Rule.ENDS_AGREE not in {breach.rule for breach in seen}


def test_an_urb_that_is_missing_between_others_is_told_once_the_log_goes_on() -> None:
    first, second, third = (crossing_of(number) for number in range(1, 4))
    ran = [event for event in second if event.place is Place.FRONT]
    assert not watch([*first, *ran], calm=False)
    (told,) = watch([*first, *ran, *third], calm=False)
    assert (told.rule, told.urb, told.at) == (Rule.ENDS_AGREE, 2, 7)


def test_the_front_ends_stream_alone_is_not_held_against_the_back_ends() -> None:
    assert not rules(front(Kind.SUBMIT, 1, digest=1), front(Kind.GIVEBACK, 1, digest=2))


def test_an_unlinked_urb_that_had_ended_well_may_be_told_as_unlinked() -> None:
    events = crossing(told=UNLINKED)
    events.insert(3, front(Kind.UNLINK, 1))
    assert not rules(*events, front(Kind.ANSWER, 1))


def test_the_ports_of_a_link_are_watched_one_by_one() -> None:
    other = 1 << 16 | 1
    events = [back(Kind.UP), back(Kind.UP, device=other), back(Kind.DOWN, device=other)]
    assert not rules(*events, *submitted(1), *ran(1))


# The merge of two logs.


@given(st.integers(0, 2**32))
def test_merged_logs_have_causes_before_effects(seed: int) -> None:
    chance = random.Random(seed)
    stream = [event for number in range(1, 6) for event in crossing_of(number)]
    # What is concurrent may be in any order: shift the back's events as far as they may go.
    ends = {place: [e for e in stream if e.place is place] for place in Place}
    cut = chance.randrange(len(ends[Place.BACK]) + 1)
    together = merged(ends[Place.FRONT], ends[Place.BACK][:cut])
    assert [e for e in together if e.place is Place.FRONT] == ends[Place.FRONT]
    assert [e for e in together if e.place is Place.BACK] == ends[Place.BACK][:cut]
    at = {(e.place, e.kind, e.urb): number for number, e in enumerate(together)}
    for number in range(1, 6):
        if (Place.BACK, Kind.SUBMIT, number) in at:
            sent = at[Place.FRONT, Kind.SUBMIT, number]
            assert sent < at[Place.BACK, Kind.SUBMIT, number]
        if (Place.BACK, Kind.GIVEBACK, number) in at:
            given = at[Place.FRONT, Kind.GIVEBACK, number]
            assert at[Place.BACK, Kind.GIVEBACK, number] < given


def crossing_of(number: int) -> list[UrbEvent]:
    return [msgspec.structs.replace(event, urb=number) for event in crossing()]


def test_a_log_of_one_end_alone_is_its_own_stream() -> None:
    assert merged([], crossing()) == crossing()
    assert merged(crossing(), []) == crossing()


# A window of several URBs.


def wide(*last: UrbEvent) -> list[Rule]:
    """Three URBs are in the controller; the first fails, the second is taken back."""
    events = [*submitted(1, 2, 3), back(Kind.START, 1), back(Kind.START, 2)]
    return rules(
        *events,
        *ended(1, EPROTO, 0, epoch=1),
        back(Kind.END, 2, status=UNLINKED),
        *last,
        window=3,
        holds=True,
    )


def rest() -> list[UrbEvent]:
    return [back(Kind.RESUME, epoch=1), *ran(2, epoch=1), *ran(3, epoch=1)]


def test_in_a_window_what_was_started_too_late_and_taken_back_is_well() -> None:
    late = [back(Kind.START, 3), back(Kind.END, 3, status=UNLINKED)]
    assert not wide(*late, *rest())


def test_in_a_window_what_ran_behind_a_failed_urb_is_told() -> None:
    late = [back(Kind.START, 3), *ended(3, epoch=1)]
    assert Rule.BEHIND in wide(*late, *rest()[:2], *ran(2, epoch=1))


def test_in_a_window_what_ran_before_what_was_taken_back_is_told() -> None:
    resume = back(Kind.RESUME, epoch=1)
    assert wide(resume, *ran(3, epoch=1), *ran(2, epoch=1)) == [Rule.ORDER]


def test_what_goes_with_the_device_has_not_run_behind_a_failed_urb() -> None:
    gone = back(Kind.END, 3, status=-errno.ESHUTDOWN)
    assert not wide(back(Kind.START, 3), gone, back(Kind.DOWN, status=-errno.ENODEV))


def test_the_end_of_an_urb_may_be_told_when_its_device_is_gone() -> None:
    gone = back(Kind.DOWN, status=-errno.ENODEV)
    events = [back(Kind.UP), *submitted(1), back(Kind.START, 1), gone]
    assert not rules(*events, back(Kind.END, 1, status=-errno.ENODEV), back(Kind.UP))
