"""A coordinator in memory: `rig.campaign.desk.Desk` for several clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from rig.campaign.desk import Exported, PlaceView
from rig.errors import MachineError


def service(role: str, group: str = "") -> Exported:
    """Return the NetworkService of a machine."""
    arguments = {"address": f"{role}.lab", "username": "root"}
    return Exported("exporter", group or role, "NetworkService", "NetworkService", arguments)


@dataclass
class Office:
    """What all clients share."""

    places: dict[str, PlaceView] = field(default_factory=dict)
    queue: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    allocations: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    count: int = 0
    is_gone: bool = False

    def add(self, name: str, **tags: str) -> None:
        """Make a place that is a sound lab."""
        self.places[name] = PlaceView(name, {"rig": "lab", **tags})

    def change(self, name: str, **changes: object) -> None:
        """Change a place."""
        self.places[name] = msgspec.structs.replace(self.places[name], **changes)

    def schedule(self) -> None:
        """Give free places to those that wait, the first first."""
        for token, (_, wanted) in self.queue.items():
            for place in self.places.values():
                tags = {**place.tags, "name": place.name}
                free = not place.holder and not place.reservation
                if token not in self.allocations and free and wanted.items() <= tags.items():
                    self.allocations[token] = place.name
                    self.change(place.name, reservation=token)


class FakeDesk:
    """A client; see `rig.campaign.desk.Desk`."""

    def __init__(self, office: Office, me: str = "station/me") -> None:
        self.office = office
        self.me = me
        self.address = "office:1"

    def places(self) -> dict[str, PlaceView]:
        self._ask()
        return dict(self.office.places)

    def missing(self, place: str) -> str:
        return self.office.gaps.get(place, "")

    def reserve(self, tags: Mapping[str, str]) -> str:
        self._ask()
        self.office.count += 1
        token = f"T{self.office.count}"
        self.office.queue[token] = (self.me, dict(tags))
        self.office.schedule()
        return token

    def allocated(self, token: str) -> str | None:
        self._ask()
        if token not in self.office.queue:
            return None
        return self.office.allocations.get(token, "")

    def cancel(self, token: str) -> None:
        self._ask()
        self.office.queue.pop(token, None)
        name = self.office.allocations.pop(token, "")
        if name:
            self.office.change(name, reservation="")
        self.office.schedule()

    def acquire(self, place: str) -> None:
        self._ask()
        if self.office.places[place].holder:
            raise MachineError(f"The labgrid coordinator refused: {place} is acquired.")
        self.office.change(place, holder=self.me)

    def release(self, place: str, holder: str) -> None:
        self._ask()
        if self.office.places[place].holder == holder:
            self.office.change(place, holder="")
            self.office.schedule()

    def tag(self, place: str, tags: Mapping[str, str]) -> None:
        self._ask()
        kept = {**self.office.places[place].tags, **tags}
        self.office.change(place, tags={key: value for key, value in kept.items() if value})

    def comment(self, place: str, text: str) -> None:
        self._ask()
        self.office.change(place, comment=text)

    def resources(self, place: str) -> list[Exported]:
        self._ask()
        return [service("back"), service("front")]

    def _ask(self) -> None:
        if self.office.is_gone:
            raise MachineError("The labgrid coordinator is gone.")
