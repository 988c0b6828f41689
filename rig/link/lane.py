"""One way of one connection: what is under way on it, in order.  Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from rig.faults.release import ReleasedBy
from rig.faults.rules.link import LinkEffect, LinkKind
from rig.faults.triggers import Fired
from rig.link.actions import Data, Released
from rig.link.pieces import Pieces


@dataclass(frozen=True, slots=True)
class Octets:
    """Octets that may go on at a time."""

    data: Data
    at_s: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A fault that happens when all before it has gone on."""

    fired: Fired[LinkEffect]


@dataclass(frozen=True, slots=True)
class Finish:
    """The sender has closed its end."""

    reset: bool


Item = Octets | Mark | Finish


@dataclass(frozen=True, slots=True)
class Overtaken:
    """A piece that waits for the next one, to be sent behind it."""

    rule_name: str
    data: Data
    since_s: float
    until_s: float

    def released(self, now_s: float, by: ReleasedBy) -> Released:
        """Return the news of the end of its wait."""
        waited_s = round(now_s - self.since_s, 3)
        return Released(self.rule_name, LinkKind.REORDER, waited_s, by)


class Lane:
    """A queue between two ends."""

    def __init__(self) -> None:
        self.pieces = Pieces()
        self.offset_bytes = 0
        self.backlog_bytes = 0
        self.overtaken: Overtaken | None = None
        self._items: deque[Item] = deque()
        self._last_s = 0.0

    def put(self, data: Data, at_s: float, bytes_per_s: float | None = None) -> None:
        """Queue octets behind those that there are.

        Args:
            data: The octets.
            at_s: They may go on at this time, and not before what is queued already.
            bytes_per_s: All before them must have passed at this rate, and so must they.
        """
        if not data:
            return
        self._last_s = max(at_s, self._last_s)
        if bytes_per_s is not None:
            self._last_s += len(data) / bytes_per_s
        self._items.append(Octets(data, self._last_s))
        self.backlog_bytes += len(data)

    def hold_back(self, piece: Overtaken) -> None:
        """Let the next piece overtake this one; there must be none that waits for that."""
        assert self.overtaken is None
        self.overtaken = piece

    def let_overtaken_go(self, now_s: float) -> Overtaken | None:
        """Queue the piece that waits to be overtaken, if there is one; return it."""
        piece, self.overtaken = self.overtaken, None
        if piece is not None:
            self.put(piece.data, now_s)
        return piece

    def mark(self, item: Mark | Finish) -> None:
        """Queue what is to happen behind the octets."""
        self._items.append(item)

    def ready(self, now_s: float) -> Iterator[Item]:
        """Take what may go on now, one by one; who asks stops when he must."""
        while self._items:
            item = self._items[0]
            if isinstance(item, Octets):
                if item.at_s > now_s:
                    return
                self.backlog_bytes -= len(item.data)
            self._items.popleft()
            yield item

    def next_s(self) -> float | None:
        """When the first item may go on; None if there is none."""
        if not self._items:
            return None
        first = self._items[0]
        return first.at_s if isinstance(first, Octets) else 0.0

    def clear(self) -> None:
        """Forget all."""
        self._items.clear()
        self.backlog_bytes = 0
        self.overtaken = None
