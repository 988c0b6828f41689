from __future__ import annotations

import os
import signal
import threading

import pytest

from rig.session.signals import Gone, ended_by_signals

MAIN = threading.main_thread().ident or 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_the_first_signal_is_an_exception_and_the_next_is_nothing(number: int) -> None:
    with ended_by_signals():
        with pytest.raises(Gone) as gone:
            signal.raise_signal(number)
        assert gone.value.number == number
        signal.raise_signal(number)


def test_afterwards_the_signals_are_whose_they_were() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)]
    with ended_by_signals():
        assert signal.getsignal(signal.SIGHUP) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)] == before


def kill_and_wait(reader: int) -> None:
    os.kill(os.getpid(), signal.SIGHUP)
    os.read(reader, 1)


def test_a_signal_that_another_thread_gets_interrupts_what_the_main_one_waits_for() -> None:
    reader, writer = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    told = threading.Event()

    def get() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        told.wait()

    other = threading.Thread(target=get)
    other.start()
    try:
        with ended_by_signals(), pytest.raises(Gone):
            kill_and_wait(reader)
    finally:
        told.set()
        other.join()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        os.close(reader)
        os.close(writer)
