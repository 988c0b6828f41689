"""A dialog that searches a list: commands and recipes, workloads, policies, machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from rig.session.screen.items import Item, found


class Search(ModalScreen[str | None]):
    """Lists what there is, narrowed by what is typed; its result is the key that was chosen.

    Args:
        title: In the frame.
        items: What there is.
    """

    DEFAULT_CSS = """
    Search { align: center middle; }
    Search > .frame { width: 90%; max-width: 110; height: 90%; border: solid $primary;
        border-title-style: bold; background: $surface; padding: 0 1; }
    Search OptionList { height: 1fr; border: none; background: $surface; }
    Search OptionList > .option-list--option-highlighted { text-style: reverse bold; }
    Search #more { height: 4; border-top: solid $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "away", "Leave without", show=False),
        Binding("down", "move(1)", "Down", show=False, priority=True),
        Binding("up", "move(-1)", "Up", show=False, priority=True),
        Binding("pagedown", "move(8)", "Down", show=False, priority=True),
        Binding("pageup", "move(-8)", "Up", show=False, priority=True),
    ]

    def __init__(self, title: str, items: Sequence[Item]) -> None:
        super().__init__()
        self._title = title
        self._items = tuple(items)
        self._listed: list[Item] = []

    def compose(self) -> ComposeResult:
        """See `Screen.compose`."""
        with Vertical(classes="frame") as frame:
            frame.border_title = f"{self._title}: type to search, Enter chooses, Escape leaves"
            yield Input(placeholder="words to look for", id="words", compact=True)
            options = OptionList(id="options", markup=False)
            options.can_focus = False
            yield options
            yield Static(id="more", markup=False)

    def on_mount(self) -> None:
        """List everything."""
        self._list("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """List what fits."""
        self._list(event.value)

    def _list(self, text: str) -> None:
        self._listed = found(self._items, text)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(item.label) for item in self._listed)
        options.highlighted = 0 if self._listed else None
        self._tell()

    def _tell(self) -> None:
        item = self._here()
        self.query_one("#more", Static).update(item.more if item else "Nothing has these words.")

    def _here(self) -> Item | None:
        at = self.query_one(OptionList).highlighted
        return self._listed[at] if at is not None and at < len(self._listed) else None

    def action_move(self, lines: int) -> None:
        """Go up or down the list."""
        options = self.query_one(OptionList)
        if self._listed:
            at = (options.highlighted or 0) + lines
            options.highlighted = max(0, min(len(self._listed) - 1, at))
        self._tell()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click chooses."""
        self.dismiss(self._listed[event.option_index].key)

    def on_input_submitted(self) -> None:
        """Enter chooses."""
        item = self._here()
        if item is not None:
            self.dismiss(item.key)

    def action_away(self) -> None:
        """Leave without a choice."""
        self.dismiss(None)
