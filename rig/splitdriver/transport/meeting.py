"""What the two services ask of whoever brings them a link, over TCP or over another channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rig.splitdriver.transport.link import Stream


class Calls(Protocol):
    """Brings a front end its back end, and brings it again."""

    def call(self) -> None:
        """Begin; the service may be reached before this returns."""

    def lost(self, reason: str, *, served: bool) -> None:
        """The link has ended: bring another.

        Args:
            reason: Why.
            served: Whether the other end had greeted us.
        """

    def close(self) -> None:
        """Bring no more."""


class Door(Protocol):
    """Where front ends come to a back end."""

    @property
    def place(self) -> dict[str, object]:
        """Where that is, for whoever waits to come."""

    def lost(self, reason: str) -> None:
        """The one who was let in is gone."""

    def close(self) -> None:
        """Let nobody in any more."""


Reached = Callable[[Stream], None]
"""Takes a stream on which the other end has proved what it must."""

MakeCalls = Callable[[Reached], Calls]

Admitted = Callable[[Stream, str], None]
"""Takes such a stream, and who is there."""

Rejected = Callable[[str, str], None]
"""Hears who was sent away, and why."""

MakeDoor = Callable[[Admitted, Rejected], Door]
