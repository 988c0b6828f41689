"""One connection of a front end, and the call to the back end that belongs to it.  Pure."""

from __future__ import annotations

from rig.faults.release import ReleasedBy
from rig.faults.rules.link import LinkEnd, Way
from rig.link.actions import Released
from rig.link.lane import Lane
from rig.link.weather import Lasting

FROM = {LinkEnd.FRONT: Way.TO_BACK, LinkEnd.BACK: Way.TO_FRONT}
"""The way of what an end sends."""
TO = {Way.TO_BACK: LinkEnd.BACK, Way.TO_FRONT: LinkEnd.FRONT}
"""The end that a way leads to."""


def other(end: LinkEnd) -> LinkEnd:
    """The other end."""
    return TO[FROM[end]]


class Circuit:
    """What is known of it.

    Attributes:
        lanes: What is under way on it, by the way.
        open: Ends whose connection is there.
        dialled: Nobody need be called for it any more.
        reached: The back end has answered, or never will.
        half_open: Why one end is not told that the other has gone.
    """

    def __init__(self) -> None:
        self.lanes = {way: Lane() for way in TO}
        self.open = {LinkEnd.FRONT}
        self.dialled = False
        self.reached = False
        self.half_open: Lasting | None = None

    @property
    def is_calling(self) -> bool:
        """Whether the back end is being called."""
        return self.dialled and not self.reached

    def answered(self) -> None:
        """Take note that the back end is there."""
        self.reached = True
        self.open.add(LinkEnd.BACK)

    def lost(self, end: LinkEnd) -> None:
        """Take note that an end has closed its connection, or does not answer."""
        self.open.discard(end)
        if end is LinkEnd.BACK:
            self.reached = self.dialled = True

    def calls_or_has(self, end: LinkEnd) -> bool:
        """Whether there is a connection with an end, or a call that may become one."""
        return end in self.open or (self.is_calling and end is LinkEnd.BACK)

    def halve(self, lasting: Lasting) -> list[Released]:
        """Let one end's connection go, and the other end know nothing.

        Returns:
            What no longer lasts on it.
        """
        end = lasting.effect.end
        assert end is not None
        over = self.over(lasting.since_s, ReleasedBy.END)
        self.half_open = lasting
        for lane in self.lanes.values():
            lane.clear()
        self.open.discard(end)
        self.dialled = True
        return over

    def over(self, now_s: float, by: ReleasedBy) -> list[Released]:
        """Return the news of the end of all that lasts on it."""
        lasting = [*(lane.overtaken for lane in self.lanes.values()), self.half_open]
        return [one.released(now_s, by) for one in lasting if one is not None]
