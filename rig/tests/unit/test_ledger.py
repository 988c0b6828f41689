"""The ledger: what is legal in a sector after what happened."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ApiViolationError
from rig.integrity.ledger import (
    Attempt,
    AttemptStatus,
    Event,
    Flushed,
    FlushFailed,
    Ledger,
    SectorState,
    WriteFailed,
    WriteReturned,
    WriteStarted,
    decode_events,
)

EIO = 5


def write(generation: int, sequence: int, first: int = 0, count: int = 1) -> list[Event]:
    started = WriteStarted(1, first, count, generation, sequence)
    return [started, WriteReturned(1, sequence)]


def state_after(*events: Event | list[Event]) -> SectorState:
    ledger = Ledger()
    for event in events:
        ledger.apply_all(event if isinstance(event, list) else [event])
    return ledger.states(1)[0]


def legal(state: SectorState) -> list[int]:
    return [attempt.generation for attempt in state.legal]


def test_a_write_in_flight_may_have_arrived() -> None:
    state = state_after(WriteStarted(1, 0, 1, 1, 1))
    assert state.sure is None
    assert state.open == (Attempt(1, 1, AttemptStatus.IN_FLIGHT),)


def test_a_write_that_returned_is_not_acknowledged_before_fsync() -> None:
    state = state_after(write(1, 1))
    assert state.sure is None
    assert legal(state) == [1]


def test_fsync_acknowledges_a_write_that_returned() -> None:
    state = state_after(write(1, 1), Flushed(1))
    assert state.open == ()
    assert legal(state) == [1]


def test_fsync_does_not_acknowledge_a_write_in_flight() -> None:
    state = state_after(WriteStarted(1, 0, 1, 1, 1), Flushed(1))
    assert state.sure is None


def test_an_overwrite_that_is_acknowledged_supersedes_the_old() -> None:
    state = state_after(write(1, 1), Flushed(1), write(2, 2), Flushed(1))
    assert legal(state) == [2]
    assert [a.generation for a in state.superseded] == [1]
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
    assert state.sure is None
    assert state.open == (Attempt(1, 1, AttemptStatus.ERRORED),)


def test_a_confirmed_rewrite_ends_what_a_failed_fsync_left_open() -> None:
    state = state_after(write(1, 1), FlushFailed(1, EIO), write(2, 2), Flushed(1))
    assert legal(state) == [2]
    assert state.open == ()
    assert [a.generation for a in state.superseded] == [1]


def test_a_write_in_flight_stays_open_when_a_later_one_is_confirmed() -> None:
    state = state_after(WriteStarted(1, 0, 1, 1, 1), write(2, 2), Flushed(1))
    assert legal(state) == [2, 1]


def test_two_writes_confirmed_by_one_fsync_leave_the_later() -> None:
    state = state_after(write(1, 1), write(2, 2), Flushed(1))
    assert legal(state) == [2]
    assert state.open == ()


def test_only_the_sectors_of_the_write_change() -> None:
    ledger = Ledger()
    ledger.apply_all([*write(1, 1, first=2, count=2), Flushed(1)])
    assert [bool(s.legal) for s in ledger.states(1)] == [False, False, True, True]


def test_fsync_of_one_file_says_nothing_about_another() -> None:
    ledger = Ledger()
    ledger.apply_all([*write(1, 1), WriteStarted(2, 0, 1, 1, 1), WriteReturned(2, 1), Flushed(2)])
    assert ledger.states(1)[0].sure is None
    assert ledger.states(2)[0].sure is not None
    assert ledger.files == [1, 2]


def test_fsync_of_a_file_that_was_not_written_changes_nothing() -> None:
    ledger = Ledger()
    ledger.apply_all([Flushed(9), FlushFailed(9, EIO)])
    assert ledger.states(9) == []


@pytest.mark.parametrize("event", [WriteReturned(1, 5), WriteFailed(1, 5, EIO)])
def test_the_end_of_a_write_that_did_not_begin_is_refused(event: Event) -> None:
    with pytest.raises(ApiViolationError, match="Write 5 of file 1"):
        Ledger().apply(event)


def test_a_write_cannot_end_twice() -> None:
    ledger = Ledger()
    ledger.apply_all(write(1, 1))
    with pytest.raises(ApiViolationError, match="not in flight"):
        ledger.apply(WriteFailed(1, 1, EIO))


def test_a_write_cannot_begin_after_a_later_one() -> None:
    ledger = Ledger()
    ledger.apply_all(write(1, 5))
    with pytest.raises(ApiViolationError, match="begins after a later one"):
        ledger.apply(WriteStarted(1, 0, 1, 1, 5))
    assert len(ledger.states(1)[0].open) == 1


def test_events_survive_json() -> None:
    events = [*write(1, 1), WriteFailed(1, 1, EIO), Flushed(1), FlushFailed(1, EIO)]
    assert decode_events(msgspec.json.decode(msgspec.json.encode(events))) == events


STEPS = st.sampled_from(["write", "hang", "fail", "flush", "flush_failed"])


@given(st.lists(STEPS, max_size=25))
def test_the_model_agrees_with_a_naive_one(steps: list[str]) -> None:
    """The naive one: a set of writes that may be there, by the rules of the module's essay."""
    ledger = Ledger()
    may_be: list[tuple[int, str]] = []
    for number, step in enumerate(steps, 1):
        if step in ("write", "hang", "fail"):
            ledger.apply(WriteStarted(1, 0, 1, number, number))
            may_be.append((number, {"write": "dirty", "hang": "flying", "fail": "bad"}[step]))
        if step == "write":
            ledger.apply(WriteReturned(1, number))
        elif step == "fail":
            ledger.apply(WriteFailed(1, number, EIO))
        elif step == "flush":
            ledger.apply(Flushed(1))
            dirty = [n for n, kind in may_be if kind == "dirty"]
            if dirty:
                last = dirty[-1]
                may_be = [(n, k) for n, k in may_be if n > last or k == "flying"]
                may_be.append((last, "sure"))
        elif step == "flush_failed":
            ledger.apply(FlushFailed(1, EIO))
            may_be = [(n, "bad" if kind == "dirty" else kind) for n, kind in may_be]
    states = ledger.states(1)
    seen = sorted(legal(states[0])) if states else []
    assert seen == sorted(n for n, _ in may_be)
