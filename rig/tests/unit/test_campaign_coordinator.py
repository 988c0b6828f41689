"""Campaigns with a real coordinator and real exporters on loopback; their runs are stubs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.campaign.coordinator import coordinator, full_address
from rig.campaign.places import LEASE_S, Places, kept
from rig.cli.exits import Exit
from rig.errors import MachineError, UserError
from rig.tests.harness.coordination import Coordination, coordination
from rig.tests.harness.stub_run import MANNERS
from rig.tests.unit.test_campaign_rendering import POOL

DEADLINE_S = 60.0
INTERRUPTED = 128 + signal.SIGINT


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordination]:
    directory = tmp_path_factory.mktemp("coordination")
    with coordination(directory) as made:
        made.lab("lab1", pool="a", back_udc="musb-hdrc.0", back_port="1-1")
        made.lab("lab2", pool="b")
        yield made


class Bench:
    """Campaigns as processes.

    Args:
        office: Where their places are.
        directory: For their files.
    """

    def __init__(self, office: Coordination, directory: Path) -> None:
        self.office = office
        self.directory = directory
        (directory / "pool.yaml").write_text(POOL)
        self.behave()

    def behave(self, **manners: str) -> None:
        """Say how runs end at a place."""
        (self.directory / "manners").write_text(json.dumps(manners))

    def begin(self, name: str, *words: str) -> subprocess.Popen[str]:
        """Start a campaign in a directory of that name."""
        argv = [sys.executable, "-m", "rig.tests.harness.stub_campaign", "--fs", "vfat"]
        argv += [
            "--coordinator",
            self.office.address,
            "--lg-env",
            str(self.directory / "pool.yaml"),
        ]
        return subprocess.Popen(
            [*argv, "--out", str(self.directory / name), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, MANNERS: str(self.directory / "manners")},
        )

    def await_run(self, process: subprocess.Popen[str], name: str) -> None:
        """Wait until the first run of a campaign has its place."""
        until = time.monotonic() + DEADLINE_S
        while not list((self.directory / name).glob("*/place")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                raise AssertionError(process.communicate()[0])
            if time.monotonic() >= until:
                process.kill()
                raise AssertionError(process.communicate()[0])

    def holders(self) -> set[str]:
        """Return who has places."""
        return {place.holder for place in self.office.views().values()}


@pytest.fixture
def bench(office: Coordination, tmp_path: Path) -> Bench:
    return Bench(office, tmp_path)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, said


def test_a_place_is_taken_told_of_and_given_back(office: Coordination) -> None:
    with coordinator(office.address) as desk, kept(desk, {"pool": "a"}, print) as places:
        held = places.take(lambda: True, DEADLINE_S)
        assert held is not None
        assert [one.group for one in desk.resources("lab1")] == ["back", "front"]
        assert desk.places()["lab1"].holder == desk.me
    assert office.views()["lab1"].holder == ""


def test_campaigns_compete_and_each_is_done(bench: Bench) -> None:
    first, second = (bench.begin(name, "--tag", "pool=a", "--repeat", "2") for name in "xy")
    assert (ended(first)[0], ended(second)[0]) == (Exit.PASS, Exit.PASS)
    assert bench.holders() == {""}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_campaign_that_is_interrupted_gives_all_back_and_can_go_on(
    bench: Bench, number: signal.Signals
) -> None:
    bench.behave(lab1="hang", lab2="hang")
    process = bench.begin("out", "-n", "2", "--repeat", "2")
    bench.await_run(process, "out")
    process.send_signal(number)
    status, said = ended(process)
    assert status == INTERRUPTED, said
    assert "Traceback" not in said
    assert bench.holders() == {""}, said
    bench.behave()
    status, said = ended(bench.begin("out", "-n", "2", "--repeat", "2"))
    assert status == Exit.PASS, said


def test_a_station_that_was_killed_loses_its_place_when_its_lease_ends(bench: Bench) -> None:
    bench.behave(lab1="hang")
    process = bench.begin("out", "--tag", "pool=a")
    bench.await_run(process, "out")
    process.kill()
    ended(process)
    now = [0.0]
    with coordinator(bench.office.address) as desk:
        places = Places(desk, {"pool": "a"}, print, lambda: now[0])
        places.look()
        assert desk.places()["lab1"].holder == desk.me
        now[0] += LEASE_S
        places.look()
        held = places.take(lambda: True, 0.0)
        assert held is not None
        places.release(held)


def test_an_exporter_that_dies_breaks_its_place_and_the_job_goes_elsewhere(
    bench: Bench, office: Coordination
) -> None:
    office.lab("lab3", shelf="c")
    office.lab("lab4", shelf="c")
    bench.behave(lab3="hang", lab4="hang")
    process = bench.begin("out", "--tag", "shelf=c", "--json")
    bench.await_run(process, "out")
    used = next((bench.directory / "out").glob("*/place")).read_text()
    bench.behave()
    office.kill(used)
    status, said = ended(process)
    assert status == Exit.PASS, said
    report = json.loads((bench.directory / "out" / "campaign.json").read_text())
    assert report["broken"] == {used: f"Its exporter '{used}' is gone."}
    assert [one["place"] for one in report["done"][0]["attempts"]] == [
        used,
        "lab3" if used == "lab4" else "lab4",
    ]
    view = office.views()[used]
    assert (view.tags["rig"], view.holder) == ("broken", "")
    assert f"Its exporter '{used}' is gone." in view.comment


def test_a_coordinator_that_dies_ends_the_campaign_with_a_sentence(tmp_path: Path) -> None:
    with coordination(tmp_path) as office:
        office.lab("lab1")
        bench = Bench(office, tmp_path)
        bench.behave(lab1="hang")
        process = bench.begin("out", "--repeat", "2")
        bench.await_run(process, "out")
        os.killpg(office.coordinator.pid, signal.SIGKILL)
        office.coordinator.wait(DEADLINE_S)
        (bench.directory / "out" / "demo-vfat-1" / "go").touch()
        status, said = ended(process)
    assert status == Exit.INFRASTRUCTURE, said
    assert "1 jobs" in said  # what runs needs no coordinator, and counts
    assert f"coordinator at {office.address} is gone" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tag", "pool=none"], "No place at"),
        (["--tag", "pool"], "'pool' is no tag"),
        (["--plan", "nothing"], "nothing"),
        (["--lg-env", "/nowhere"], "cannot be read"),
        (["--", "--lab", "qemu"], "--lab of 'rig run' is the campaign's to set"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_started(
    bench: Bench, words: list[str], said: str
) -> None:
    status, told = ended(bench.begin("out", *words))
    assert (status, said in told) == (Exit.USAGE, True), told


def test_a_coordinator_that_is_not_there_is_told_with_its_address() -> None:
    with (
        pytest.raises(MachineError, match=r"No labgrid coordinator answers at 127\.0\.0\.1:1"),
        coordinator("127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "full"), [("hub", "hub:20408"), ("hub:1", "hub:1"), ("[::1]:5", "[::1]:5")]
)
def test_an_address_has_labgrids_port_unless_it_says_another(given: str, full: str) -> None:
    assert full_address(given) == full


@pytest.mark.parametrize("given", ["", "hub:x", "hub:99999999", "a/b", "me@hub"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="no address of a coordinator"):
        full_address(given)
