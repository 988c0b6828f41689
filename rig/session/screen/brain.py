"""What the screen asks of a session besides its snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rig.session.talk.interpreter import Answer


class Brain(Protocol):
    """What of `rig.session.talk.interpreter.Interpreter` the screen needs.

    `ask` is called by one thread, not the screen's, and may take its time; all else is called by
    the screen's thread and is quick.
    """

    def ask(self, line: str) -> Answer:
        """Do a command.

        Raises:
            RigError: It could not be done.
        """
        ...

    def complete(self, text: str) -> Sequence[str]:
        """What a line that begins so may become."""
        ...

    def help(self) -> Sequence[str]:
        """All commands, explained, a line each."""
        ...

    def journal(self) -> Sequence[str]:
        """What was done, a line each."""
        ...
