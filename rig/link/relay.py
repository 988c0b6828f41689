"""Carries octets between a front end and a back end, and lets a fault plan do what it likes.

Pure: octets and times come in, `actions` go out.  Octets are never lost, swapped, doubled or late
unless a rule says so.  What becomes of each piece that comes is in `rig.link.intake`, what lasts on
the link as a whole in `rig.link.weather`.  During a partition nobody is called: the front end's
call is answered by this machine's kernel, and nothing comes of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from rig.faults.release import ReleasedBy
from rig.faults.rules.link import HOLDING, SLOWING, LinkEffect, LinkEnd, LinkKind, Way
from rig.faults.triggers import Fired, LinkInjector
from rig.link.actions import Action, Close, Dial, Happened, Released, Send
from rig.link.circuit import FROM, TO, Circuit
from rig.link.intake import Intake
from rig.link.lane import Finish, Item, Mark, Octets
from rig.link.weather import Lasting, Weather


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
        self._circuits: dict[int, Circuit] = {}
        self._numbers = itertools.count(1)
        self._weather = Weather()
        self.actions: list[Action] = []
        self.faults: list[Happened] = []
        self.released: list[Released] = []
        self._intake = Intake(injector, self._weather, self.faults, self.released)

    # What happens at the ends.

    def opened(self, now_s: float) -> int:
        """Take a front end's connection; return its number, by which both ends are called."""
        number = next(self._numbers)
        self._circuits[number] = Circuit()
        self.tick(now_s)
        return number

    def reached(self, number: int, now_s: float) -> None:
        """Take note that the back end has answered."""
        circuit = self._circuits.get(number)
        if circuit is not None:
            circuit.answered()
            self.tick(now_s)

    def space(self, number: int, end: LinkEnd) -> memoryview:
        """Return where the next octets from an end of a circuit that is there are to go."""
        return self._circuits[number].lanes[FROM[end]].pieces.space()

    def received(self, number: int, end: LinkEnd, count: int, now_s: float) -> None:
        """Take `count` octets that were put into `space`."""
        circuit, way = self._circuits[number], FROM[end]
        for data in circuit.lanes[way].pieces.received(count):
            self._intake.take(number, circuit, way, data, now_s)
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
        self.actions.append(Close(number, end))
        lane = circuit.lanes[FROM[end]]
        if (rest := lane.pieces.rest()) is not None:
            self._intake.take(number, circuit, FROM[end], rest, now_s)
        self._intake.let_overtaken_go(lane, now_s, ReleasedBy.END)
        lane.mark(Finish(reset))
        circuit.lost(end)
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
        before = len(self.released)
        self.released += self._weather.release(now_s)
        for number, circuit in list(self._circuits.items()):
            for lane in circuit.lanes.values():
                self._intake.let_overtaken_go(lane, now_s, ReleasedBy.COMMAND)
            if circuit.half_open is not None:
                self._drop(number, now_s, by=ReleasedBy.COMMAND)
        count = len(self.released) - before
        self.tick(now_s)
        return count

    # What whoever does the actions must know.

    @property
    def circuits(self) -> list[int]:
        """The circuits that there are."""
        return list(self._circuits)

    @property
    def standing(self) -> list[str]:
        """The rules whose effect lasts."""
        names = self._weather.standing
        for circuit in self._circuits.values():
            waiting = (lane.overtaken for lane in circuit.lanes.values())
            names += [one.rule_name for one in (*waiting, circuit.half_open) if one is not None]
        return names

    def backlog_bytes(self, number: int, end: LinkEnd) -> int:
        """How many octets from an end wait here."""
        circuit = self._circuits.get(number)
        return circuit.lanes[FROM[end]].backlog_bytes if circuit is not None else 0

    def next_s(self) -> float | None:
        """When to `tick` again if nothing else happens; None: never."""
        due_s = self._injector.next_due_s()
        times = [self._weather.next_s, math.inf if due_s is None else due_s]
        for circuit in self._circuits.values():
            times += self._times_of(circuit)
        soonest_s = min(times)
        return None if soonest_s == math.inf else soonest_s

    def _times_of(self, circuit: Circuit) -> Iterator[float]:
        if circuit.half_open is not None:
            yield circuit.half_open.until_s
        for way, lane in circuit.lanes.items():
            if lane.overtaken is not None:
                yield lane.overtaken.until_s
            first_s = lane.next_s()
            if first_s is not None and not self._blocked(circuit, way):
                yield first_s

    # What goes on.

    def _blocked(self, circuit: Circuit, way: Way) -> bool:
        return (way is Way.TO_BACK and not circuit.reached) or self._weather.holds(way)

    def _run(self, number: int, now_s: float) -> None:
        """Let go on what may."""
        circuit = self._circuits[number]
        if not circuit.dialled and not self._weather.is_partition:
            if not circuit.open:  # it has given up meanwhile
                self._drop(number, now_s)
                return
            circuit.dialled = True
            self.actions.append(Dial(number))
        for way, lane in circuit.lanes.items():
            if self._blocked(circuit, way):
                continue
            for item in lane.ready(now_s):
                self._let_go(number, circuit, TO[way], item, now_s)
                if number not in self._circuits:
                    return
                if self._blocked(circuit, way):
                    break

    def _let_go(self, number: int, circuit: Circuit, to: LinkEnd, item: Item, now_s: float) -> None:
        match item:
            case Octets():
                if to in circuit.open:
                    self.actions.append(Send(number, to, item.data))
            case Mark():
                self._begin(item.fired, [number], now_s)
            case Finish():
                self._drop(number, now_s, reset=item.reset)

    # Effects.

    def _begin(self, fired: Fired[LinkEffect], numbers: list[int], now_s: float) -> None:
        """Let an effect begin, now.

        Args:
            fired: The effect.
            numbers: The circuits that it befalls, if it befalls circuits.
            now_s: The time.
        """
        effect, lasting = fired.effect, Lasting.of(fired, now_s)
        if effect.kind in SLOWING | HOLDING:
            self._weather.begin(lasting)
            return
        for number in numbers:
            if effect.kind is LinkKind.CUT:
                self._drop(number, now_s, reset=effect.reset)
            else:
                self._half_open(number, lasting)

    def _half_open(self, number: int, lasting: Lasting) -> None:
        circuit, effect = self._circuits[number], lasting.effect
        if circuit.half_open is not None:
            return
        assert effect.end is not None
        is_there = circuit.calls_or_has(effect.end)
        self.released += circuit.halve(lasting)
        if is_there:
            self.actions.append(Close(number, effect.end, effect.reset))

    def _drop(
        self,
        number: int,
        now_s: float,
        *,
        reset: bool = False,
        by: ReleasedBy = ReleasedBy.END,
    ) -> None:
        """End a circuit, and what lasts on it: close whatever end is still open."""
        circuit = self._circuits.pop(number)
        self.actions += [Close(number, end, reset) for end in LinkEnd if circuit.calls_or_has(end)]
        self.released += circuit.over(now_s, by)

    def _expire(self, now_s: float) -> None:
        self.released += self._weather.expire(now_s)
        for number, circuit in list(self._circuits.items()):
            for lane in circuit.lanes.values():
                if lane.overtaken is not None and lane.overtaken.until_s <= now_s:
                    self._intake.let_overtaken_go(lane, now_s, ReleasedBy.DEADLINE)
            half_open = circuit.half_open
            if half_open is not None and not circuit.open:
                self._drop(number, now_s)
            elif half_open is not None and half_open.until_s <= now_s:
                self._drop(number, now_s, by=ReleasedBy.DEADLINE)
