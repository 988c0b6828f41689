"""The verdict so far, and what is wrong."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from rig.session.screen.panes.base import Pane
from rig.session.snapshot import Snapshot


class Verdict(Pane):
    """The verdict, its findings, and where the run directory is."""

    BORDER_TITLE = "Verdict"
    DEFAULT_CSS = "Verdict Static { height: auto; }"

    def compose(self) -> ComposeResult:
        """See `Widget.compose`."""
        with VerticalScroll(id="verdict-scroll"):
            yield Static(id="verdict-text", markup=False)

    def show(self, snapshot: Snapshot) -> None:
        """See `Pane.show`."""
        self.border_title = f"Verdict: {snapshot.verdict or 'none yet'}"
        lines = [f"- {finding}" for finding in snapshot.findings] or ["Nothing is wrong so far."]
        lines.append(f"Run directory: {snapshot.directory or 'not made yet'}")
        self.query_one("#verdict-text", Static).update("\n".join(lines))
