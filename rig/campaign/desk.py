"""What a campaign asks a labgrid coordinator for; `rig.campaign.coordinator` is the real one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec


class Exported(msgspec.Struct, frozen=True):
    """A resource that an exporter tells of, as a place has it.

    Attributes:
        exporter: The exporter's name.
        group: The group that it is in.
        name: Its name: that of the place's named match, or else the exporter's.
        kind: labgrid's class, such as ``NetworkService``.
        arguments: What the class takes.
        named: Whether a named match gave the name.
        proxied: Whether it can only be reached through its exporter's host.
    """

    exporter: str
    group: str
    name: str
    kind: str
    arguments: dict[str, Any]
    named: bool = False
    proxied: bool = False


class PlaceView(msgspec.Struct, frozen=True):
    """A place, as it was when it was asked for.

    Attributes:
        name: Its name.
        tags: Its tags.
        comment: Its comment.
        holder: Who has acquired it, ``host/user``; "" for nobody.
        reservation: The reservation that it is kept for; "" for none.
        lost: The exporter whose resource the holder has lost; "" for none.
    """

    name: str
    tags: dict[str, str]
    comment: str = ""
    holder: str = ""
    reservation: str = ""
    lost: str = ""


class Desk(Protocol):
    """A coordinator's side of the counter; every method raises `MachineError` if it is gone.

    Attributes:
        me: Who we are to it, ``host/user``.
        address: Where it is.
    """

    me: str
    address: str

    def places(self) -> dict[str, PlaceView]:
        """Return all places by name."""

    def missing(self, place: str) -> str:
        """Return the first of a place's matches for which no exporter has anything; "" for none."""

    def reserve(self, tags: Mapping[str, str]) -> str:
        """Queue up for a place with these tags; return the reservation's token."""

    def allocated(self, token: str) -> str | None:
        """Keep a reservation alive; return its place, "" while there is none.

        None: there is no such reservation any more.
        """

    def cancel(self, token: str) -> None:
        """Give a reservation up; one that is gone is no error."""

    def acquire(self, place: str) -> None:
        """Take a place.

        Raises:
            MachineError: Somebody has it, or one of its resources.
        """

    def release(self, place: str, holder: str) -> None:
        """Give a place back, if it is still this holder's."""

    def tag(self, place: str, tags: Mapping[str, str]) -> None:
        """Set tags; an empty value removes one."""

    def comment(self, place: str, text: str) -> None:
        """Set its comment."""

    def resources(self, place: str) -> list[Exported]:
        """Return what an acquired place has."""
