"""The roles for front, back and gadget on a fresh Debian 12, made by mmdebstrap and not booted."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from rig.guest_images import debian
from rig.guest_images.spec import CHECKOUT
from rig.tests.ansible import in_tree
from rig.tests.ansible.provisioned import Play

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory where each step has left what it said."""
    return provisioned(in_tree.Kind.MACHINES, tmp_path_factory.mktemp("tree"))


def provisioned(kind: in_tree.Kind, out: Path) -> Path:
    """Make a root file system, and have it provisioned; return ``out``, with what was said.

    Args:
        kind: What it is to become.
        out: An empty directory.
    """
    hook = [sys.executable, "-m", in_tree.__name__, kind]
    debian.mmdebstrap(
        variant="apt",
        include=["python3", "systemd-sysv", "udev"],
        hooks=[
            f'cd {shlex.quote(str(CHECKOUT))} && {shlex.join(hook)} "$1" {shlex.quote(str(out))}'
        ],
        mirror=None,
        log=out / "log",
    )
    return out


def step(out: Path, name: str) -> Play:
    status, _, said = (out / name).read_text().partition("\n")
    return Play(int(status), said)


def test_every_step_succeeds(out: Path) -> None:
    for name in ("check", "packages", "apply", "again", "teardown", "teardown again"):
        done = step(out, name)
        assert done.status == 0, f"{name}:\n{done.said}"


def test_the_second_run_changes_nothing(out: Path) -> None:
    again = step(out, "again")
    assert again.changed == {in_tree.HOST: 0}, again.changes


def test_check_mode_tells_of_changes_and_makes_none(out: Path) -> None:
    assert step(out, "check").changed[in_tree.HOST] > 0
    assert "opt/rig" not in (out / "before").read_text().splitlines()


def test_teardown_leaves_nothing(out: Path) -> None:
    assert (out / "after").read_text() == (out / "before").read_text()
    again = step(out, "teardown again")
    assert again.changed == {in_tree.HOST: 0}, again.changes


def test_the_rig_runs_there_and_tells_its_version(out: Path) -> None:
    said = (out / "commands").read_text()
    assert re.match(r"0\.1\.0\+[0-9a-f]{12}\n", said), said
    for command in ("gadget", "back", "front"):
        assert f"usage: rig {command}" in said
    assert "which only the station's commands need" in said  # rig doctor
    assert "Traceback" not in said


def test_the_units_are_good_and_enabled(out: Path) -> None:
    said = (out / "commands").read_text()
    assert "\nverified\n" in said, said
    for unit in ("rig-back.service", "rig-front.service", "rig-gadget.service"):
        assert f"\n{unit}\n" in said
        exposure = re.search(rf"Overall exposure level for {unit}: ([0-9.]+)", said)
        assert exposure is not None
        assert float(exposure[1]) < 3.0, exposure[0]


def test_the_key_is_roots_alone_and_in_no_word_of_ansible(out: Path) -> None:
    said = (out / "commands").read_text()
    assert "700 root /etc/rig/certs\n600 root /etc/rig/certs/key.pem\n" in said
    for name in ("apply", "again"):
        assert "PRIVATE KEY" not in (out / name).read_text()
