"""The monitors on line: two logs of URBs, judged while they grow.  Pure.

What is seen is the same, whatever pieces the logs come in, and however the two are interleaved; and
the same as in the whole logs afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rig.errors import UserError
from rig.integrity.monitors.breach import Breach
from rig.integrity.monitors.merge import Merge
from rig.integrity.monitors.recent import RecentUrbs, SeenUrb
from rig.integrity.monitors.run import Monitors
from rig.usb.urblog import Kind, LogReader, Place, UrbEvent


class Counts(msgspec.Struct, frozen=True):
    """How far the monitors are.

    Attributes:
        urbs: URBs that were submitted, in what was judged.
        breaches: Rules that were seen broken, so often.
        front_bytes: Octets of the front end's log that were taken.
        back_bytes: Of the back end's.
        waiting: Events of one log that wait for the other's.
    """

    urbs: int = 0
    breaches: int = 0
    front_bytes: int = 0
    back_bytes: int = 0
    waiting: int = 0


class OnLine:
    """Judges the logs of one run, piece by piece.  For one thread at a time.

    Args:
        window: Of the back end.
        holds: The policy is ``hold``.
        kept: So many of the last URBs are kept for a display.
        alone: There is the log of one end alone: nothing in it waits for the other's.

    Attributes:
        cut: A log has begun anew, since its daemon has.  What was judged stands; nothing more is.
    """

    def __init__(
        self, window: int = 1, *, holds: bool = True, kept: int = 64, alone: bool = False
    ) -> None:
        self.cut = False
        self._alone = alone
        self._monitors = Monitors(window, holds=holds)
        self._merge = Merge()
        self._readers: dict[str, LogReader] = {}
        self._places: dict[Place, str] = {}
        self._urbs: set[tuple[int, int]] = set()
        self._recent = RecentUrbs(kept)

    def feed(self, octets: bytes, log: str) -> list[Breach]:
        """Take the next piece of a log; return what is seen broken now.

        A front end's events wait until the back end's log has gone on as far, and the other way
        round, so that each effect is judged behind its causes.

        Args:
            octets: As they stand in the file.
            log: Which log; a name for people.  The records say of which end it is.

        Raises:
            RemoteProtocolError: It is no such log, or a record has no meaning.
            UserError: There is another log of the same end.
        """
        reader = self._readers.setdefault(log, LogReader())
        for event in reader.feed(octets):
            place = self._place(log, event)
            self._merge.add(place, event)
            self._recent.feed(event)
        found = [] if self.cut else self._judge(self._merge.take(over=self._alone))
        self.cut = self.cut or reader.renewed
        return found

    def finish(self) -> list[Breach]:
        """Judge what still waits, since both logs are whole; return what is seen broken now.

        Not for logs whose ends were cut off: what an end did last may be in the other's log alone.
        """
        return [] if self.cut else self._judge(self._merge.take(over=True))

    @property
    def breaches(self) -> list[Breach]:
        """All that was seen broken so far, in order."""
        return self._monitors.breaches

    @property
    def counts(self) -> Counts:
        """How far it is."""
        return Counts(
            len(self._urbs),
            len(self.breaches),
            self.taken_bytes(self._places.get(Place.FRONT, "")),
            self.taken_bytes(self._places.get(Place.BACK, "")),
            self._merge.waiting,
        )

    def taken_bytes(self, log: str) -> int:
        """Return how many octets of a log were taken."""
        reader = self._readers.get(log)
        return 0 if reader is None else reader.taken_bytes

    def last(self, count: int) -> tuple[SeenUrb, ...]:
        """Return the last URBs that came, the latest last, also those that still run."""
        return self._recent.last(count)

    def _place(self, log: str, event: UrbEvent) -> Place:
        """Return of which end a log is: its first record says."""
        for place, name in self._places.items():
            if name == log:
                return place
        if event.place in self._places:
            raise UserError(
                f"{log} is a second log of the same end.",
                hint="Give one log of the front end and one of the back end of one run.",
            )
        self._places[event.place] = log
        return event.place

    def _judge(self, events: Iterable[UrbEvent]) -> list[Breach]:
        found: list[Breach] = []
        for event in events:
            if event.kind is Kind.SUBMIT:
                self._urbs.add((event.device, event.urb))
            found += self._monitors.feed(event)
        return found
