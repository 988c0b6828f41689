"""The line for typed commands, with history and completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from rig.session.screen.words import common_start

Complete = Callable[[str], Sequence[str]]


class CommandLine(Input):
    """An input of one line: Up and Down go through what was typed, Tab completes.

    Args:
        complete: Gives whole lines that what was typed may become.
    """

    DEFAULT_CSS = "CommandLine { height: 1; border: none; padding: 0; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "earlier", "Earlier line", show=False),
        Binding("down", "later", "Later line", show=False),
        Binding("tab", "complete", "Complete", show=False),
        Binding("escape", "app.panes", "Leave the line", show=False),
    ]

    class Several(Message):
        """What was typed may become any of these.

        Attributes:
            lines: Them.
        """

        def __init__(self, lines: Sequence[str]) -> None:
            super().__init__()
            self.lines = tuple(lines)

    def __init__(self, complete: Complete) -> None:
        super().__init__(
            id="command",
            compact=True,
            # What stands there is gone on with, not typed over.
            select_on_focus=False,
            placeholder="Press : and type a command, or 'help'",
        )
        self._complete = complete
        self._typed: list[str] = []
        self._at = 0

    def taken(self, line: str) -> None:
        """Remember a line that was entered, and make room for the next."""
        if not self._typed or self._typed[-1] != line:
            self._typed.append(line)
        self._at = len(self._typed)
        self.value = ""

    def restore(self, line: str) -> None:
        """Give a line that failed back, unless the next is being typed."""
        if not self.value:
            self._put(line)

    def _put(self, line: str) -> None:
        self.value = line
        self.cursor_position = len(line)

    def action_earlier(self) -> None:
        """Show the line before."""
        if self._at > 0:
            self._at -= 1
            self._put(self._typed[self._at])

    def action_later(self) -> None:
        """Show the line after."""
        if self._at < len(self._typed):
            self._at += 1
            self._put(self._typed[self._at] if self._at < len(self._typed) else "")

    def action_complete(self) -> None:
        """Complete what was typed as far as that is clear; else show what it may become."""
        lines = list(self._complete(self.value))
        if not lines:
            return
        start = common_start(lines)
        if len(lines) > 1 and start == self.value:
            self.post_message(self.Several(lines))
        else:
            self._put(start)
