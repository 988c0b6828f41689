"""Throughput and latency of the last two minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.app import ComposeResult, RenderResult
from textual.containers import Horizontal
from textual.widget import Widget

from rig.session.screen.graph import ceiling, columns
from rig.session.screen.panes.base import Pane
from rig.session.screen.words import duration, rate
from rig.session.snapshot import Snapshot


class Plot(Widget):
    """One figure over time, with the axes' ends in words.

    Args:
        name: What is plotted.
        say: How a value is said, with its unit.
        id: Of the widget.
    """

    DEFAULT_CSS = "Plot { width: 1fr; height: 1fr; padding: 0 1 0 0; }"

    def __init__(self, name: str, say: Callable[[float], str], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._what = name
        self._say = say
        self._values: Sequence[float | None] = ()
        self._seconds = 0.0

    def put(self, values: Sequence[float | None], seconds: float) -> None:
        """Plot these.

        Args:
            values: The newest last; None where there is none.
            seconds: How long an interval each stands for.
        """
        if values != self._values:
            self._values, self._seconds = values, seconds
            self.refresh()

    def render(self) -> RenderResult:
        """See `Widget.render`."""
        width, height = self.content_size
        shown = self._values[-width:]
        known = [value for value in shown if value is not None]
        last = self._say(known[-1]) if known else "none yet"
        top = ceiling(max(known, default=0.0))
        lines = [f"{self._what}: {last}"[:width], f"┬ {self._say(top)}"[:width]]
        lines += columns(shown, width, max(1, height - 3), top)
        lines.append(_axis(width, len(shown) * self._seconds))
        return Text("\n".join(lines), no_wrap=True, overflow="crop")


def _axis(width: int, seconds: float) -> str:
    begin, end = f"-{seconds:.0f} s", "now"
    return begin + "─" * max(1, width - len(begin) - len(end)) + end


class Plots(Pane):
    """Three plots, side by side."""

    BORDER_TITLE = "Throughput and latency"

    def compose(self) -> ComposeResult:
        """See `Widget.compose`."""
        with Horizontal():
            yield Plot("written", rate, id="written")
            yield Plot("read", rate, id="read")
            yield Plot("URB, median", duration, id="latency")

    def show(self, snapshot: Snapshot) -> None:
        """See `Pane.show`."""
        samples = snapshot.samples
        span_s = samples[-1].at_s - samples[0].at_s if len(samples) > 1 else 0.0
        each_s = span_s / (len(samples) - 1) if span_s > 0 else 1.0
        for id_, values in (
            ("written", [sample.written_bps for sample in samples]),
            ("read", [sample.read_bps for sample in samples]),
            ("latency", [sample.latency_s for sample in samples]),
        ):
            self.query_one(f"#{id_}", Plot).put(values, each_s)
