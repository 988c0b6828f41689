"""Lets labgrid's functions run on several threads.

labgrid notes which of its steps are under way in one stack for the whole process
(``labgrid/step.py``), and an assertion fails when two threads' steps end in another order than
that in which they began.
"""

from __future__ import annotations

import threading
from collections import UserList

from labgrid import steps


class _StackOfThread(threading.local, UserList[object]):
    """Each thread sees a stack of its own."""


def keep_steps_apart() -> None:
    """Note the steps of each thread by themselves from now on; may be said again."""
    if not isinstance(steps._stack, _StackOfThread):
        steps._stack = _StackOfThread()
