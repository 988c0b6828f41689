"""Panes of text that grows: kernel logs, URBs."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from rig.session.screen.panes.base import Pane, Tail
from rig.session.screen.words import clock, duration, endpoint_name
from rig.session.snapshot import LogLine, Snapshot, UrbRow


class LogTail(Tail[LogLine]):
    """Lines of a kernel."""

    def words(self, line: LogLine) -> str:
        """See `Tail.words`."""
        return line.text


class KernelLog(Pane):
    """The kernel log of one machine.

    Args:
        machine: ``back`` or ``front``.
    """

    def __init__(self, machine: str) -> None:
        super().__init__(id=f"{machine}-log")
        self.machine = machine
        self.border_title = f"Kernel log of the {machine} machine"

    def compose(self) -> ComposeResult:
        """See `Widget.compose`."""
        yield LogTail(id=f"{self.machine}-lines")

    def show(self, snapshot: Snapshot) -> None:
        """See `Pane.show`."""
        lines = [line for line in snapshot.log if line.machine == self.machine]
        self.query_one(LogTail).grow(lines)


class UrbTail(Tail[UrbRow]):
    """URBs, one a line."""

    def words(self, line: UrbRow) -> str:
        """See `Tail.words`."""
        return _FORMAT.format(
            clock(line.at_s),
            line.number,
            endpoint_name(line.endpoint),
            f"{line.actual_bytes}/{line.buffer_bytes}",
            line.status,
            duration(line.took_s),
        )


_FORMAT = "{:>8} {:>10} {:>8} {:>15}  {:<12} {:>9}"


class Urbs(Pane):
    """The last URBs."""

    BORDER_TITLE = "Last URBs"
    DEFAULT_CSS = "Urbs > Static { height: 1; text-style: bold underline; }"

    def compose(self) -> ComposeResult:
        """See `Widget.compose`."""
        yield Static(_FORMAT.format("time", "URB", "endpoint", "bytes", "status", "took"))
        yield UrbTail(id="urb-lines")

    def show(self, snapshot: Snapshot) -> None:
        """See `Pane.show`."""
        self.query_one(UrbTail).grow(snapshot.urbs)
