"""``trace.jsonl``: all that fired in a run, on all machines, in the time of the station's clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from rig.daemon import CLOCK
from rig.errors import ApiViolationError, MachineError
from rig.lab.clock import MachineClock, Offset, Trip, estimate
from rig.lab.daemons import Daemon, Event

NAME = "trace.jsonl"
STATION = "station"
TRIPS = 8
"""Of each measurement; one takes a few ms, and the quickest say most."""
TRIP_DEADLINE_S = 10.0
CLOCK_DAEMONS = ("back", "front", "gadget")
"""Who is asked for the time of its machine, the quickest to answer first."""
TOLD = frozenset(
    {"fault", "released", "replugged", "control", "note", "stalled", "went_on", "blocked", "broken"}
)
"""The events that go into a trace: what fired, what no longer hangs, that the disk was plugged in
anew behind it, what somebody changed or noted, where the workload made no progress, and which rule
for URBs was broken."""
NS_PER_S = 1_000_000_000


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line.

    Attributes:
        t_ns: Unix time by the station's clock.
        error_ns: `t_ns` is not further from the truth.
        machine: Where it happened.
        process: Who did it.
        event: One of `TOLD`, or ``clock``.
        layer: Of the rule.
        rule: Its name.
        match: At its so-manyth match.
        what: All else that is told of it.
    """

    t_ns: int
    error_ns: int
    machine: str
    process: str
    event: str
    layer: str = ""
    rule: str = ""
    match: int | None = None
    what: dict[str, Any] = {}


class Told(msgspec.Struct, frozen=True):
    """What one process told."""

    machine: str
    process: str
    events: list[Event]


class Clocks:
    """The clocks of a lab's machines, measured again and again."""

    def __init__(self) -> None:
        self.offsets: dict[str, list[Offset]] = {}

    def measure(self, daemons: dict[str, Daemon]) -> None:
        """Measure the offset of each machine that answers.

        Args:
            daemons: Of the lab, by name.
        """
        asked = set()
        for daemon in filter(None, map(daemons.get, CLOCK_DAEMONS)):
            if daemon.machine not in asked:
                asked.add(daemon.machine)
                # One that does not answer is in trouble, as the run is told by others.
                with contextlib.suppress(MachineError, ApiViolationError):
                    offset = estimate([_trip(daemon) for _ in range(TRIPS)])
                    self.offsets.setdefault(daemon.machine, []).append(offset)

    def of(self, machine: str) -> MachineClock:
        """Return the clock of a machine."""
        return MachineClock(self.offsets.get(machine, ()))

    def lines(self) -> Iterator[Line]:
        """Tell each measurement."""
        for machine, offsets in self.offsets.items():
            for one in offsets:
                what = {"offset_ns": one.offset_ns, "trips": one.trips}
                yield Line(one.at_ns, one.error_ns, machine, STATION, "clock", what=what)


def _trip(daemon: Daemon) -> Trip:
    sent_ns = time.time_ns()
    told_ns = int(daemon.ask(CLOCK, TRIP_DEADLINE_S)["t_ns"])
    return Trip(sent_ns, told_ns, time.time_ns())


def lines_of(told: Iterable[Told], clocks: Clocks) -> list[Line]:
    """Merge what all processes told, in order; what one process told stays in its order."""
    lines = [*clocks.lines()]
    for one in told:
        clock, latest_ns = clocks.of(one.machine), 0
        for event in one.events:
            if event.get("event") not in TOLD:
                continue
            stamp = clock.stamp(round(event["t"] * NS_PER_S))
            latest_ns = max(latest_ns, stamp.t_ns)
            lines += _lines(event, one, latest_ns, stamp.error_ns)
    return sorted(lines, key=lambda line: line.t_ns)


def _lines(event: Event, told: Told, t_ns: int, error_ns: int) -> Iterator[Line]:
    what = {key: value for key, value in event.items() if key not in _OWN_KEYS}
    process = event.get("process", told.process)
    # A change by hand may be of several rules.
    for rule in event["rules"] if "rules" in event else [event.get("rule", "")]:
        yield Line(
            t_ns,
            error_ns,
            told.machine,
            process,
            event["event"],
            event.get("layer", ""),
            rule,
            event.get("match"),
            what,
        )


_OWN_KEYS = frozenset({"event", "t", "process", "layer", "rule", "rules", "match"})


def fired(lines: Iterable[Line]) -> dict[str, list[tuple[str, int | None]]]:
    """Return the rules that fired and their matches, in order, for each process.

    The same plan and seed give the same ones wherever triggers count the same events.
    """
    found: dict[str, list[tuple[str, int | None]]] = {}
    for line in lines:
        if line.event == "fault":
            where = f"{line.machine}/{line.process}"
            found.setdefault(where, []).append((line.rule, line.match))
    return found


def read_events(path: Path) -> list[Event]:
    """Read events that a process left in a file; none if there is none."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Event) for line in path.read_bytes().splitlines()]


def write_trace(path: Path, lines: Iterable[Line]) -> None:
    """Write a trace."""
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def read_trace(path: Path) -> list[Line]:
    """Read one."""
    return decode_trace(path.read_bytes())


def decode_trace(octets: bytes) -> list[Line]:
    """Read one.

    Raises:
        msgspec.MsgspecError: It is something else.
    """
    return [msgspec.json.decode(line, type=Line) for line in octets.splitlines()]
