"""Sessions of tests on places, with a real coordinator."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rig.tests.harness.coordination import Coordination, coordination
from rig.tests.harness.until import await_true
from rig.tests.unit.test_campaign_rendering import POOL

SUITE = """
import pathlib, pytest
@pytest.fixture
def guest_image(): ...
@pytest.mark.parametrize("n", [1, 2])
def test_on_a_place(rig_place, n):
    assert "NetworkService" in rig_place.file.read_text()
    pathlib.Path(f"{n}").write_text(rig_place.name)
def test_of_guests(guest_image): raise AssertionError
@pytest.mark.vm
def test_of_commands(): raise AssertionError
@pytest.mark.guests(why="pauses a machine")
def test_of_qemu(rig_place): raise AssertionError
"""


EACH = """
import os, pathlib, time
def test_which(rig_place):
    pathlib.Path(f"on-{rig_place.name}").touch()
    pathlib.Path(f"of-{os.getpid()}").touch()
    until = time.monotonic() + 60  # keeps its place until the other worker has one
    while len([*pathlib.Path(".").glob("of-*")]) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
"""
WAITING = """
import pathlib, time
def test_that_waits(rig_place):
    pathlib.Path("name").write_text(rig_place.name)
    pathlib.Path("begun").touch()
    until = time.monotonic() + 60
    while not rig_place.fault and time.monotonic() < until:
        time.sleep(0.05)
def test_that_comes_next(rig_place): ...
"""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordination]:
    with coordination(tmp_path_factory.mktemp("coordination")) as made:
        made.lab("lab1", pool="a")
        for name in ("lab2", "lab3"):
            made.lab(name, pool="b")
        made.lab("lab4", pool="c")
        yield made


def session_argv(
    office: Coordination, directory: Path, *words: str, suite: str = SUITE
) -> list[str]:
    (directory / "test_suite.py").write_text(suite)
    (directory / "pool.yaml").write_text(POOL)
    argv = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-p", "no:labgrid"]
    argv += ["-p", "rig.campaign.pytest_plugin", "test_suite.py"]
    return [*argv, "--rig-coordinator", office.address, "--rig-env", "pool.yaml", *words]


def session(office: Coordination, directory: Path, *words: str, suite: str = SUITE) -> str:
    argv = session_argv(office, directory, *words, suite=suite)
    done = subprocess.run(
        argv, cwd=directory, capture_output=True, text=True, timeout=100, check=False
    )
    return done.stdout + done.stderr


def test_tests_run_on_a_place_that_is_given_back(office: Coordination, tmp_path: Path) -> None:
    said = session(office, tmp_path, "--rig-places", "pool=a")
    assert "2 passed, 3 skipped" in said
    assert "--rig-places: boots guests of its own" in said
    assert "--rig-places: pauses a machine" in said
    assert (tmp_path / "2").read_text() == "lab1"
    assert office.views()["lab1"].holder == ""


def test_a_worker_without_a_place_fails_with_a_sentence(
    office: Coordination, tmp_path: Path
) -> None:
    words = ["-n", "2", "--dist", "each", "--rig-wait", "0", "--rig-places"]
    said = session(office, tmp_path, *words, "pool=none")
    assert "No place at" in said
    assert "has the tags pool=none rig=lab" in said
    assert "Traceback" not in said
    assert "There are: lab1" in said


def test_each_worker_has_a_place_of_its_own(office: Coordination, tmp_path: Path) -> None:
    words = ["-n", "2", "--dist", "each", "--rig-places", "pool=b"]
    said = session(office, tmp_path, *words, suite=EACH)
    assert "2 passed" in said
    assert {path.name for path in tmp_path.glob("on-*")} == {"on-lab2", "on-lab3"}
    assert {view.holder for view in office.views().values()} == {""}


@contextmanager
def waiting(office: Coordination, directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A session whose test is under way, on a place."""
    argv = session_argv(office, directory, *words, suite=WAITING)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, cwd=directory, stdout=pipe, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            await_true((directory / "begun").exists, 60.0)
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["pytest", "pytest-xdist"])
def test_ctrl_c_gives_the_place_back(
    office: Coordination, tmp_path: Path, workers: list[str]
) -> None:
    with waiting(office, tmp_path, *workers, "--rig-places", "pool=b") as running:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60.0)
    name = (tmp_path / "name").read_text()
    await_true(lambda: office.views()[name].holder == "", 30.0)


def test_a_place_whose_exporter_dies_is_broken_and_no_test_is_blamed(
    office: Coordination, tmp_path: Path
) -> None:
    with waiting(office, tmp_path, "--rig-places", "pool=c") as running:
        office.kill("lab4")
        said, _ = running.communicate(timeout=90.0)
    assert "Place 'lab4' can no longer be used: " in said
    view = office.views()["lab4"]
    assert (view.tags["rig"], view.holder) == ("broken", "")
