from __future__ import annotations

import os
import select
import threading

from rig.helper_thread import HelperThread

DEADLINE_S = 10.0


def await_done(helper: HelperThread) -> None:
    ready, _, _ = select.select([helper], [], [], DEADLINE_S)
    assert ready
    helper.finished()


def test_a_job_is_done_by_another_thread_and_its_end_is_readable() -> None:
    helper = HelperThread("test")
    threads: list[threading.Thread] = []
    assert not helper.busy
    helper.do(lambda: threads.append(threading.current_thread()))
    assert helper.busy
    await_done(helper)
    assert not helper.busy
    assert threads[0].name == "test"
    assert threads[0] is not threading.current_thread()
    helper.close(lambda: None)


def test_jobs_are_done_one_after_the_other() -> None:
    helper = HelperThread("test")
    done: list[int] = []
    for number in range(3):
        helper.do(lambda number=number: done.append(number))  # type: ignore[misc]
        await_done(helper)
    assert done == [0, 1, 2]
    helper.close(lambda: None)


def test_closing_does_not_wait_and_the_last_is_done_behind_the_job_under_way() -> None:
    helper = HelperThread("test")
    may_go, ended = threading.Event(), threading.Event()
    done: list[str] = []

    def job() -> None:
        may_go.wait(DEADLINE_S)
        done.append("job")

    def last() -> None:
        done.append("last")
        ended.set()

    helper.do(job)
    helper.close(last)
    assert done == []
    may_go.set()
    assert ended.wait(DEADLINE_S)
    assert done == ["job", "last"]


def test_closing_ends_the_thread_and_frees_its_descriptor() -> None:
    helper = HelperThread("test")
    descriptor = helper.fileno()
    helper.close(lambda: None)
    helper._thread.join(DEADLINE_S)
    assert not helper._thread.is_alive()
    try:
        os.eventfd_read(descriptor)
    except OSError:
        return
    raise AssertionError("the descriptor is open")
