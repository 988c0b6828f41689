"""A live session on two real kernels: faults are armed and seen, data are verified, it is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from rig.control.rules import table_of_words
from rig.errors import MachineError, UserError
from rig.experiments.run.trace import read_trace
from rig.faults.plan import Fault
from rig.faults.reader import parse_rule
from rig.progress import Silent
from rig.report.verdict import Outcome, Verdict
from rig.session.live.engine import Engine
from rig.session.live.findings import PASSES
from rig.session.live.start import session_options
from rig.session.snapshot import Mode, Snapshot

# The whole story, test_session_story, is in every test run.
pytestmark = [pytest.mark.vm, pytest.mark.nightly]

LONG_S = 200.0
LOOK_S = 0.1
SNAPSHOT_S = 0.02
CUT = "layer=endpoint direction=out endpoint=2 min_bytes=4096 status=EPROTO when=middle nth=1"
UNPLUG = "layer=device effect=soft-disconnect at_s=0 name=off"


def rule(words: str) -> Fault:
    return parse_rule(table_of_words(words.split()))


def wait_until(engine: Engine, true: Callable[[Snapshot], bool]) -> Snapshot:
    until_s = time.monotonic() + LONG_S
    while not true(seen := engine.snapshot()):
        assert time.monotonic() < until_s, f"{seen.mode}: {seen.words} {seen.told}"
        assert seen.mode not in (Mode.BROKEN, Mode.ENDED), seen.words
        engine.wait(LOOK_S)
    return seen


def fired(seen: Snapshot, name: str) -> bool:
    return any(row.name == name and row.fired for row in seen.faults)


def passes_more(engine: Engine, count: int = 2) -> None:
    """Wait until a pass has begun and ended behind what was done."""
    before = engine.snapshot().workload.passes
    wait_until(engine, lambda seen: seen.workload.passes >= before + count)


def check_refusals(engine: Engine) -> None:
    for words, said in (
        (CUT.replace("endpoint=2", "endpoint=5"), "no endpoint 5 OUT"),
        ("layer=medium op=write nth=1 error=EIO lba=[99999999,99999999]", "out of range"),
    ):
        with pytest.raises(UserError, match=said):
            engine.add([rule(words)])
    with pytest.raises(UserError, match="no rule 'none'"):
        engine.fire("none")
    with pytest.raises(UserError, match="not known"):
        engine.use("nonsense")


def check_endpoint_error(engine: Engine) -> None:
    assert engine.add([rule(f"{CUT} name=cut")]) == ["cut"]
    seen = wait_until(engine, lambda seen: fired(seen, "cut"))
    wait_until(engine, lambda seen: any("'cut' fired" in line for line in seen.told))
    passes_more(engine)
    seen = wait_until(engine, lambda seen: bool(seen.urbs and seen.samples and seen.log))
    (port,) = seen.ports
    assert {row.address: row.kind for row in port.endpoints}[2] == "bulk"
    assert sum(row.failed for row in port.endpoints) > 0
    assert max(sample.written_bps for sample in seen.samples) > 0
    assert [row.name for row in seen.machines] == ["back", "front"]
    assert {row.state for row in seen.machines} == {"up"}
    (place,) = seen.file_systems
    assert 0 < place.first_lba < place.first_lba + place.blocks <= seen.disk_blocks
    gone, armed = engine.remove("cut")
    assert (gone.name, armed) == ("cut", True)


def check_workload(engine: Engine) -> None:
    assert engine.use("random") == "usual"
    passes_more(engine, 1)
    assert engine.pause()
    assert not engine.pause()
    assert engine.snapshot().mode is Mode.PAUSED
    assert engine.go()
    engine.reset()
    passes_more(engine)


def check_unplugging(engine: Engine) -> None:
    engine.add([rule(UNPLUG)])
    wait_until(engine, lambda seen: "away" in seen.words)
    with pytest.raises(MachineError, match="away"):
        engine.verify()
    assert engine.release() == 1
    passes_more(engine)


def begun(engine: Engine) -> None:
    with pytest.raises(UserError, match="not begun"):
        engine.verify()
    wait_until(engine, lambda seen: seen.mode is Mode.LIVE and bool(seen.ports))


def check_judgement(engine: Engine) -> None:
    assert engine.verify()[0] == "Nothing is wrong."
    engine.mark("all is well")
    began_s = time.monotonic()
    seen = engine.snapshot()
    assert time.monotonic() - began_s < SNAPSHOT_S
    assert seen.verdict == PASSES


def check_what_is_left(engine: Engine, directory: Path, fired: dict[str, int]) -> Verdict:
    verdict = engine.verdict
    assert verdict is not None
    assert (verdict.verdict, verdict.reasons) == (Outcome.PASS, ())
    assert {one.rule: one.fired for one in verdict.faults.rules} == fired
    kept = msgspec.json.decode((directory / "verdict.json").read_bytes(), type=Verdict)
    assert kept == verdict
    trace = read_trace(directory / "trace.jsonl")
    assert ("note", "all is well") in [(line.event, line.what.get("text")) for line in trace]
    return verdict


@pytest.mark.timeout(600)
def test_a_session_is_looked_at_verified_and_left_with_a_pass(tmp_path: Path) -> None:
    with Engine.open(session_options(), tmp_path / "run", Silent()) as engine:
        begun(engine)
        check_refusals(engine)
        check_endpoint_error(engine)
        check_judgement(engine)
    verdict = check_what_is_left(engine, tmp_path / "run", {"cut": 1})
    assert (verdict.policy, verdict.workloads) == ("hold", ("usual",))


@pytest.mark.timeout(900)
def test_a_session_outlasts_all_that_is_done_to_its_disk(tmp_path: Path) -> None:
    with Engine.open(session_options(), tmp_path / "run", Silent()) as engine:
        begun(engine)
        check_endpoint_error(engine)
        check_workload(engine)
        check_unplugging(engine)
        assert engine.switch("naive") == "hold"
        passes_more(engine)
        check_judgement(engine)
    verdict = check_what_is_left(engine, tmp_path / "run", {"cut": 1, "off": 1})
    assert (verdict.policy, verdict.workloads) == ("hold, then naive", ("usual", "random"))
