"""What dialogs are made of: a frame, a line for answers, and the way to have a command done."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from rig.session.screen.desk import Heard, Reply

Do = Callable[[str, Heard], None]
"""Has a line done by the desk."""


class Dialog(ModalScreen[Reply | None]):
    """Asks, has a command done, and stays with everything that was typed if it was not done.

    Its result is the reply to what was done; None if the person left without.

    Args:
        title: In the frame.
        do: Has a line done.
    """

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > .frame { width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: solid $primary; border-title-style: bold; background: $surface; padding: 0 1; }
    Dialog .said { height: auto; text-style: bold; }
    Dialog .about { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "away", "Leave without", show=False),
    ]

    def __init__(self, title: str, do: Do) -> None:
        super().__init__()
        self._title = title
        self._do = do

    def compose(self) -> ComposeResult:
        """See `Screen.compose`."""
        with Vertical(classes="frame") as frame:
            frame.border_title = self._title
            yield from self.compose_inside()
            yield Static(self.HELP, classes="said", id="said", markup=False)

    HELP: ClassVar[str] = "Enter does it, Escape leaves."

    def compose_inside(self) -> ComposeResult:
        """What is in the frame above the line for answers."""
        raise NotImplementedError

    def say(self, sentence: str) -> None:
        """Show a sentence in place."""
        self.query_one("#said", Static).update(sentence)

    def have(self, line: str) -> None:
        """Have a line done; go if it was, or else say why it was not."""
        self.say(f"Doing: {line}")
        self._do(line, self._heard)

    def _heard(self, reply: Reply) -> None:
        if not self.is_attached:
            return
        if reply.good:
            self.dismiss(reply)
        else:
            self.say(" ".join(reply.sentences))

    def action_away(self) -> None:
        """Leave without doing anything."""
        self.dismiss(None)
