"""The pure parts of a live session: checks, words, pace, meters, the running verdict."""

from __future__ import annotations

import math
import re
import subprocess
from typing import Any

import pytest

from rig.errors import MachineError, UserError
from rig.faults.reader import parse_rule
from rig.session.live import findings, lookout, pace, told
from rig.session.live.checks import check_machine_is_up, check_rule, coming_back
from rig.session.live.lookout import Meter, Rate
from rig.session.snapshot import EndpointRow, MachineRow, PortRow, Snapshot

ENDPOINTS = (
    EndpointRow(0, "control"),
    EndpointRow(0x02, "bulk"),
    EndpointRow(0x81, "bulk"),
)
SEEN = Snapshot(
    disk_blocks=1000,
    machines=(MachineRow("back", "up"), MachineRow("front", "up")),
    ports=(PortRow("p", 1, True, ENDPOINTS),),
)
ENDPOINT: dict[str, Any] = {
    "layer": "endpoint",
    "direction": "out",
    "status": "EPROTO",
    "when": "middle",
    "nth": 1,
}
MEDIUM: dict[str, Any] = {"layer": "medium", "op": "write", "nth": 1, "error": "EIO"}
PAUSE: dict[str, Any] = {"layer": "machine", "effect": "pause", "machine": "front", "at_s": 0}


@pytest.mark.parametrize(
    "table",
    [
        ENDPOINT,
        {**ENDPOINT, "endpoint": 2},
        {**ENDPOINT, "direction": "in", "endpoint": 1},
        {**ENDPOINT, "phase": "write"},
        {**MEDIUM, "lba": [0, 999]},
        PAUSE,
    ],
)
def test_a_rule_about_what_is_there_passes(table: dict[str, Any]) -> None:
    check_rule(parse_rule(table), SEEN)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({**ENDPOINT, "endpoint": 1}, "no endpoint 1 OUT.*It has 2 OUT .bulk., 1 IN .bulk."),
        ({**MEDIUM, "lba": [0, 1000]}, "LBA 1000 is out of range: .* 0 to 999"),
        ({**ENDPOINT, "phase": "wirte"}, "no.* phase 'wirte'"),
    ],
)
def test_a_rule_about_what_is_not_there_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"(?i){said}"):
        check_rule(parse_rule(table), SEEN)


def test_what_is_not_known_yet_refuses_nothing() -> None:
    check_rule(parse_rule({**ENDPOINT, "endpoint": 9}), Snapshot())
    check_rule(parse_rule({**MEDIUM, "lba": [0, 10**6]}), Snapshot())


@pytest.mark.parametrize(("table", "machine"), [(MEDIUM, "back"), (PAUSE, "front")])
def test_a_rule_for_a_machine_that_is_down_is_refused(table: dict[str, Any], machine: str) -> None:
    rows = tuple(MachineRow(n, "down" if n == machine else "up") for n in ("back", "front"))
    with pytest.raises(MachineError, match=rf"The .*{machine}.* is down, for 0 s now.*wait live"):
        check_rule(parse_rule(table), Snapshot(machines=rows))


def test_a_machine_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"no machine 'side'.*back, front"):
        check_machine_is_up("side", SEEN)


def test_a_machine_is_what_a_fault_makes_of_it_until_that_is_over() -> None:
    struck = told.StruckMachines()
    struck.take({"event": "fault", "rule": "r", "effect": "pause", "machine": "back"})
    assert (struck.of("back"), struck.of("front")) == ("paused", "")
    struck.take({"event": "released", "rule": "r"})
    assert not struck.of("back")


def test_a_daemon_that_is_struck_is_silent_until_that_is_over() -> None:
    struck = told.StruckMachines()
    struck.take(
        {
            "event": "fault",
            "rule": "r",
            "effect": "stop-daemon",
            "machine": "back",
            "daemon": "back",
        }
    )
    assert struck.silent == {"back"}
    assert not struck.of("back")
    struck.take({"event": "released", "rule": "r"})
    assert not struck.silent


def test_what_the_gadget_does_for_ever_is_known_until_something_ends_it() -> None:
    moments = told.LastingMoments()
    off = {"event": "fault", "effect": "soft-disconnect", "for_s": None}
    moments.take(off)
    moments.take({"event": "fault", "effect": "sense"})
    assert moments.effects == ["soft-disconnect"]
    moments.take(off | {"for_s": 2.0})
    assert moments.effects == []


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            {
                "event": "fault",
                "rule": "x",
                "match": 3,
                "status": "-EPROTO",
                "urb": 7,
                "endpoint": 2,
            },
            "back: fault 'x' fired at match 3: -EPROTO, URB 7 of endpoint 0x02.",
        ),
        (
            {"event": "fault", "rule": "x", "by_hand": True, "effect": "hang", "process": "store"},
            "store: fault 'x' fired, by hand: hang.",
        ),
        ({"event": "note", "text": "now"}, "Note: now"),
        ({"event": "ledger", "entries": []}, ""),
    ],
)
def test_what_a_daemon_tells_is_a_sentence(event: dict[str, Any], said: str) -> None:
    assert told.sentence("back", event) == said


@pytest.mark.parametrize("name", sorted(told._SAID))
def test_what_lacks_a_field_is_told_all_the_same(name: str) -> None:
    assert told.sentence("back", {"event": name})


def test_a_back_ends_status_becomes_rows() -> None:
    endpoint = {"address": 2, "kind": "bulk", "queued": 3, "in_flight": 1, "stopped": True}
    status = {
        "front": "f",
        "ports": [{"name": "p", "device": 4, "served": True, "endpoints": [endpoint]}],
    }
    (port,) = told.port_rows(status)
    assert (port.name, port.device, port.linked) == ("p", 4, True)
    assert port.endpoints == (EndpointRow(2, "bulk", 3, 1, True),)


def test_a_meter_tells_octets_a_second_between_two_looks() -> None:
    meter = Meter()
    assert meter.take({"node": "sda", "up_s": 10.0, "read": 0, "written": 100}) is None
    rate = meter.take({"node": "sda", "up_s": 12.0, "read": 4, "written": 300})
    assert rate == Rate(200 * 512 / 2, 4 * 512 / 2)


def test_a_disk_that_came_back_begins_at_nothing() -> None:
    meter = Meter()
    meter.take({"node": "sda", "up_s": 10.0, "read": 50, "written": 100})
    assert meter.take({"node": "sda", "up_s": 11.0, "read": 0, "written": 8}) is None


def test_a_lookout_ends_with_its_standard_input() -> None:
    script = lookout.command("/")
    done = subprocess.run(script, input=b"", capture_output=True, timeout=20, check=False)
    assert done.returncode == 0
    assert not done.stdout or done.stdout.startswith(b'{"event"')


@pytest.mark.parametrize(
    ("room", "rest"), [(None, pace.SHORTEST_S), (2 * pace.QUICK_BYTES, pace.SHORTEST_S)]
)
def test_with_room_a_workload_hardly_rests(room: int | None, rest: float) -> None:
    assert pace.rest_s(2.0, room) == rest


def test_the_less_room_there_is_the_longer_a_workload_rests() -> None:
    step = 32 << 20
    rests = [pace.rest_s(2.0, room) for room in range(pace.LAST_BYTES, pace.QUICK_BYTES, step)]
    assert rests == sorted(rests, reverse=True)
    assert pace.rest_s(2.0, pace.LAST_BYTES - 1) == math.inf


def test_wrong_data_comes_before_everything_in_the_running_verdict() -> None:
    assert findings.so_far((), (), "") == "pass so far"
    assert findings.so_far(("A.", "B."), ("C.",), "D.") == "fail: A., and 1 more"
    assert findings.so_far((), ("C.",), "D.") == "infrastructure: D."
    assert findings.so_far((), ("C.",), "") == "indeterminate: C."


def test_what_was_verified_says_first_what_is_wrong() -> None:
    assert findings.Verified(("Seen.",), (), 8).words() == ["Nothing is wrong.", "Seen."]
    assert findings.Verified(("Seen.",), ("Bad.",)).words() == ["Bad.", "Seen."]


def test_what_nobody_could_judge_is_not_called_right() -> None:
    assert findings.Verified(("Seen.",)).words() == [findings.NOTHING, "Seen."]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            "without power",
            "gadget machine 'back' is without power, for 7 s now, and 'store' with it",
        ),
        ("up", "gadget machine 'back' was struck just now.*it is coming back"),
    ],
)
def test_who_is_struck_is_told_with_the_time_and_what_to_do(state: str, said: str) -> None:
    seen = Snapshot(at_s=20.0, machines=(MachineRow("back", state, since_s=13.0),))
    assert re.search(
        f"{said}.*Nothing was armed. 'wait live'", str(coming_back("store", "back", seen))
    )


def test_a_machine_is_as_long_in_its_state_as_it_was_seen_to_be() -> None:
    known = [told.machine_row("back", "", there=True, struck="", daemons=(), now_s=3.0)]
    same = told.machine_row("back", "", there=True, struck="", daemons=(), now_s=9.0)
    other = told.machine_row("back", "", there=False, struck="", daemons=(), now_s=9.0)
    assert told.as_before(same, known).since_s == 3.0
    assert told.as_before(other, known).since_s == 9.0


@pytest.mark.parametrize(
    ("event", "moves"),
    [
        ({"event": "fault", "layer": "device"}, True),
        ({"event": "fault", "layer": "endpoint"}, False),
        ({"event": "plugged"}, True),
        ({"event": "released", "layer": "machine"}, True),
        ({"event": "released", "layer": "medium"}, False),
        ({"event": "note"}, False),
    ],
)
def test_what_may_move_a_disk_has_it_looked_for(event: dict[str, Any], moves: bool) -> None:
    assert told.moves_disk(event) is moves
