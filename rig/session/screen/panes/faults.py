"""The faults, and what has fired."""

from __future__ import annotations

from textual.app import ComposeResult

from rig.session.screen.panes.base import Pane, Rows, Tail
from rig.session.screen.words import fault_state, fired_of
from rig.session.snapshot import FaultRow, Snapshot

HEADINGS = ("fault", "state", "fired", "matches", "where", "what it does")


class Faults(Pane):
    """All rules, and the last that was told of them."""

    BORDER_TITLE = "Faults"
    DEFAULT_CSS = """
    Faults > Rows { height: 2fr; }
    Faults > Tail { height: 1fr; border-top: dashed $primary; }
    """

    def compose(self) -> ComposeResult:
        """See `Widget.compose`."""
        yield Rows(HEADINGS, id="fault-rows")
        told: Tail[str] = Tail(id="told")
        told.border_title = "What has happened"
        yield told

    def show(self, snapshot: Snapshot) -> None:
        """See `Pane.show`."""
        armed = sum(row.armed for row in snapshot.faults)
        self.border_title = f"Faults: {len(snapshot.faults)}, armed {armed}"
        self.query_one(Rows).put((row.name, _cells(row)) for row in snapshot.faults)
        self.query_one("#told", Tail).grow(snapshot.told)


def _cells(row: FaultRow) -> tuple[str, ...]:
    return (row.name, fault_state(row), fired_of(row), str(row.matches), row.process, row.words)
