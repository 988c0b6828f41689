"""The lines above and below the panes: how things are, which tab is shown, the keys."""

from __future__ import annotations

import textwrap

from textual.content import Content
from textual.widgets import Static

from rig.session.screen.keys import KEYS, TABS, Key
from rig.session.screen.words import amount, clock, duration, rate
from rig.session.snapshot import Mode, Snapshot, WorkloadRow


class Status(Static):
    """Two lines that are always there."""

    DEFAULT_CSS = """
    Status { height: 2; text-style: bold; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def show(self, snapshot: Snapshot, doing: tuple[str, ...]) -> None:
        """Show how things are.

        Args:
            snapshot: How they are.
            doing: Lines that are being done or wait.
        """
        first = [snapshot.mode.upper(), clock(snapshot.at_s)]
        if snapshot.policy:
            first.append(f"policy {snapshot.policy}")
        writes = snapshot.mode in (Mode.LIVE, Mode.PAUSED) and bool(snapshot.workload.name)
        if snapshot.away_s:
            first.append(f"disk away for {snapshot.away_s:.0f} s")
        first.append(
            _workload(snapshot.workload) if writes and not snapshot.away else snapshot.words
        )
        second = [_figures(snapshot)]
        if doing:
            waiting = f", {len(doing) - 1} waiting" if len(doing) > 1 else ""
            second.append(f"doing: {doing[0]}{waiting}")
        second.append(f"verdict: {snapshot.verdict or 'none yet'}")
        self.update(Content("\n".join(["  ".join(first), "  ".join(second)])))


def _workload(row: WorkloadRow) -> str:
    where = f" on {row.file_system}" if row.file_system else ""
    step = f": {row.step}" if row.step else ""
    return f"workload {row.name}{where}, pass {row.passes + 1}, {amount(row.octets, 'B')}{step}"


def _figures(snapshot: Snapshot) -> str:
    if not snapshot.samples:
        return "no data moved yet"
    last = snapshot.samples[-1]
    return (
        f"written {rate(last.written_bps)}, read {rate(last.read_bps)},"
        f" URB {duration(last.latency_s)}"
    )


class TabLine(Static):
    """Which panes are shown, by number; and what is picked."""

    DEFAULT_CSS = "TabLine { height: 1; }"

    def show(self, tab: int, *, wide: bool, picked: str) -> None:
        """Show this tab as the present one.

        Args:
            tab: Its number, from 0.
            wide: Whether all panes are shown at once.
            picked: What a fault would be about, in words; may be empty.
        """
        parts: list[Content | str] = []
        for number, (name, _) in enumerate(TABS):
            here = number == tab and not wide
            said = f"[{number + 1} {name}]" if here else f" {number + 1} {name} "
            style = "reverse bold" if here else ""
            parts.append(Content.styled(said, f"{style} @click=app.tab({number})".strip()))
        if picked:
            parts.append(f"  picked: {picked}")
        self.update(Content.assemble(*parts))


class KeyLine(Static):
    """All keys, on as many lines as they need."""

    DEFAULT_CSS = "KeyLine { height: 3; background: $panel; }"

    def fit(self, columns: int) -> None:
        """Break the lines for so many columns."""
        said = keys_said(columns)
        self.styles.height = said.plain.count("\n") + 1
        self.update(said)


def keys_said(width: int) -> Content:
    """All keys with what they do, in lines of so many characters; a click does it, too."""
    by_words = {_glued(key): key for key in KEYS}
    lines = textwrap.wrap(
        " ".join(by_words), max(width, 20), break_long_words=False, break_on_hyphens=False
    )
    return Content("\n").join(
        Content(" ").join(_key_said(by_words[words]) for words in line.split(" ")) for line in lines
    )


def _glued(key: Key) -> str:
    # No-break spaces keep a key with its words when lines are filled.
    return f"{key.shown} {key.short}".replace(" ", "\u00a0")


def _key_said(key: Key) -> Content:
    return Content.assemble(
        Content.styled(key.shown, f"bold @click=app.{key.action}"),
        Content.styled(f" {key.short}", f"@click=app.{key.action}"),
    )
