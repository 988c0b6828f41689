"""Starts the screen, and sees to it that the session ends in order however the screen ends."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rig.session.screen.app import SessionApp
from rig.session.screen.brain import Brain
from rig.session.screen.garbage import collected_in_pauses
from rig.session.screen.terminal import PatientDriver, Terminal, ctrl_c_is_a_key
from rig.session.snapshot import Mode, Snapshot

NICENESS = -10


def run_screen(
    look: Callable[[], Snapshot],
    brain: Brain,
    leave: Callable[[], None],
    wait: Callable[[], object],
) -> None:
    """Show a session on the terminal until it is over.

    The session may still be starting.  The screen goes when the session's mode is ``ended`` or,
    after the person has asked to leave, ``broken``; when the terminal has gone, or a SIGTERM came;
    or when the person did not want to watch the end.  In every case `leave` is called, and `wait`
    has the rest: until it is back, no signal but SIGKILL cuts the session's end short, and Ctrl-C
    only where the screen has gone.  Afterwards the terminal is as it was before, for the verdict.

    Must be called from the main thread, with standard input and output at a terminal.  Nobody else
    may print anything while it lasts.

    Args:
        look: Says how things are, at once: `rig.session.deeds.Deeds.snapshot`.
        brain: The session's commands: a `rig.session.talk.interpreter.Interpreter`.
        leave: Tells the session to end in order.  Must not wait for it; may be called more than
            once, from another thread, too.
        wait: Waits until the session is over, and its run directory is complete.
    """
    # A lock in `leave` may be held by what a signal interrupted: another thread can wait for it.
    told = threading.Event()

    def gone() -> None:
        if not told.is_set():
            told.set()
            threading.Thread(target=leave, name="leave").start()

    terminal = Terminal(sys.stdin.fileno(), gone)
    with terminal.watched():
        try:
            with ctrl_c_is_a_key(), before_others(), collected_in_pauses():
                SessionApp(look, brain, gone, terminal.lost, PatientDriver).run()
        finally:
            gone()
            if look().mode is not Mode.ENDED:
                print("The session ends in order; this takes a while.", flush=True)
            wait()


@contextmanager
def before_others() -> Iterator[None]:
    """Let this thread go before others, where that is allowed.

    Two emulated machines keep two processors busy; a key is to be answered all the same.
    """
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, thread, min(before, NICENESS))
    try:
        yield
    finally:
        # Never refused: it is no better than what it is.
        os.setpriority(os.PRIO_PROCESS, thread, before)
