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
from rig.session.snapshot import Sample, Snapshot


class Plot(Widget):
    """One figure over time, with the axes' ends in words.

    Args:
        say: How a value is said, with its unit.
        id: Of the widget.
    """

    DEFAULT_CSS = "Plot { width: 1fr; height: 1fr; padding: 0 1 0 0; }"

    def __init__(self, say: Callable[[float], str], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._say = say
        self._title = ""
        self._values: Sequence[float | None] = ()
        self._seconds = 0.0

    def put(self, title: str, values: Sequence[float | None], seconds: float) -> None:
        """Plot these.

        Args:
            title: What is plotted, and how much it is now.
            values: The newest last; None where there is none.
            seconds: How long an interval each stands for.
        """
        if (title, values) != (self._title, self._values):
            self._title, self._values, self._seconds = title, values, seconds
            self.refresh()

    def render(self) -> RenderResult:
        """See `Widget.render`."""
        width, height = self.content_size
        shown = self._values[-width:]
        top = ceiling(max((value for value in shown if value is not None), default=0.0))
        lines = [self._title, f"┬ {self._say(top)}"]
        lines += columns(shown, width, max(1, height - 3), top)
        lines.append(_axis(width, len(shown) * self._seconds))
        return Text("\n".join(line[:width] for line in lines), no_wrap=True, overflow="crop")


def _axis(width: int, seconds: float) -> str:
    begin, end = f"-{seconds:.0f} s", "now"
    return begin + "─" * max(1, width - len(begin) - len(end)) + end


class Plots(Pane):
    """Three plots, side by side."""

    BORDER_TITLE = "Throughput and latency"

    def compose(self) -> ComposeResult:
        """See `Widget.compose`."""
        with Horizontal():
            yield Plot(rate, id="written")
            yield Plot(rate, id="read")
            yield Plot(duration, id="latency")

    def show(self, snapshot: Snapshot) -> None:
        """See `Pane.show`."""
        samples = snapshot.samples
        span_s = samples[-1].at_s - samples[0].at_s if len(samples) > 1 else 0.0
        each_s = span_s / (len(samples) - 1) if span_s > 0 else 1.0
        last = samples[-1] if samples else Sample(0.0, 0.0, 0.0)
        self._put("written", rate(last.written_bps), [s.written_bps for s in samples], each_s)
        self._put("read", rate(last.read_bps), [s.read_bps for s in samples], each_s)
        took = f"{duration(last.latency_s)}, most {duration(last.longest_s)}"
        self._put("latency", took, [s.latency_s for s in samples], each_s, name="URB")

    def _put(
        self, id_: str, now: str, values: Sequence[float | None], each_s: float, *, name: str = ""
    ) -> None:
        self.query_one(f"#{id_}", Plot).put(f"{name or id_} {now}", values, each_s)
