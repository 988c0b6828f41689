"""Waits for something to become so, until it is told to give up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rig.errors import UserError

LOOK_S = 0.1


class Patience:
    """Waits for one thing at a time; whoever else wants that to end can say so."""

    def __init__(self) -> None:
        self._enough = threading.Event()
        self._leaving = False

    def until(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        """Wait until a condition holds; return whether it does.

        Args:
            condition: Is looked at ten times a second: nobody tells when a snapshot changes.
            deadline_s: So long at most.

        Raises:
            UserError: It was told to give up.
        """
        if not self._leaving:
            self._enough.clear()
        end_s = time.monotonic() + deadline_s
        while not condition():
            rest_s = end_s - time.monotonic()
            if rest_s <= 0:
                return False
            if self._enough.wait(min(LOOK_S, rest_s)):
                raise UserError("The wait was broken off.")
        return True

    def give_up(self, *, leaving: bool = False) -> None:
        """End the wait that is under way; with `leaving`, each one that follows, too."""
        self._leaving = self._leaving or leaving
        self._enough.set()
