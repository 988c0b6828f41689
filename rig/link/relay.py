"""Carries octets between a front end and a back end, and lets a fault plan do what it likes.

Pure: octets and times come in, `actions` go out.  Octets are never lost, swapped, doubled or late
unless a rule says so.  Each piece that comes is asked about once, in the order in which pieces come
on their way; what happens *at* an octet is queued between octets, and happens when its turn comes.

A *hold* (stall, partition) stands on the link, not on a connection: one that is made meanwhile
suffers from it, too.  During a partition nobody is called: the front end's call is answered by this
machine's kernel, and nothing comes of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from rig.faults.rules.link import (
    HOLDING,
    SLOWING,
    LinkEffect,
    LinkEnd,
    LinkKind,
    LinkPiece,
    Way,
)
from rig.faults.triggers import Draws, Fired, LinkInjector
from rig.link.lane import Data, Finish, Lane, Mark, Octets, Overtaken

ONE_WAY = (Way.TO_BACK, Way.TO_FRONT)
FROM = {LinkEnd.FRONT: Way.TO_BACK, LinkEnd.BACK: Way.TO_FRONT}
"""The way of what an end sends."""
OVERTAKEN_DEADLINE_S = 5.0
"""A piece waits no longer for another to overtake it."""


def other(end: LinkEnd) -> LinkEnd:
    """The other end."""
    return LinkEnd.BACK if end is LinkEnd.FRONT else LinkEnd.FRONT


class ReleasedBy(StrEnum):
    """Why something lasts no longer."""

    DEADLINE = "deadline"
    COMMAND = "command"
    END = "end"
    """Its connection is gone."""


class Dial(msgspec.Struct, frozen=True):
    """Call the back end for a circuit; tell it to `Relay.reached` or `Relay.ended`."""

    circuit: int


class Send(msgspec.Struct, frozen=True):
    """Send octets to an end."""

    circuit: int
    end: LinkEnd
    data: Data


class Close(msgspec.Struct, frozen=True):
    """Close the connection to an end, behind all that was sent to it; by RST if `reset`."""

    circuit: int
    end: LinkEnd
    reset: bool = False


Action = Dial | Send | Close


class Happened(msgspec.Struct, frozen=True):
    """A fault that was made; `piece` and `circuit` are None for one that goes by the clock."""

    fired: Fired[LinkEffect]
    piece: LinkPiece | None = None
    circuit: int | None = None


class Released(msgspec.Struct, frozen=True):
    """The end of what lasted: what stood still goes on, what was slow is not."""

    rule: str
    effect: LinkKind
    waited_s: float
    by: ReleasedBy


@dataclass(frozen=True, slots=True)
class _Lasting:
    """An effect between two times."""

    rule_name: str
    effect: LinkEffect
    since_s: float
    until_s: float
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def concerns(self, way: Way) -> bool:
        return self.effect.kind is LinkKind.PARTITION or self.effect.way in (Way.BOTH, way)


class _Circuit:
    """A front end's connection and the call to the back end that belongs to it."""

    def __init__(self) -> None:
        self.lanes = {way: Lane() for way in ONE_WAY}
        self.open = {LinkEnd.FRONT}
        self.dialled = False
        self.reached = False
        self.half_open: _Lasting | None = None


class Relay:
    """All connections between one front end and one back end.

    Args:
        injector: Link faults; its clock is that of all times here.

    Attributes:
        actions: What is to be done, in order; who does it empties the list.
        faults: Faults that were made; likewise.
        released: What lasted and does no longer; likewise.
    """

    def __init__(self, injector: LinkInjector) -> None:
        self._injector = injector
        self._circuits: dict[int, _Circuit] = {}
        self._numbers = itertools.count(1)
        self._holds: list[_Lasting] = []
        self._slow: list[_Lasting] = []
        self.actions: list[Action] = []
        self.faults: list[Happened] = []
        self.released: list[Released] = []

    # What happens at the ends.

    def opened(self, now_s: float) -> int:
        """Take a front end's connection; return its number, by which both ends are called."""
        number = next(self._numbers)
        self._circuits[number] = _Circuit()
        self.tick(now_s)
        return number

    def reached(self, number: int, now_s: float) -> None:
        """Take note that the back end has answered."""
        circuit = self._circuits.get(number)
        if circuit is not None:
            circuit.reached = True
            circuit.open.add(LinkEnd.BACK)
            self.tick(now_s)

    def space(self, number: int, end: LinkEnd) -> memoryview:
        """Return where the next octets from an end of a circuit that is there are to go."""
        return self._circuits[number].lanes[FROM[end]].pieces.space()

    def received(self, number: int, end: LinkEnd, count: int, now_s: float) -> None:
        """Take `count` octets that were put into `space`."""
        circuit, way = self._circuits[number], FROM[end]
        lane = circuit.lanes[way]
        for data in lane.pieces.received(count):
            self._take(number, circuit, way, data, now_s)
        self.tick(now_s)

    def ended(self, number: int, end: LinkEnd, now_s: float, *, reset: bool = False) -> None:
        """Take note that an end has closed its connection, or cannot be reached.

        Args:
            number: Of the circuit.
            end: Which.
            now_s: The time.
            reset: It was closed by RST, or there is nobody.
        """
        circuit = self._circuits.get(number)
        if circuit is None or (end is LinkEnd.FRONT and end not in circuit.open):
            return
        circuit.open.discard(end)
        self.actions.append(Close(number, end))
        lane = circuit.lanes[FROM[end]]
        if (rest := lane.pieces.rest()) is not None:
            self._take(number, circuit, FROM[end], rest, now_s)
        self._let_overtaken_go(lane, now_s, ReleasedBy.END)
        lane.mark(Finish(reset))
        lane.finished = True
        if end is LinkEnd.BACK:
            circuit.reached = circuit.dialled = True
        self.tick(now_s)

    def tick(self, now_s: float) -> None:
        """Do all that is to be done at this time."""
        self._expire(now_s)
        for fired in self._injector.due():
            self.faults.append(Happened(fired))
            self._begin(fired, list(self._circuits), now_s)
        for number in list(self._circuits):
            self._run(number, now_s)

    def release(self, now_s: float) -> int:
        """End all that lasts, for good; return how much that was."""
        half_open = (c.half_open for c in self._circuits.values() if c.half_open)
        standing = [*self._holds, *self._slow, *half_open]
        self._holds.clear()
        self._slow.clear()
        for lasting in standing:
            self._tell_release(lasting, now_s, ReleasedBy.COMMAND)
        for number, circuit in list(self._circuits.items()):
            if circuit.half_open is not None:
                self._drop(number)
        self.tick(now_s)
        return len(standing)

    # What whoever does the actions must know.

    @property
    def circuits(self) -> list[int]:
        """The circuits that there are."""
        return list(self._circuits)

    @property
    def standing(self) -> list[str]:
        """The rules whose effect lasts."""
        half_open = [c.half_open.rule_name for c in self._circuits.values() if c.half_open]
        return [one.rule_name for one in (*self._holds, *self._slow)] + half_open

    def backlog_bytes(self, number: int, end: LinkEnd) -> int:
        """How many octets from an end wait here."""
        circuit = self._circuits.get(number)
        return circuit.lanes[FROM[end]].backlog_bytes if circuit is not None else 0

    def next_s(self) -> float | None:
        """When to `tick` again if nothing else happens; None: never."""
        times = [hold.until_s for hold in self._holds]
        times += [slow.until_s for slow in self._slow]
        due_s = self._injector.next_due_s()
        times += [due_s] if due_s is not None else []
        for circuit in self._circuits.values():
            times += [circuit.half_open.until_s] if circuit.half_open is not None else []
            for way, lane in circuit.lanes.items():
                times += [lane.overtaken.until_s] if lane.overtaken is not None else []
                first_s = lane.next_s()
                if first_s is not None and not self._blocked(circuit, way):
                    times.append(first_s)
        soonest_s = min(times, default=math.inf)
        return None if soonest_s == math.inf else soonest_s

    # Octets.

    def _take(
        self, number: int, circuit: _Circuit, way: Way, data: memoryview, now_s: float
    ) -> None:
        lane = circuit.lanes[way]
        if circuit.half_open is not None:
            return  # nobody is told of it
        piece = LinkPiece(way, len(data), lane.offset_bytes)
        lane.offset_bytes += len(data)
        fired = self._injector.ask(piece)
        if fired is None:
            self._queue(lane, way, data, now_s)
            return
        self.faults.append(Happened(fired, piece, number))
        self._befall(lane, way, data, fired, now_s)

    def _befall(
        self, lane: Lane, way: Way, data: memoryview, fired: Fired[LinkEffect], now_s: float
    ) -> None:
        effect = fired.effect
        match effect.kind:
            case LinkKind.DUPLICATE:
                self._queue(lane, way, data, now_s)
                self._queue(lane, way, data, now_s)
            case LinkKind.REORDER:
                self._let_overtaken_go(lane, now_s, ReleasedBy.END)
                until_s = now_s + OVERTAKEN_DEADLINE_S
                lane.overtaken = Overtaken(fired.rule_name, data, now_s, until_s)
            case LinkKind.DELAY | LinkKind.JITTER if effect.for_s is None:
                self._queue(lane, way, data, now_s, _late_s(effect, 0))
            case _ if effect.kind in SLOWING:
                self._begin(fired, [], now_s)
                self._queue(lane, way, data, now_s)
            case _:
                self._queue(lane, way, data[: effect.at_bytes], now_s)
                lane.mark(Mark(fired))
                self._queue(lane, way, data[effect.at_bytes :], now_s)

    def _queue(
        self, lane: Lane, way: Way, data: memoryview, now_s: float, late_s: float = 0.0
    ) -> None:
        rates = []
        for slow in self._slow:
            if not slow.concerns(way):
                continue
            if slow.effect.bytes_per_s is not None:
                rates.append(slow.effect.bytes_per_s)
            else:
                late_s += _late_s(slow.effect, next(slow.numbers))
        lane.put(data, now_s + late_s, min(rates, default=None))
        overtaken, lane.overtaken = lane.overtaken, None
        if overtaken is not None and data:
            lane.put(overtaken.data, now_s)

    def _let_overtaken_go(self, lane: Lane, now_s: float, by: ReleasedBy) -> None:
        overtaken, lane.overtaken = lane.overtaken, None
        if overtaken is not None:
            lane.put(overtaken.data, now_s)
            waited_s = round(now_s - overtaken.since_s, 3)
            self.released.append(Released(overtaken.rule_name, LinkKind.REORDER, waited_s, by))

    def _blocked(self, circuit: _Circuit, way: Way) -> bool:
        if way is Way.TO_BACK and not circuit.reached:
            return True
        return any(hold.concerns(way) for hold in self._holds)

    def _run(self, number: int, now_s: float) -> None:
        """Let go on what may."""
        circuit = self._circuits[number]
        partition = any(hold.effect.kind is LinkKind.PARTITION for hold in self._holds)
        if not circuit.dialled and not partition:
            if not circuit.open:  # it has given up meanwhile
                self._drop(number)
                return
            circuit.dialled = True
            self.actions.append(Dial(number))
        for way, lane in circuit.lanes.items():
            if self._blocked(circuit, way):
                continue
            to = LinkEnd.BACK if way is Way.TO_BACK else LinkEnd.FRONT
            for item in lane.ready(now_s):
                match item:
                    case Octets():
                        if to in circuit.open:
                            self.actions.append(Send(number, to, item.data))
                    case Mark():
                        self._begin(item.fired, [number], now_s)
                    case Finish():
                        self._drop(number, reset=item.reset)
                if number not in self._circuits or self._blocked(circuit, way):
                    break
            if number not in self._circuits:
                return

    # Effects.

    def _begin(self, fired: Fired[LinkEffect], numbers: list[int], now_s: float) -> None:
        """Let an effect begin, now.

        Args:
            fired: The effect.
            numbers: The circuits that it befalls, if it befalls circuits.
            now_s: The time.
        """
        effect = fired.effect
        until_s = math.inf if effect.for_s is None else now_s + effect.for_s
        lasting = _Lasting(fired.rule_name, effect, now_s, until_s)
        if effect.kind in SLOWING:
            self._slow.append(lasting)
        elif effect.kind in HOLDING:
            self._holds.append(lasting)
        else:
            for number in numbers:
                if effect.kind is LinkKind.CUT:
                    self._drop(number, reset=effect.reset)
                else:
                    self._half_open(number, lasting)

    def _half_open(self, number: int, lasting: _Lasting) -> None:
        circuit, effect = self._circuits[number], lasting.effect
        assert effect.end is not None
        if circuit.half_open is not None:
            return
        circuit.half_open = lasting
        for lane in circuit.lanes.values():
            lane.clear()
        called = circuit.dialled and not circuit.reached
        circuit.dialled = True  # nobody is called for it any more
        if effect.end in circuit.open or (called and effect.end is LinkEnd.BACK):
            circuit.open.discard(effect.end)
            self.actions.append(Close(number, effect.end, effect.reset))

    def _drop(self, number: int, *, reset: bool = False) -> None:
        """End a circuit: close whatever end is still open."""
        circuit = self._circuits.pop(number)
        ends = set(circuit.open)
        if circuit.dialled and not circuit.reached:
            ends.add(LinkEnd.BACK)  # the call is under way
        self.actions += [Close(number, end, reset) for end in LinkEnd if end in ends]

    def _expire(self, now_s: float) -> None:
        for all_of_them in (self._holds, self._slow):
            for lasting in [one for one in all_of_them if one.until_s <= now_s]:
                all_of_them.remove(lasting)
                self._tell_release(lasting, now_s, ReleasedBy.DEADLINE)
        for number, circuit in list(self._circuits.items()):
            for lane in circuit.lanes.values():
                if lane.overtaken is not None and lane.overtaken.until_s <= now_s:
                    self._let_overtaken_go(lane, now_s, ReleasedBy.DEADLINE)
            if circuit.half_open is None:
                continue
            if not circuit.open:
                self._tell_release(circuit.half_open, now_s, ReleasedBy.END)
                self._drop(number)
            elif circuit.half_open.until_s <= now_s:
                self._tell_release(circuit.half_open, now_s, ReleasedBy.DEADLINE)
                self._drop(number)

    def _tell_release(self, lasting: _Lasting, now_s: float, by: ReleasedBy) -> None:
        waited_s = round(now_s - lasting.since_s, 3)
        self.released.append(Released(lasting.rule_name, lasting.effect.kind, waited_s, by))


def _late_s(effect: LinkEffect, number: int) -> float:
    """How late a delay or jitter makes its so-manyth piece."""
    assert effect.delay_ms is not None
    most_s = effect.delay_ms / 1000
    if effect.kind is LinkKind.DELAY:
        return most_s
    return most_s * Draws("jitter", effect.luck).chance(number)
