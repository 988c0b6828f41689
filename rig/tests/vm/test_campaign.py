"""A campaign on real places: a coordinator, exporters, and hosts behind SSH and a serial line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rig.cli.exits import Exit
from rig.guest_images.image import GuestImage
from rig.lab.accelerator import accelerator
from rig.lab.environment import LINK_ADDRESSES, Role
from rig.tests.harness.coordination import Coordination, coordination
from rig.tests.harness.rack import Rack, rack

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(1500)]

LABS = ("lab1", "lab2", "lab3")
RUN_S = 1200.0
TARGET = """
    resources: {RemotePlace: {name: !template $LG_PLACE}}
    drivers:
      SSHDriver: {keyfile: !template $BASE/$LG_PLACE.key}
      SerialDriver: {}
    options: {work_directory: /var/lib/rig, known_hosts: /dev/null}
"""


def export(office: Coordination, name: str, hosts: Rack) -> None:
    """Make a place of two hosts."""
    (office.directory / f"{name}.key").symlink_to(hosts.key)
    groups = {
        f"{name}-{role}": {
            "NetworkService": {
                "address": "127.0.0.1",
                "port": hosts.ports[role],
                "username": "root",
            },
            "RawSerialPort": {"port": os.path.realpath(hosts.serial(role)), "speed": 115200},
        }
        for role in Role
    }
    office.export(name, groups)
    tags = {f"{role}_link_address": LINK_ADDRESSES[role] for role in Role}
    office.place(name, f"*/{name}-back/*", f"*/{name}-front/*", rig="lab", **tags)


def export_nothing_behind(office: Coordination, name: str) -> None:
    """Make a place whose hosts are down."""
    groups = {
        # Each its own: labgrid's exporter takes one that YAML shares apart only once.
        f"{name}-{role}": {
            "NetworkService": {"address": "127.0.0.1", "port": 1, "username": "root"},
            "NetworkSerialPort": {"host": "127.0.0.1", "port": 1, "speed": 115200},
        }
        for role in Role
    }
    office.export(name, groups)
    office.place(name, f"*/{name}-back/*", f"*/{name}-front/*", rig="lab")


@pytest.fixture(scope="module")
def office(
    guest_image: GuestImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Coordination]:
    directory = tmp_path_factory.mktemp("places")
    (directory / "pool.yaml").write_text(f"targets:\n  back:{TARGET}  front:{TARGET}")
    with ExitStack() as stack:
        made = stack.enter_context(coordination(directory))
        for name in LABS:
            logs = directory / f"rack-{name}"
            export(
                made, name, stack.enter_context(rack(guest_image, logs, accelerator(guest_image)))
            )
        export_nothing_behind(made, "lab4")
        made.lab("lab5")  # has no serial line, which the pool's file wants
        yield made


def test_every_job_has_its_verdict_and_the_labs_that_are_of_no_use_are_found(
    office: Coordination, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "rig", "campaign", "--coordinator", office.address, "-n", "4"]
    argv += ["--lg-env", str(office.directory / "pool.yaml"), "--fs", "vfat", "--repeat", "4"]
    done = subprocess.run(
        [*argv, "--out", str(tmp_path / "out"), "--json"],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == Exit.PASS, done.stderr
    report = json.loads(done.stdout)
    assert [one["outcome"] for one in report["done"]] == ["pass"] * 4
    assert set(report["places"]) == set(LABS)
    assert set(report["broken"]) == {"lab4", "lab5"}
    assert "lacks what a driver in the pool's file needs" in report["broken"]["lab5"]
    views = office.views()
    assert {views[name].tags["rig"] for name in report["broken"]} == {"broken"}
    assert {view.holder for view in views.values()} == {""}
    consoles = list((tmp_path / "out").glob("demo-vfat-*/*/console.log"))
    assert len([one for one in consoles if one.stat().st_size]) >= 8
