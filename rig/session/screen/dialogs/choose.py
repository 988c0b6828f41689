"""A line that shows one of several choices; Left and Right change it.

Lighter than a drop-down list, with which a dialog takes twice as long to open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static


class Choose(Static, can_focus=True):
    """One of several, by its number.

    Args:
        labels: What there is; one at least.
        chosen: The number of the first shown, from 0.
        id: Of the widget.
    """

    DEFAULT_CSS = """
    Choose { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    Choose:focus { text-style: reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "change(1)", "Next", show=False),
        Binding("left", "change(-1)", "Before", show=False),
    ]

    class Changed(Message):
        """Another one was chosen.

        Attributes:
            choose: Where.
        """

        def __init__(self, choose: Choose) -> None:
            super().__init__()
            self.choose = choose

        @property
        def control(self) -> Choose:
            """Where: for selectors."""
            return self.choose

    def __init__(self, labels: Sequence[str], chosen: int = 0, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self._labels = tuple(labels)
        self.chosen = chosen
        self._show()

    def offer(self, labels: Sequence[str]) -> None:
        """Offer others, and choose the first of them."""
        self._labels = tuple(labels)
        self.choose(0)

    def choose(self, number: int) -> None:
        """Choose one by its number."""
        self.chosen = number
        self._show()
        self.post_message(self.Changed(self))

    def action_change(self, by: int) -> None:
        """Go on, or back; behind the last comes the first."""
        self.choose((self.chosen + by) % len(self._labels))

    def on_click(self) -> None:
        """Go on."""
        self.action_change(1)

    def _show(self) -> None:
        place = f"{self.chosen + 1} of {len(self._labels)}"
        self.update(f"< {self._labels[self.chosen]} >  {place}")
