"""A dialog to read in: the help, the journal, a long answer."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static


class Reading(ModalScreen[None]):
    """Shows a text.

    Args:
        title: In the frame.
        text: To read.
    """

    DEFAULT_CSS = """
    Reading { align: center middle; }
    Reading > VerticalScroll { width: 100%; max-width: 110; height: 100%; border: solid $primary;
        border-title-style: bold; background: $surface; padding: 0 1; }
    Reading Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "away", "Close", show=False)]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """See `Screen.compose`."""
        with VerticalScroll() as frame:
            frame.border_title = f"{self._title} (arrows scroll, Escape closes)"
            yield Static(self._text, markup=False)

    def action_away(self) -> None:
        """Close it."""
        self.dismiss(None)
