"""Sessions of tests on places, with a real coordinator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.tests.harness.coordination import Coordination, coordination
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


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordination]:
    with coordination(tmp_path_factory.mktemp("coordination")) as made:
        made.lab("lab1", pool="a")
        yield made


def session(office: Coordination, directory: Path, *words: str) -> str:
    (directory / "test_suite.py").write_text(SUITE)
    (directory / "pool.yaml").write_text(POOL)
    argv = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-p", "no:labgrid"]
    argv += ["-p", "rig.campaign.pytest_plugin", "test_suite.py"]
    argv += ["--rig-coordinator", office.address, "--rig-env", "pool.yaml", *words]
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
