"""Dialogs of the end: the question, and how far the end is."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from rig.session.snapshot import Snapshot


class LeaveDialog(ModalScreen[bool]):
    """Asks once; its result says whether to leave."""

    DEFAULT_CSS = """
    LeaveDialog { align: center middle; }
    LeaveDialog > .frame { width: 64; max-width: 100%; height: auto; border: solid $primary;
        border-title-style: bold; background: $surface; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y,q", "answer(True)", "Leave", show=False),
        Binding("escape,n", "answer(False)", "Stay", show=False),
    ]

    def compose(self) -> ComposeResult:
        """See `Screen.compose`."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Leave the session?"
            yield Static(
                "The workload ends, everything is read back and judged, and the run directory"
                " is completed. What was done can be saved as a plan before: S.\n\n"
                "Enter or y leaves, Escape or n stays.",
                markup=False,
            )

    def action_answer(self, leave: bool) -> None:
        """Take the answer."""
        self.dismiss(leave)


class Ending(ModalScreen[None]):
    """Shows the steps of the end until the verdict."""

    DEFAULT_CSS = """
    Ending { align: center middle; }
    Ending > .frame { width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: solid $primary; border-title-style: bold; background: $surface; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[str] = []

    def compose(self) -> ComposeResult:
        """See `Screen.compose`."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Leaving"
            yield Static("The session ends.", id="steps", markup=False)
            yield Static("Ctrl-C closes the screen; the end goes on behind it.", markup=False)

    def show(self, snapshot: Snapshot) -> None:
        """Show how far it is."""
        if snapshot.words and snapshot.words not in self._steps[-1:]:
            self._steps.append(snapshot.words)
            said = "\n".join(["The session ends.", *self._steps[-12:]])
            self.query_one("#steps", Static).update(said)
