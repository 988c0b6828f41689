"""Whole runs on two real kernels: the claims that the README makes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.errors import MachineError
from rig.experiments.run.options import check_wishes
from rig.experiments.run.places import STORE
from rig.experiments.run.run import run
from rig.integrity.filemap import FileMap
from rig.lab.lab import Lab
from rig.progress import Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import Outcome, Verdict

pytestmark = pytest.mark.vm

SWAP = """
import sys
one, other = (int(lba) * 512 for lba in sys.argv[2:])
with open(sys.argv[1], "r+b") as medium:
    sectors = []
    for at in (one, other):
        medium.seek(at)
        sectors.append(medium.read(512))
    for at, data in zip((other, one), sectors):
        medium.seek(at)
        medium.write(data)
"""
NO_FAULTS = 'name = "quiet"\nseed = 7\n'


def small_run(
    tmp_path: Path,
    plan: str,
    kernel: str = "6.12",
    interfere: Callable[[Lab, FileMap], None] | None = None,
) -> tuple[RunDirectory, Verdict]:
    """Run with 1 MiB on ext4: what is under test is not the amount."""
    file = tmp_path / "plan.toml"
    file.write_text(plan)
    options = check_wishes(str(file), "ext4", kernel, None)
    small = dataclasses.replace(options, bytes_each=1 << 20, interfere=interfere)
    return run(small, tmp_path / "run", Silent())


def events(directory: Path, daemon: str) -> list[dict[str, object]]:
    lines = next(directory.glob(f"*/{daemon}.events.jsonl")).read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.timeout(300)
def test_the_demo_loses_no_byte_although_every_fault_fires(tmp_path: Path) -> None:
    out = tmp_path / "demo"

    done = subprocess.run(
        [sys.executable, "-m", "rig", "run", "--json", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict == json.loads((out / "verdict.json").read_text())
    assert verdict["verdict"] == "pass"
    bad = {name: n for name, n in verdict["sectors"].items() if n and name != "ok"}
    assert bad == {}
    stamped_sectors = 2 * (16 << 20) // 512
    assert verdict["views"]["host"]["ok"] == stamped_sectors
    assert verdict["views"]["medium"]["ok"] == stamped_sectors
    assert verdict["faults"]["fired"] == verdict["faults"]["planned"] > 0
    assert {"kernel", "policy", "seed", "durations_s"} <= verdict.keys()
    assert [check["clean"] for check in verdict["checks"]] == [True, True]
    # The front's kernel saw the errors: usb-storage answers an endpoint error by a port reset.
    kernel_log = (out / "front" / "kernel.log").read_text()
    assert "reset high-speed USB device" in kernel_log
    # ... which vhci_hcd does not forward, but we do.
    resets = [e for e in events(out, "back") if e["event"] == "reset"]
    assert resets
    assert {e["status"] for e in resets} == {"0"}
    for name in ("summary.txt", "plan.toml", "seed", "journal.jsonl", "back/console.log"):
        assert (out / name).stat().st_size > 0, name
    for name in ("front/console.log", "back/back.log", "back/gadget.log", "front/front.log"):
        assert (out / name).exists(), name


@pytest.mark.timeout(200)
def test_two_swapped_sectors_fail_the_run_and_both_are_named(tmp_path: Path) -> None:
    swapped: list[int] = []

    def swap(lab: Lab, files: FileMap) -> None:
        lba, count = files.ranges[0]
        swapped.extend((lba, lba + count - 1))
        lab.back.check(f"python3 -c '{SWAP}' {STORE}/medium.img {swapped[0]} {swapped[1]}")

    directory, verdict = small_run(tmp_path, NO_FAULTS, interfere=swap)

    assert verdict.verdict is Outcome.FAIL
    found = {(f.view, f.lba, f.belongs_lba) for f in verdict.findings}
    one, other = swapped
    for view in ("host", "medium"):
        assert {(view, one, other), (view, other, one)} <= found
    text = directory.file("summary.txt").read_text()
    assert f"LBA {one}" in text
    assert f"LBA {other}" in text


@pytest.mark.timeout(200)
def test_a_machine_that_panics_is_an_infrastructure_verdict_with_its_last_words(
    tmp_path: Path,
) -> None:
    def panic(lab: Lab, files: FileMap) -> None:
        with contextlib.suppress(MachineError):  # the run is to notice it by itself
            lab.back.run("echo c > /proc/sysrq-trigger")

    _, verdict = small_run(tmp_path, NO_FAULTS, interfere=panic)

    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert "sysrq triggered crash" in verdict.reasons[0]


@pytest.mark.timeout(300)
def test_kernel_6_1_passes_too(tmp_path: Path) -> None:
    plan = """
        name = "older"
        seed = 1
        [[fault]]
        layer = "endpoint"
        direction = "out"
        min_bytes = 4096
        phase = "write"
        nth = 3
        when = "middle"
        status = "EPROTO"
    """

    _, verdict = small_run(tmp_path, plan, kernel="6.1")

    assert verdict.verdict is Outcome.PASS, verdict.reasons
    assert verdict.kernel.startswith("6.1.")
    assert verdict.faults.fired == 1


@pytest.mark.timeout(200)
def test_a_plan_whose_faults_do_not_fire_proves_nothing(tmp_path: Path) -> None:
    plan = NO_FAULTS + '[[fault]]\nlayer = "medium"\nop = "write"\nnth = 1000000\nerror = "EIO"\n'

    _, verdict = small_run(tmp_path, plan)

    assert verdict.verdict is Outcome.INDETERMINATE
    (reason,) = verdict.reasons
    assert reason.startswith("Fault 'medium-1' fired 0 times of 1: it waits for match 1000000,")
