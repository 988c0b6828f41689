"""All monitors of a run, on the merged events of both ends.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

from rig.integrity.monitors.back import BackMonitor
from rig.integrity.monitors.breach import Breach
from rig.integrity.monitors.ends import EndsMonitor
from rig.integrity.monitors.front import FrontMonitor
from rig.integrity.monitors.watch import Watch
from rig.usb.urblog import Place, UrbEvent


class Monitors:
    """Every monitor that holds for a split driver's two ends.

    Args:
        window: Of the back end.
        holds: The policy is ``hold``.
    """

    def __init__(self, window: int = 1, *, holds: bool = True) -> None:
        self._ports: dict[tuple[Place, int], Watch] = {}
        self._ends = EndsMonitor()
        self._window = window
        self._holds = holds
        self._count = 0

    def feed(self, event: UrbEvent) -> list[Breach]:
        """Take the next event of either end; return what it breaks."""
        seen: list[Breach] = []
        for monitor in (self._of(event), self._ends):
            before = len(monitor.breaches)
            monitor.feed(event, self._count)
            seen += monitor.breaches[before:]
        self._count += 1
        return seen

    def finish(self, *, calm: bool = True) -> list[Breach]:
        """End the stream.

        Args:
            calm: Nothing was under way any more, so what never came back is a breach.

        Returns:
            All breaches, in the order in which they were seen.
        """
        if calm:
            for monitor in (*self._ports.values(), self._ends):
                monitor.finish(self._count)
        return self.breaches

    @property
    def breaches(self) -> list[Breach]:
        """What was seen so far, in order."""
        found = [b for monitor in self._ports.values() for b in monitor.breaches]
        return sorted([*found, *self._ends.breaches], key=lambda breach: breach.at)

    def _of(self, event: UrbEvent) -> Watch:
        key = event.place, event.device >> 16  # the port's place on the link
        monitor = self._ports.get(key)
        if monitor is None:
            front = event.place is Place.FRONT
            monitor = FrontMonitor() if front else BackMonitor(self._window, holds=self._holds)
            self._ports[key] = monitor
        return monitor


def watch(
    events: Iterable[UrbEvent], window: int = 1, *, holds: bool = True, calm: bool = True
) -> list[Breach]:
    """Return all breaches in a stream.

    Args:
        events: Of both ends, merged.
        window: Of the back end.
        holds: The policy is ``hold``.
        calm: See `Monitors.finish`.
    """
    monitors = Monitors(window, holds=holds)
    for event in events:
        monitors.feed(event)
    return monitors.finish(calm=calm)
