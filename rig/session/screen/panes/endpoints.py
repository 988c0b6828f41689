"""The mapped ports, and the endpoints of what is plugged in there."""

from __future__ import annotations

from textual.app import ComposeResult

from rig.session.screen.panes.base import Pane, Rows
from rig.session.screen.words import amount, endpoint_name, queue_state
from rig.session.snapshot import EndpointRow, PortRow, Snapshot

HEADINGS = ("endpoint", "kind", "queue", "queued", "in flight", "done", "failed", "moved")


class Endpoints(Pane):
    """What the back end has in each endpoint's queue."""

    BORDER_TITLE = "Endpoints"

    def compose(self) -> ComposeResult:
        """See `Widget.compose`."""
        yield Rows(HEADINGS, id="endpoint-rows")

    def show(self, snapshot: Snapshot) -> None:
        """See `Pane.show`."""
        ports = snapshot.ports
        self.border_title = "; ".join(_said(port) for port in ports) or "Endpoints: no port yet"
        rows = self.query_one(Rows)
        began_empty = rows.picked is None
        rows.put(
            (f"{port.name} {row.address}", _cells(port, row, several=len(ports) > 1))
            for port in ports
            for row in port.endpoints
        )
        if began_empty and rows.row_count > 1:
            # Endpoint 0 comes first, and no rule is about it.
            rows.move_cursor(row=1, animate=False)


def picked_address(key: str) -> int:
    """The address in the key of a row."""
    return int(key.rpartition(" ")[2])


def _said(port: PortRow) -> str:
    plugged = "nothing plugged in" if port.device is None else f"device {port.device}"
    linked = "a front end has it" if port.linked else "no front end has it"
    return f"Port {port.name}: {plugged}, {linked}"


def _cells(port: PortRow, row: EndpointRow, *, several: bool) -> tuple[str, ...]:
    name = endpoint_name(row.address)
    return (
        f"{port.name}: {name}" if several else name,
        row.kind,
        queue_state(row),
        str(row.queued),
        str(row.in_flight),
        str(row.done),
        str(row.failed),
        amount(row.octets, "B"),
    )
