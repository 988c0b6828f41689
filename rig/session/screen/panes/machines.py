"""The machines, what runs there, and the file systems."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from rig.session.screen.panes.base import Pane, Rows
from rig.session.screen.words import daemons_of
from rig.session.snapshot import FileSystemRow, Snapshot


class Machines(Pane):
    """Both machines, and what is mounted."""

    BORDER_TITLE = "Machines"
    DEFAULT_CSS = """
    Machines { height: auto; }
    Machines > Rows { height: auto; max-height: 4; }
    Machines > Static { height: auto; max-height: 4; }
    """

    def compose(self) -> ComposeResult:
        """See `Widget.compose`."""
        yield Rows(("machine", "state", "kernel", "daemons"), id="machine-rows")
        yield Static(id="file-systems", markup=False)

    def show(self, snapshot: Snapshot) -> None:
        """See `Pane.show`."""
        self.query_one(Rows).put(
            (row.name, (row.name, row.state, row.kernel or "-", daemons_of(row)))
            for row in snapshot.machines
        )
        said = "\n".join(_mounted(row) for row in snapshot.file_systems)
        self.query_one("#file-systems", Static).update(said or "No file system is mounted.")


def _mounted(row: FileSystemRow) -> str:
    last = row.first_lba + row.blocks - 1
    return f"{row.name} on {row.node}, LBA {row.first_lba} to {last}: {row.state}"
