"""A plan on two real kernels fires at the matches that it tells beforehand."""

from __future__ import annotations

import dataclasses
import re
import time
from itertools import islice
from pathlib import Path

import pytest

from rig.experiments.run.options import check_wishes
from rig.experiments.run.run import run
from rig.faults.explain import firings
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan
from rig.lab.lab import Lab
from rig.lab.strategy import LabState
from rig.lab.waits import Awaited
from rig.progress import Silent
from rig.report.verdict import Outcome
from rig.tests.harness import transfer_client
from rig.tests.harness.guests import split_setup, start_client
from rig.tests.vm.test_run import events, small_run

pytestmark = pytest.mark.vm

PLAN = """
name = "every-key"
seed = 4

[[fault]]
name = "reset-by-cbw"
layer = "endpoint"
direction = "out"
stage = "command"
opcode = 0x2A
phase = "write"
nth = 2
when = "after"
status = "EPROTO"

[[fault]]
name = "reset-by-csw-of-a-flush"
layer = "endpoint"
direction = "in"
stage = "status"
opcode = 0x35
phase = "write"
nth = 1
when = "after"
status = "EILSEQ"

[[fault]]
name = "reset-by-cut"
layer = "endpoint"
direction = "out"
opcode = 0x2A
min_bytes = 32768
phase = "write"
nth = 4
at_bytes = 17000
status = "ETIME"

[[fault]]
name = "halt"
layer = "endpoint"
direction = "in"
stage = "status"
opcode = 0x2A
phase = "write"
nth = 9
when = "before"
status = "EPIPE"

[[fault]]
name = "reset-by-chance"
layer = "endpoint"
direction = "in"
stage = "data"
opcode = 0x28
min_bytes = 32768
phase = "read"
space = 131072
probability = 0.9
interval = 3
times = 2
when = "middle"
status = "EPROTO"

[[fault]]
name = "babble"
layer = "endpoint"
direction = "in"
stage = "data"
opcode = 0x28
min_bytes = 32768
phase = "read"
nth = 2
when = "after"
status = "EOVERFLOW"
"""


def foretold(plan: Plan) -> set[tuple[str, int]]:
    return {
        (rule.name, match)
        for rule in plan.faults
        for match in islice(firings(rule, plan.seed), rule.times)
    }


@pytest.mark.timeout(300)
def test_every_key_of_an_endpoint_rule_picks_its_transfer_and_the_host_recovers(
    tmp_path: Path,
) -> None:
    directory, verdict = small_run(tmp_path, PLAN)

    assert verdict.verdict is Outcome.PASS, verdict.reasons
    faults = [e for e in events(directory.path, "back") if e["event"] == "fault"]
    assert {(e["rule"], e["match"]) for e in faults} == foretold(parse_plan(PLAN, "plan"))
    told = {e["rule"]: e for e in faults}
    assert told["reset-by-cbw"]["buffer_bytes"] == 31
    assert told["reset-by-csw-of-a-flush"]["buffer_bytes"] == 13
    # Every error but a halt and babble ends in a port reset, and nothing else does.
    log = directory.file("front/kernel.log").read_text()
    resets = sum(str(e["rule"]).startswith("reset-") for e in faults)
    assert len(re.findall("reset high-speed USB device", log)) == resets
    # Babble fails the READ with sense data that usb-storage makes up, and nobody tries again.
    assert "Add. Sense: Invalid field in cdb" in log


STATUSES = {
    # Of a controller that cannot keep up with the bus, each way; of one that gave up; of usbcore.
    "ECOMM": ("in",),
    "ENOSR": ("out",),
    "ETIMEDOUT": ("in", "out"),
    "EAGAIN": ("in", "out"),
    "ESHUTDOWN": ("in", "out"),
    "ECONNRESET": ("in", "out"),
}
"""Those that no emulated controller shows; the others are told by ``rig.tests.vm.test_cable``."""
MOMENTS = {"before": 0, "middle": 2048, "after": 4096}
"""Octets of 4096 that have moved by then."""
TOLD = [
    (status, direction, when)
    for status, directions in STATUSES.items()
    for direction in directions
    for when in MOMENTS
]


def rule_of(status: str, direction: str, when: str) -> str:
    return (
        f'[[fault]]\nname = "{status}-{direction}-{when}"\nphase = "{status}-{direction}-{when}"\n'
        f'layer = "endpoint"\ndirection = "{direction}"\nnth = 1\n'
        f'when = "{when}"\nstatus = "{status}"\n'
    )


HALTS = """
name = "halts"
[[fault]]
name = "in"
layer = "endpoint"
phase = "in"
direction = "in"
nth = 1
when = "middle"
status = "EPIPE"
halt = true
[[fault]]
name = "out"
layer = "endpoint"
phase = "out"
direction = "out"
nth = 1
when = "after"
status = "EPIPE"
halt = true
[[fault]]
name = "nak"
layer = "endpoint"
phase = "nak"
direction = "in"
nth = 1
for_s = 1.5
[[fault]]
name = "short"
layer = "endpoint"
phase = "short"
direction = "in"
nth = 1
when = "middle"
status = "EREMOTEIO"
"""
HALTS_ON_MACHINE = "/run/rig-halts.toml"
DEADLINE_S = 60.0


@pytest.mark.timeout(240)
def test_a_rule_halts_an_endpoint_has_it_wait_cuts_it_short_and_gives_it_any_status(
    booted_lab: Lab, tmp_path: Path
) -> None:
    lab = booted_lab
    plan = tmp_path / "halts.toml"
    plan.write_text(HALTS + "".join(rule_of(*case) for case in TOLD))
    lab.back.put(plan, HALTS_ON_MACHINE)
    setup = split_setup(("--function", "source-sink"), awaits=Awaited.USBTEST)
    lab.setup = dataclasses.replace(setup, back=(*setup.back, "--plan", HALTS_ON_MACHINE))
    lab.transition(LabState.ATTACHED)
    back = lab.strategy.daemons["back"]
    client = start_client(lab.front, transfer_client, "carry", lab.found)
    client.wait_event("carrying", DEADLINE_S)

    for direction, moved in (("in", 2048), ("out", 4096)):
        back.ask("phase", name=direction)
        told = [
            client.ask(direction, DEADLINE_S, bytes=4096, stays=stays)
            for stays in (True, True, False, False)
        ]
        assert told == [
            {"status": "-EPIPE", "bytes": moved},
            {"status": "-EPIPE", "bytes": 0},
            {"status": "-EPIPE", "bytes": 0},  # and is cleared then
            {"status": "0", "bytes": 4096},
        ]

    back.ask("phase", name="nak")
    started_s = time.monotonic()
    assert client.ask("in", DEADLINE_S, bytes=4096) == {"status": "0", "bytes": 4096}
    assert time.monotonic() - started_s >= 1.5
    back.ask("phase", name="short")
    assert client.ask("in", DEADLINE_S, bytes=4096) == {"status": "-EREMOTEIO", "bytes": 2048}

    seen = {}
    for status, direction, when in TOLD:
        back.ask("phase", name=f"{status}-{direction}-{when}")
        seen[status, direction, when] = client.ask(direction, DEADLINE_S, bytes=4096)
        # It was this transfer's alone.
        assert client.ask(direction, DEADLINE_S, bytes=4096) == {"status": "0", "bytes": 4096}
    assert seen == {
        (status, direction, when): {"status": f"-{status}", "bytes": MOMENTS[when]}
        for status, direction, when in TOLD
    }

    assert set(back.ask("faults")["fired"].values()) == {1}
    client.stop()


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_run_may_be_plugged_into_any_controller_of_the_back_machine(tmp_path: Path) -> None:
    named = check_wishes("csw", "ext4", "6.12", None, attachment="udc:dummy_udc.1")
    small = dataclasses.replace(named, bytes_each=1 << 20)

    directory, verdict = run(small, tmp_path / "run", Silent())

    assert (verdict.verdict, verdict.attachment) == (Outcome.PASS, "udc:dummy_udc.1"), (
        verdict.reasons
    )
    (ready,) = [e for e in events(directory.path, "gadget") if e["event"] == "ready"]
    assert ready["udc"] == "dummy_udc.1"
