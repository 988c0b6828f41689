"""What long work looks like on a terminal, and in a log that no terminal shows."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

REFRESH_HZ = 8


class Screen(Console):
    """A console whose reader may go: rich would end with 1, which says that data are wrong."""

    def on_broken_pipe(self) -> None:
        """Say nothing more, so that what is being undone is undone, and end as by SIGPIPE."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(128 + signal.SIGPIPE) from None


def stderr_console() -> Console:
    """Return the console for progress and errors; standard output is for results."""
    return Screen(stderr=True, highlight=False, soft_wrap=True)


class ConsoleProgress:
    """Shows steps and their times; implements `rig.progress.Progress`.

    On a terminal the running step has a spinner.  Elsewhere its beginning and its end are a line
    each, so that a log shows where something hangs.  Steps may enclose steps.

    Args:
        console: Where to; None takes standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or stderr_console()
        self._running: list[tuple[str, float]] = []
        self._live: Live | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See `rig.progress.Progress.step`."""
        depth, start = len(self._running), time.monotonic()
        self._running.append((name, start))
        if not self._console.is_terminal:
            self._line("…", name, depth, None)
        self._show()
        done = False
        try:
            yield
            done = True
        finally:
            self._running.pop()
            self._show()
            sign = "[green]✓[/]" if done else "[red]✗[/]"
            self._line(sign, name, depth, time.monotonic() - start)

    def note(self, text: str) -> None:
        """See `rig.progress.Progress.note`."""
        self._line("[dim]·[/]", text, len(self._running), None)

    def _line(self, sign: str, name: str, depth: int, taken_s: float | None) -> None:
        line = Text("  " * depth) + Text.from_markup(sign) + Text(f" {name}")
        if taken_s is not None:
            line.append(f"  {taken_s:.1f} s", style="dim")
        self._console.print(line)

    def _show(self) -> None:
        """Let the spinner tell the innermost running step, or take it away."""
        if not self._console.is_terminal:
            return
        if not self._running:
            if self._live is not None:
                self._live.stop()
                self._live = None
            return
        name, start = self._running[-1]
        spinner = _TimedSpinner("  " * (len(self._running) - 1), name, start)
        if self._live is None:
            self._live = Live(
                spinner, console=self._console, refresh_per_second=REFRESH_HZ, transient=True
            )
            self._live.start(refresh=True)
        else:
            self._live.update(spinner, refresh=True)


class _TimedSpinner:
    """A spinner that says how long its step has run."""

    def __init__(self, indent: str, name: str, start: float) -> None:
        self._indent, self._name, self._start = indent, name, start
        self._spinner = Spinner("dots")

    def __rich__(self) -> Text:
        now = time.monotonic()
        frame = self._spinner.render(now)
        sign = frame if isinstance(frame, Text) else Text("…")
        taken = Text(f"  {now - self._start:.0f} s", style="dim")
        return Text(self._indent) + sign + Text(f" {self._name}") + taken
