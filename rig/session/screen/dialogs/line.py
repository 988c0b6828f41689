"""A dialog that asks for one line: a note, a file's name, the rest of a command."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Input, Static

from rig.session.screen.dialogs.base import Dialog, Do


class LineDialog(Dialog):
    """Asks for the rest of a command.

    Args:
        title: In the frame.
        do: Has a line done.
        about: What is to be typed.
        command: Goes before what is typed; empty: the whole line is typed.
        value: To begin with.
    """

    def __init__(self, title: str, do: Do, *, about: str, command: str, value: str = "") -> None:
        super().__init__(title, do)
        self._about = about
        self._command = command
        self._value = value

    def compose_inside(self) -> ComposeResult:
        """See `Dialog.compose_inside`."""
        yield Static(self._about, classes="about", markup=False)
        yield Input(self._value, id="line", compact=True, select_on_focus=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Have it done."""
        self.have(f"{self._command} {event.value.strip()}".strip())
