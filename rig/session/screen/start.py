"""Starts the screen, and sees to it that the session ends in order however the screen ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from rig.session.screen.app import SessionApp
from rig.session.screen.brain import Brain
from rig.session.screen.terminal import PatientDriver, Terminal
from rig.session.snapshot import Snapshot


def run_screen(look: Callable[[], Snapshot], brain: Brain, leave: Callable[[], None]) -> None:
    """Show a session on the terminal until it is over.

    The session may still be starting.  Returns when its mode is ``ended`` or, after the person has
    asked to leave, ``broken``; when the terminal has gone, or a SIGTERM came; or when the person
    did not want to wait for the end.  In every case `leave` has been called: the caller waits for
    the end of the session, and prints its verdict on the terminal, which is as it was before.

    Must be called from the main thread, with standard input and output at a terminal.

    Args:
        look: Says how things are, at once: `rig.session.deeds.Deeds.snapshot`.
        brain: Its commands.
        leave: Tells the session to end in order.  Must not wait for it; may be called more than
            once, from a signal handler, too.
    """
    # A lock in `leave` may be held by what a signal interrupted: another thread can wait for it.
    told = threading.Event()

    def gone() -> None:
        if not told.is_set():
            told.set()
            threading.Thread(target=leave, name="leave").start()

    terminal = Terminal(sys.stdin.fileno(), gone)
    try:
        with terminal.watched():
            SessionApp(look, brain, gone, terminal.lost, PatientDriver).run()
    finally:
        gone()
