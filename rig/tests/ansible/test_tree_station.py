"""The roles for the station and labgrid on a fresh Debian 12 by mmdebstrap, not booted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rig.guest_images.spec import CHECKOUT
from rig.tests.ansible import in_tree
from rig.tests.ansible.test_tree import provisioned, step

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(2400)]

EXPOSURE = {
    # An ordinary user's service; newuidmap, a setuid program, forbids most of what could be had.
    "rig-nightly.service": 9.0,
    "rig-coordinator.service": 3.0,
    "rig-exporter.service": 3.0,
}
"""Worst scores of ``systemd-analyze security``."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory where each step has left what it said."""
    out = tmp_path_factory.mktemp("station")
    pip = [sys.executable, "-m", "pip", "download", "-q", "-d", str(out / "wheels")]
    wanted = [".[station,dev,ansible]", "setuptools>=74.1", "wheel"]
    subprocess.run([*pip, *wanted], cwd=CHECKOUT, check=True, timeout=600)
    return provisioned(in_tree.Kind.STATION, out)


def test_every_step_succeeds(out: Path) -> None:
    for name in ("check", "packages", "apply", "again", "teardown", "teardown again"):
        done = step(out, name)
        assert done.status == 0, f"{name}:\n{done.said}"


def test_the_second_run_changes_nothing(out: Path) -> None:
    again = step(out, "again")
    assert again.changed == {in_tree.HOST: 0}, again.changes


def test_check_mode_tells_of_changes_and_makes_none(out: Path) -> None:
    assert step(out, "check").changed[in_tree.HOST] > 0
    before = (out / "before").read_text().splitlines()
    assert not {"opt/rig", "opt/rig-labgrid"} & set(before)


def test_teardown_leaves_nothing(out: Path) -> None:
    assert (out / "after").read_text() == (out / "before").read_text()
    again = step(out, "teardown again")
    assert again.changed == {in_tree.HOST: 0}, again.changes


def test_the_stations_and_labgrids_commands_run_there(out: Path) -> None:
    said = (out / "commands").read_text()
    assert re.match(r"0\.1\.0\+", said), said
    for command in ("rig doctor", "rig campaign", "rig run", "labgrid-coordinator"):
        assert re.search(rf"[Uu]sage: {command}", said), command
    assert "usage: labgrid-exporter" in said
    assert "Traceback" not in said


def test_an_exporter_finds_a_ser2net_that_labgrid_can_talk_to(out: Path) -> None:
    said = (out / "commands").read_text()
    version = re.search(r"^ser2net version (\d+)\.(\d+)", said, re.MULTILINE)
    assert version is not None, said
    # The first whose connections are given as YAML on the command line (labgrid's exporter).
    assert (int(version[1]), int(version[2])) >= (4, 2)
    # Its own service is not to be started beside the exporter; the rig's units are.
    assert "\ndisabled\nenabled\nenabled\nenabled\n" in said, said


def test_the_units_are_good(out: Path) -> None:
    said = (out / "commands").read_text()
    assert "\nverified\n" in said, said
    for unit, worst in EXPOSURE.items():
        exposure = re.search(rf"Overall exposure level for {unit}: ([0-9.]+)", said)
        assert exposure is not None
        assert float(exposure[1]) < worst, exposure[0]
