"""labgrid's steps on two threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from labgrid import step, steps

from rig.lab.steps import keep_steps_apart


@pytest.fixture(autouse=True)
def stack_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put labgrid's own stack back."""
    monkeypatch.setattr(steps, "_stack", [])


def overlap() -> None:
    """Begin a step on each of two threads, and end the one that began first before the other."""
    began, ended = threading.Event(), threading.Event()

    @step()  # type: ignore[untyped-decorator]
    def first(second: ThreadPoolExecutor) -> object:
        other = second.submit(later)
        assert began.wait(10.0)
        return other

    @step()  # type: ignore[untyped-decorator]
    def later() -> str:
        began.set()
        assert ended.wait(10.0)
        return "later"

    with ThreadPoolExecutor(1) as second:
        try:
            other = first(second)
        finally:
            ended.set()
        assert other.result() == "later"


def test_labgrid_alone_does_not_bear_it() -> None:
    with pytest.raises(AssertionError):
        overlap()


def test_steps_of_two_threads_overlap() -> None:
    keep_steps_apart()
    overlap()
    overlap()


def test_steps_that_are_under_way_stay_noted_when_it_is_said_again() -> None:
    keep_steps_apart()
    stack = steps._stack
    keep_steps_apart()
    assert steps._stack is stack
