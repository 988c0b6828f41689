from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.splitdriver import order
from rig.splitdriver.order import LAST_SEQNUM, Barriers, Merge


def begun(behind: int = 0) -> Merge[int]:
    merge: Merge[int] = Merge()
    merge.begin_behind(behind)
    return merge


def put(merge: Merge[int], *numbers: int) -> list[list[int]]:
    """What comes out with each of these."""
    return [merge.put(number, number) for number in numbers]


def test_what_comes_in_order_comes_out_at_once() -> None:
    assert put(begun(), 1, 2, 3) == [[1], [2], [3]]


def test_what_comes_early_waits_for_what_is_missing() -> None:
    merge = begun()
    assert put(merge, 3, 2) == [[], []]
    assert merge.waiting == 2
    assert put(merge, 1) == [[1, 2, 3]]
    assert merge.waiting == 0


def test_only_what_is_in_order_comes_out() -> None:
    assert put(begun(), 2, 5, 1, 4, 3) == [[], [], [1, 2], [], [3, 4, 5]]


def test_numbers_begin_behind_the_one_that_is_told() -> None:
    assert put(begun(41), 42) == [[42]]


@pytest.mark.parametrize("numbers", [(1, 1), (2, 2), (2, 1, 2)])
def test_a_number_that_was_seen_is_the_peers_fault(numbers: tuple[int, ...]) -> None:
    *before, twice = numbers
    merge = begun()
    put(merge, *before)
    with pytest.raises(RemoteProtocolError, match=f"the number {twice} twice"):
        merge.put(twice, 0)


def test_a_number_before_the_beginning_is_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="the number 7 twice"):
        begun(7).put(7, 0)


def test_nothing_can_come_before_it_has_begun() -> None:
    with pytest.raises(RemoteProtocolError):
        Merge[int]().put(1, 1)


def test_a_new_beginning_forgets_what_waits() -> None:
    merge = begun()
    put(merge, 3)
    merge.begin_behind(9)
    assert (merge.waiting, put(merge, 10)) == (0, [[10]])


def test_what_waits_is_given_up_in_order_and_the_gap_is_closed() -> None:
    merge = begun()
    put(merge, 5, 3)
    assert merge.give_up() == [3, 5]
    assert put(merge, 6) == [[6]]


def test_giving_up_where_nothing_waits_changes_nothing() -> None:
    merge = begun()
    assert merge.give_up() == []
    assert put(merge, 1) == [[1]]


def test_too_much_behind_a_missing_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MAX_WAITING", 2)
    merge = begun()
    put(merge, 2, 3)
    with pytest.raises(RemoteProtocolError, match="never sent number 1: does somebody else"):
        merge.put(4, 4)


def test_the_numbers_are_exhausted_before_the_kernel_breaks() -> None:
    assert not Merge[int]().exhausted
    assert not begun(LAST_SEQNUM - 1).exhausted
    merge = begun(LAST_SEQNUM - 1)
    put(merge, LAST_SEQNUM)
    assert merge.exhausted
    assert LAST_SEQNUM < 1 << 31


@given(st.data(), st.integers(0, 60), st.integers(0, LAST_SEQNUM))
def test_any_interleaving_of_two_sources_comes_out_in_order(
    data: st.DataObject, count: int, behind: int
) -> None:
    """Each source is a port's thread: it sends its submits in order, but unlinks late."""
    numbers = range(behind + 1, behind + 1 + count)
    of_second = data.draw(st.sets(st.sampled_from(numbers)) if count else st.just(set()))
    late = data.draw(st.sets(st.sampled_from(numbers)) if count else st.just(set()))
    sources = [
        sorted((n for n in numbers if (n in of_second) is second), key=lambda n: (n in late, n))
        for second in (False, True)
    ]
    merge = begun(behind)
    seen: list[int] = []
    while any(sources):
        source = data.draw(st.sampled_from([s for s in sources if s]))
        number = source.pop(0)
        seen += merge.put(number, number)
        assert seen == list(numbers[: len(seen)])
    assert (seen, merge.waiting) == (list(numbers), 0)


@given(st.permutations(range(1, 20)), st.integers(0, 19))
def test_what_comes_out_grows_even_when_something_was_given_up(
    numbers: list[int], lost: int
) -> None:
    merge = begun()
    seen = [n for number in numbers if number != lost for n in merge.put(number, number)]
    seen += merge.give_up()
    assert seen == [n for n in range(1, 20) if n != lost]


def test_who_comes_first_queues_a_barrier() -> None:
    barriers: Barriers[str] = Barriers()
    assert barriers.wait("a")
    assert barriers.passed() == (["a"], False)


def test_who_comes_later_waits_for_the_next_barrier() -> None:
    barriers: Barriers[str] = Barriers()
    barriers.wait("a")
    assert [barriers.wait("b"), barriers.wait("c")] == [False, False]
    assert barriers.passed() == (["a"], True)
    assert barriers.wait("d") is False  # the second is on its way already
    assert barriers.passed() == (["b", "c"], True)
    assert barriers.passed() == (["d"], False)
    assert barriers.wait("e")


def test_a_barrier_that_nobody_waits_for_lets_nobody_pass() -> None:
    assert Barriers[str]().passed() == ([], False)


@given(st.lists(st.booleans(), max_size=60))
def test_nobody_passes_with_a_barrier_that_was_queued_before_he_came(steps: list[bool]) -> None:
    """Time is the number of the step; `queued` has the barriers' times that are on their way."""
    barriers: Barriers[int] = Barriers()
    queued: list[int] = []
    waiting: set[int] = set()
    for now, comes in enumerate(steps):
        if comes:
            waiting.add(now)
            if barriers.wait(now):
                queued.append(now)
        elif queued:
            sent = queued.pop()
            passed, again = barriers.passed()
            assert all(came <= sent for came in passed)
            waiting -= set(passed)
            if again:
                queued.append(now)
        assert len(queued) == bool(waiting)


def test_the_number_that_comes_next_is_told_unless_something_waits_for_it() -> None:
    merge: Merge[str] = Merge()
    assert merge.expected is None
    merge.begin_behind(4)
    assert merge.expected == 5
    merge.put(6, "six")
    assert merge.expected is None
    merge.put(5, "five")
    assert merge.expected == 7
