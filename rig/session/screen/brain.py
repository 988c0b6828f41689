"""What the screen asks of a session besides its snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rig.session.screen.desk import Reply


class Brain(Protocol):
    """A session's commands, as the screen needs them.

    `ask` is called by one thread, not the screen's, and may take its time; all else is called by
    the screen's thread and is quick.
    """

    def ask(self, line: str) -> Reply:
        """Do a command.

        Raises:
            RigError: It could not be done.
        """
        ...

    def complete(self, text: str) -> Sequence[str]:
        """What a line that begins so may become."""
        ...

    def journal(self) -> str:
        """What was done."""
        ...
