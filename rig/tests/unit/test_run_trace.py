"""The trace of a run: one time, one order, nothing lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rig.errors import MachineError
from rig.experiments.run.trace import (
    NS_PER_S,
    Clocks,
    Line,
    Told,
    fired,
    lines_of,
    read_events,
    read_trace,
    write_trace,
)
from rig.lab.clock import Offset

T = 1_700_000_000


def fault(t_s: float, rule: str, match: int, **fields: object) -> dict[str, Any]:
    return {
        "event": "fault",
        "t": T + t_s,
        "layer": "medium",
        "rule": rule,
        "match": match,
    } | fields


def clocks(**offsets_s: float) -> Clocks:
    made = Clocks()
    for machine, offset_s in offsets_s.items():
        made.offsets[machine] = [Offset(T * NS_PER_S, round(offset_s * NS_PER_S), 1000)]
    return made


def test_events_of_all_machines_are_in_the_order_of_the_stations_clock() -> None:
    told = [
        Told("back", "gadget", [fault(101, "a", 1, process="store"), fault(103, "b", 1)]),
        Told("station", "cable", [fault(2, "c", 4)]),
    ]
    lines = [line for line in lines_of(told, clocks(back=100)) if line.event == "fault"]
    assert [(one.machine, one.process, one.rule, one.match) for one in lines] == [
        ("back", "store", "a", 1),
        ("station", "cable", "c", 4),
        ("back", "gadget", "b", 1),
    ]
    assert [one.t_ns - T * NS_PER_S for one in lines] == [NS_PER_S, 2 * NS_PER_S, 3 * NS_PER_S]
    assert [one.error_ns for one in lines] == [1000, 0, 1000]


def test_the_measured_offsets_are_told() -> None:
    (line,) = lines_of([], clocks(back=-2))
    assert (line.event, line.machine, line.error_ns) == ("clock", "back", 1000)
    assert line.what == {"offset_ns": -2 * NS_PER_S, "trips": 1}


def test_all_that_an_event_tells_is_kept_and_other_events_are_left_out() -> None:
    events = [
        {"event": "ready", "t": T},
        fault(1, "a", 2, status="-EPROTO", by_hand=False),
        {"event": "released", "t": T + 2, "rule": "a", "waited_s": 0.5, "by": "deadline"},
        {"event": "control", "t": T + 3, "do": "add", "layer": "link", "rules": ["x", "y"]},
    ]
    lines = lines_of([Told("back", "back", events)], Clocks())
    assert [(one.event, one.rule, one.what) for one in lines] == [
        ("fault", "a", {"status": "-EPROTO", "by_hand": False}),
        ("released", "a", {"waited_s": 0.5, "by": "deadline"}),
        ("control", "x", {"do": "add"}),
        ("control", "y", {"do": "add"}),
    ]


def test_a_clock_that_jumps_back_does_not_change_a_processs_order() -> None:
    told = [Told("back", "back", [fault(5, "a", 1), fault(3, "a", 2)])]
    assert fired(lines_of(told, Clocks())) == {"back/back": [("a", 1), ("a", 2)]}


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = [
        Line(1, 2, "back", "store", "fault", "medium", "a", 3, {"lba": 4}),
        Line(2, 2, "back", "station", "clock"),
    ]
    path = tmp_path / "trace.jsonl"
    write_trace(path, lines)
    assert read_trace(path) == lines
    assert read_events(tmp_path / "none") == []
    assert read_events(path)[0]["rule"] == "a"


class FakeDaemon:
    def __init__(self, machine: str, offset_ns: int | None) -> None:
        self.machine = machine
        self._offset_ns = offset_ns

    def ask(self, do: str, deadline_s: float) -> object:
        assert do == "clock"
        if self._offset_ns is None:
            raise MachineError("It is gone.")
        return {"t_ns": time.time_ns() + self._offset_ns}


def test_each_machine_that_answers_is_measured() -> None:
    made = Clocks()
    daemons: Any = {
        "back": FakeDaemon("back", 7 * NS_PER_S),
        "front": FakeDaemon("front", None),
        "gadget": FakeDaemon("back", 0),
    }
    made.measure(daemons)
    made.measure(daemons)
    assert list(made.offsets) == ["back"]
    for offset in made.offsets["back"]:
        assert abs(offset.offset_ns - 7 * NS_PER_S) <= offset.error_ns < NS_PER_S
