"""Broken links to the back end: a link that keeps no order, or not every message.  Simulated."""

from __future__ import annotations

from rig.splitdriver.messages import Message, Submit
from rig.tests.mutants.patch import nth
from rig.tests.mutants.world import TappedLane


class Reorders(TappedLane):
    """A message overtakes another."""

    def take(self) -> Message:
        if len(self.queue) > 1 and nth(self, "take", 4):
            self.queue[0], self.queue[1] = self.queue[1], self.queue[0]
        return super().take()


class Duplicates(TappedLane):
    """A SUBMIT arrives twice."""

    def take(self) -> Message:
        first = self.queue[0]
        if isinstance(first, Submit) and nth(self, "take", 20):
            self.queue.appendleft(first)
        return super().take()


class Drops(TappedLane):
    """A SUBMIT is lost."""

    def put(self, message: Message) -> None:
        if not (isinstance(message, Submit) and nth(self, "put", 40)):
            super().put(message)
