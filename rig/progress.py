"""How long work tells where it is: named steps, each with its time.

Only the shape lives here.  What it looks like on a terminal is the command line's business.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Receives the steps of long work."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Enclose one step; its end, its time and its failure are shown."""

    def note(self, text: str) -> None:
        """Say something inside the current step."""


class Silent:
    """Progress that is shown to nobody."""

    def step(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """See `Progress.step`."""
        return nullcontext()

    def note(self, text: str) -> None:
        """See `Progress.note`."""
