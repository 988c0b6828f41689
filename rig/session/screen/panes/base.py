"""What panes are made of: a frame with a title, a table that keeps its cursor, a growing text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from rich.text import Text
from textual import on
from textual.containers import Vertical
from textual.events import Resize, Show
from textual.widgets import DataTable, RichLog

from rig.session.screen.words import fresh
from rig.session.snapshot import Snapshot

LineT = TypeVar("LineT")
MOST_LINES = 5_000
"""Of a growing text: more than a person scrolls back, and broken anew in a moment."""


class Pane(Vertical):
    """A part of the screen, with a title in the line above it."""

    DEFAULT_CSS = """
    Pane { border-top: solid $primary; border-title-style: bold; height: 1fr; }
    Pane:focus-within { border-top: double $accent; }
    """

    def show(self, snapshot: Snapshot) -> None:
        """Show how things are now."""
        raise NotImplementedError


class Rows(DataTable[str]):
    """A table whose cursor stays on its row while others come and go."""

    DEFAULT_CSS = """
    Rows { height: 1fr; background: $background; }
    Rows:focus > .datatable--cursor { text-style: reverse bold; background: $background;
        color: $foreground; }
    Rows > .datatable--cursor { text-style: none; background: $background; color: $foreground; }
    Rows > .datatable--header { text-style: bold underline; background: $background; }
    """

    def __init__(self, headings: Sequence[str], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=1)
        self._headings = tuple(headings)
        self._shown: dict[str, tuple[str, ...]] = {}
        for heading in headings:
            self.add_column(heading, key=heading)

    @property
    def picked(self) -> str | None:
        """The key of the row under the cursor; None of an empty table."""
        names = list(self._shown)
        return names[self.cursor_row] if 0 <= self.cursor_row < len(names) else None

    def put(self, rows: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Show these rows: a key that no other has, and cells."""
        wanted = dict(rows)
        if list(wanted) == list(self._shown):
            for key, cells in wanted.items():
                self._change(key, cells)
        else:
            self._replace(wanted)
        self._shown = wanted

    def _change(self, key: str, cells: tuple[str, ...]) -> None:
        for heading, before, now in zip(self._headings, self._shown[key], cells, strict=True):
            if before != now:
                self.update_cell(key, heading, _cell(now), update_width=True)

    def _replace(self, wanted: dict[str, tuple[str, ...]]) -> None:
        picked = self.picked
        self.clear()
        for key, cells in wanted.items():
            self.add_row(*(_cell(cell) for cell in cells), key=key)
        if picked in wanted:
            self.move_cursor(row=list(wanted).index(picked), animate=False)


def _cell(text: str) -> str:
    # Plain text: a name with brackets is no markup.
    return Text(text)  # type: ignore[return-value]


class Tail(RichLog, Generic[LineT]):
    """A text that grows at its end, and follows it unless the person has scrolled up."""

    DEFAULT_CSS = """
    Tail { height: 1fr; background: $background; scrollbar-size-vertical: 1;
        scrollbar-gutter: stable; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(
            id=id, max_lines=MOST_LINES, min_width=1, wrap=True, markup=False, auto_scroll=False
        )
        self._seen: tuple[LineT, ...] = ()
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._waiting: list[str] = []
        self._columns = 0

    def words(self, line: LineT) -> str:
        """Say a line."""
        return str(line)

    def grow(self, lines: Sequence[LineT]) -> None:
        """Show what is new in a list that grows at its end and loses at its beginning."""
        now = tuple(lines)
        if now is self._seen or now == self._seen:
            return
        for line in fresh(self._seen, now):
            self.add(self.words(line))
        self._seen = now

    def add(self, line: str) -> None:
        """Show one line more."""
        self._lines.append(line)
        # A text that is hidden has no width to break its lines at.
        self._waiting = [*self._waiting[-MOST_LINES:], line]
        if self.scrollable_content_region.width == self._columns > 0:
            self._write_out()

    def _write_out(self) -> None:
        follows = self.follows
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            self.write(Text(line), scroll_end=False)
        if follows:
            self.scroll_end(animate=False)

    @on(Resize)
    @on(Show)
    def _shown(self) -> None:
        """Break the lines anew, and show those that came while it was hidden."""
        columns = self.scrollable_content_region.width
        if columns <= 0:
            return
        if columns != self._columns:
            self._columns = columns
            self._waiting = list(self._lines)
            self.clear()
        self._write_out()

    @property
    def follows(self) -> bool:
        """Whether the end is in sight."""
        return self.scroll_offset.y >= self.max_scroll_y
