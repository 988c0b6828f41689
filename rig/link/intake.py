"""What becomes of each piece that comes from an end: whether a fault befalls it, and when.  Pure.

Each is asked about once, in the order in which pieces come on their way; what happens *at* an octet
is queued between octets, and happens when its turn comes.
"""

from __future__ import annotations

from rig.faults.release import ReleasedBy
from rig.faults.rules.link import SLOWING, LinkEffect, LinkKind, LinkPiece, Way
from rig.faults.triggers import Fired, LinkInjector
from rig.link.actions import Happened, Released
from rig.link.circuit import Circuit
from rig.link.lane import Lane, Mark, Overtaken
from rig.link.weather import Lasting, Weather, lateness_s

OVERTAKEN_DEADLINE_S = 5.0
"""A piece waits no longer for another to overtake it."""


class Intake:
    """Puts pieces on the lanes of circuits.

    Args:
        injector: Is asked about each.
        weather: What makes all of them late; slowness that one of them brings begins there.
        faults: Gets the faults that were made.
        released: Gets the ends of waits to be overtaken.
    """

    def __init__(
        self,
        injector: LinkInjector,
        weather: Weather,
        faults: list[Happened],
        released: list[Released],
    ) -> None:
        self._injector = injector
        self._weather = weather
        self._faults = faults
        self._released = released

    def take(self, number: int, circuit: Circuit, way: Way, data: memoryview, now_s: float) -> None:
        """Take a piece.

        Args:
            number: Of the circuit.
            circuit: On which it comes.
            way: It goes.
            data: Its octets.
            now_s: The time.
        """
        lane = circuit.lanes[way]
        if circuit.half_open is not None:
            return  # nobody is told of it
        piece = LinkPiece(way, len(data), lane.offset_bytes)
        lane.offset_bytes += len(data)
        fired = self._injector.ask(piece)
        if fired is not None:
            self._faults.append(Happened(fired, piece, number))
        if fired is not None and fired.effect.kind is LinkKind.REORDER:
            self.let_overtaken_go(lane, now_s, ReleasedBy.END)
            until_s = now_s + OVERTAKEN_DEADLINE_S
            lane.hold_back(Overtaken(fired.rule_name, data, now_s, until_s))
            return
        self._pass(lane, way, data, fired, now_s)
        lane.let_overtaken_go(now_s)

    def let_overtaken_go(self, lane: Lane, now_s: float, by: ReleasedBy) -> None:
        """Let the piece that waits to be overtaken go on, though nothing has overtaken it."""
        piece = lane.let_overtaken_go(now_s)
        if piece is not None:
            self._released.append(piece.released(now_s, by))

    def _pass(
        self,
        lane: Lane,
        way: Way,
        data: memoryview,
        fired: Fired[LinkEffect] | None,
        now_s: float,
    ) -> None:
        """Queue a piece, and what befalls it."""
        if fired is None:
            self._queue(lane, way, data, now_s)
            return
        effect = fired.effect
        match effect.kind:
            case LinkKind.DUPLICATE:
                self._queue(lane, way, data, now_s)
                self._queue(lane, way, data, now_s)
            case LinkKind.DELAY | LinkKind.JITTER if effect.for_s is None:
                self._queue(lane, way, data, now_s, lateness_s(effect, 0))
            case _ if effect.kind in SLOWING:
                self._weather.begin(Lasting.of(fired, now_s))
                self._queue(lane, way, data, now_s)
            case _:
                self._queue(lane, way, data[: effect.at_bytes], now_s)
                lane.mark(Mark(fired))
                self._queue(lane, way, data[effect.at_bytes :], now_s)

    def _queue(
        self, lane: Lane, way: Way, data: memoryview, now_s: float, late_s: float = 0.0
    ) -> None:
        if data:
            more_s, bytes_per_s = self._weather.slowness(way)
            lane.put(data, now_s + late_s + more_s, bytes_per_s)
