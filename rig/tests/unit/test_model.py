"""The model: what is legal in a sector after what happened."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError
from rig.integrity.ledger import (
    CacheLost,
    Event,
    Flushed,
    FlushFailed,
    FlushStarted,
    WriteFailed,
    WriteReturned,
    WriteStarted,
    decode_events,
)
from rig.integrity.model import Legal, Model, WriteStatus

EIO = 5


def write(
    generation: int, sequence: int, first: int = 0, count: int = 1, *, direct: bool = False
) -> list[Event]:
    started = WriteStarted(1, first, count, generation, sequence, direct)
    return [started, WriteReturned(1, sequence)]


def after(*events: Event | list[Event]) -> Model:
    model = Model()
    for event in events:
        model.apply_all(event if isinstance(event, list) else [event])
    return model


def state_after(*events: Event | list[Event], settled: bool = False) -> Legal:
    return after(*events).legal(1, 0, settled=settled)


def legal(state: Legal) -> list[int]:
    return [write.generation for write in state.writes]


def test_a_write_in_flight_may_have_arrived() -> None:
    state = state_after(WriteStarted(1, 0, 1, 1, 1))
    assert not state.based
    assert [write.status for write in state.writes] == [WriteStatus.IN_FLIGHT]


def test_a_write_that_returned_is_not_promised_before_fsync() -> None:
    state = state_after(write(1, 1))
    assert not state.based
    assert legal(state) == [1]


def test_fsync_promises_a_write_that_returned() -> None:
    state = state_after(write(1, 1), Flushed(1))
    assert state.only is state.writes[0]
    assert state.writes[0].status is WriteStatus.FLUSHED


def test_fsync_does_not_promise_a_write_in_flight() -> None:
    assert not state_after(WriteStarted(1, 0, 1, 1, 1), Flushed(1)).based


def test_an_overwrite_that_is_acknowledged_supersedes_the_old() -> None:
    state = state_after(write(1, 1), Flushed(1), write(2, 2), Flushed(1))
    assert legal(state) == [2]
    assert state.previous == 1


def test_after_a_failed_write_old_and_new_are_legal() -> None:
    state = state_after(
        write(1, 1), Flushed(1), WriteStarted(1, 0, 1, 2, 2), WriteFailed(1, 2, EIO), Flushed(1)
    )
    assert legal(state) == [1, 2]


def test_after_a_failed_fsync_old_and_new_are_legal() -> None:
    state = state_after(write(1, 1), Flushed(1), write(2, 2), FlushFailed(1, EIO))
    assert legal(state) == [1, 2]


def test_a_later_fsync_does_not_confirm_what_a_failed_one_left() -> None:
    state = state_after(write(1, 1), FlushFailed(1, EIO), Flushed(1))
    assert not state.based
    assert [write.status for write in state.writes] == [WriteStatus.ERRORED]


def test_a_confirmed_rewrite_ends_what_a_failed_fsync_left_open() -> None:
    state = state_after(write(1, 1), FlushFailed(1, EIO), write(2, 2), Flushed(1))
    assert legal(state) == [2]
    assert state.previous == 0


def test_a_write_in_flight_stays_open_when_a_later_one_is_confirmed() -> None:
    state = state_after(WriteStarted(1, 0, 1, 1, 1), write(2, 2), Flushed(1))
    assert legal(state) == [1, 2]
    assert state.based


def test_two_writes_confirmed_by_one_fsync_leave_the_later() -> None:
    state = state_after(write(1, 1), write(2, 2), Flushed(1))
    assert legal(state) == [2]


def test_two_writes_that_were_in_flight_at_once_stay_both_legal() -> None:
    state = state_after(
        WriteStarted(1, 0, 1, 1, 1),
        WriteStarted(1, 0, 1, 2, 2),
        WriteReturned(1, 2),
        WriteReturned(1, 1),
        Flushed(1),
    )
    assert legal(state) == [1, 2]
    assert state.based


def test_fsync_does_not_promise_what_returned_after_it_began() -> None:
    model = after(write(1, 1), FlushStarted(1, 7), write(2, 2), Flushed(1, 7))
    assert legal(model.legal(1, 0, settled=False)) == [1, 2]
    model.apply(Flushed(1))
    assert legal(model.legal(1, 0, settled=False)) == [2]


def test_a_failed_fsync_leaves_open_also_what_returned_after_it_began() -> None:
    state = state_after(
        write(1, 1), Flushed(1), FlushStarted(1, 7), write(2, 2), FlushFailed(1, EIO, 7), Flushed(1)
    )
    assert legal(state) == [1, 2]


def test_a_flush_that_did_not_begin_cannot_end() -> None:
    with pytest.raises(ApiViolationError, match="Flush 3 of file 1"):
        after(write(1, 1), Flushed(1, 3))


# -- what the device has answered for ------------------------------------------------------------


def test_a_reader_must_see_a_direct_write_that_returned() -> None:
    events = [write(1, 1, direct=True), write(2, 2, direct=True)]
    assert legal(state_after(*events, settled=True)) == [2]
    assert state_after(*events, settled=True).previous == 1


def test_the_medium_need_not_hold_a_direct_write_before_a_flush() -> None:
    state = state_after(write(1, 1, direct=True), write(2, 2, direct=True))
    assert legal(state) == [1, 2]
    assert not state.based


def test_a_lost_cache_leaves_any_mix_down_to_the_floor() -> None:
    events = [write(n, n, direct=True) for n in (2, 3, 4)]
    state = state_after(
        write(1, 1, direct=True), Flushed(1), *events, CacheLost(), Flushed(1), settled=True
    )
    assert legal(state) == [1, 2, 3, 4]
    assert state.based


def test_a_direct_write_after_the_cache_was_lost_must_be_seen_again() -> None:
    state = state_after(
        write(1, 1, direct=True), CacheLost(), write(2, 2, direct=True), settled=True
    )
    assert legal(state) == [2]


def test_a_write_during_which_the_cache_was_lost_proves_nothing() -> None:
    for flush in ([], [Flushed(1)]):
        state = state_after(
            WriteStarted(1, 0, 1, 1, 1, True),
            CacheLost(),
            WriteReturned(1, 1),
            *flush,
            settled=True,
        )
        assert not state.based


def test_after_a_failed_direct_write_the_one_before_stays_legal() -> None:
    state = state_after(
        write(1, 1, direct=True),
        WriteStarted(1, 0, 1, 2, 2, True),
        WriteFailed(1, 2, EIO),
        settled=True,
    )
    assert legal(state) == [1, 2]


# -- files and sectors ---------------------------------------------------------------------------


def test_only_the_sectors_of_the_write_change() -> None:
    model = after(write(1, 1, first=2, count=2), Flushed(1))
    assert [model.legal(1, n, settled=False).based for n in range(5)] == [
        *(False, False, True, True, False)
    ]
    assert model.sectors(1) == 4


def test_a_write_over_parts_of_two_others_keeps_each_ones_past() -> None:
    model = after(write(1, 1, count=2), write(2, 2, first=2, count=2), Flushed(1))
    model.apply_all(write(3, 3, first=1, count=2))
    assert [legal(model.legal(1, n, settled=False)) for n in range(4)] == [[1], [1, 3], [2, 3], [2]]


def test_fsync_of_one_file_says_nothing_about_another() -> None:
    model = after(write(1, 1), [WriteStarted(2, 0, 1, 1, 1), WriteReturned(2, 1), Flushed(2)])
    assert not model.legal(1, 0, settled=False).based
    assert model.legal(2, 0, settled=False).based
    assert model.files == [1, 2]


def test_fsync_of_a_file_that_was_not_written_changes_nothing() -> None:
    assert after(Flushed(9), FlushFailed(9, EIO)).sectors(9) == 0


@pytest.mark.parametrize("event", [WriteReturned(1, 5), WriteFailed(1, 5, EIO)])
def test_the_end_of_a_write_that_did_not_begin_is_refused(event: Event) -> None:
    with pytest.raises(ApiViolationError, match="Write 5 of file 1"):
        Model().apply(event)


def test_a_write_cannot_end_twice() -> None:
    model = Model()
    model.apply_all(write(1, 1))
    with pytest.raises(ApiViolationError, match="not in flight"):
        model.apply(WriteFailed(1, 1, EIO))


def test_a_write_cannot_begin_after_a_later_one() -> None:
    model = Model()
    model.apply_all(write(1, 5))
    with pytest.raises(ApiViolationError, match="begins after a later one"):
        model.apply(WriteStarted(1, 0, 1, 1, 5))
    assert legal(model.legal(1, 0, settled=False)) == [1]


def test_events_survive_json() -> None:
    events = [*write(1, 1), WriteFailed(1, 1, EIO), FlushStarted(1, 2), Flushed(1, 2)]
    events += [FlushFailed(1, EIO), CacheLost()]
    assert decode_events(msgspec.json.decode(msgspec.json.encode(events))) == events


STEPS = st.sampled_from(["write", "hang", "fail", "flush", "flush_failed"])


@given(st.lists(STEPS, max_size=25))
def test_the_model_agrees_with_a_naive_one(steps: list[str]) -> None:
    """The naive one: a set of writes that may be there, by the rules of the module's essay."""
    model = Model()
    may_be: list[tuple[int, str]] = []
    for number, step in enumerate(steps, 1):
        if step in ("write", "hang", "fail"):
            model.apply(WriteStarted(1, 0, 1, number, number))
            may_be.append((number, {"write": "dirty", "hang": "flying", "fail": "bad"}[step]))
        if step == "write":
            model.apply(WriteReturned(1, number))
        elif step == "fail":
            model.apply(WriteFailed(1, number, EIO))
        elif step == "flush":
            model.apply(Flushed(1))
            dirty = [n for n, kind in may_be if kind == "dirty"]
            if dirty:
                last = dirty[-1]
                may_be = [(n, k) for n, k in may_be if n > last or k == "flying"]
                may_be.append((last, "sure"))
        elif step == "flush_failed":
            model.apply(FlushFailed(1, EIO))
            may_be = [(n, "bad" if kind == "dirty" else kind) for n, kind in may_be]
    seen = sorted(legal(model.legal(1, 0, settled=False)))
    assert seen == sorted(n for n, _ in may_be)
