"""The link between two machines with certificates: the device is shown, and to nobody else."""

from __future__ import annotations

import pytest

from rig.experiments.run.places import STORE
from rig.lab.environment import LINK_ADDRESS
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.lab.strategy import LabState, Setup, wait_for_disk
from rig.tests.harness.certificates import certificates

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

CERTS = "/run/rig-certs"
DEADLINE_S = 60.0


def equip(machine: Machine, name: str) -> None:
    """Give a machine its three files, as a person would."""
    machine.check(f"mkdir -p -m 700 {CERTS}")
    for path in (certificates() / name).iterdir():
        machine.put(path, f"{CERTS}/{path.name}")
    machine.check(f"chmod 600 {CERTS}/key.pem")


def test_a_device_is_shown_over_tls_to_the_listed_machine_alone(booted_lab: Lab) -> None:
    lab = booted_lab
    equip(lab.back, "back")
    equip(lab.front, "stranger")
    gadget = ("--directory", STORE, "--size", "16M", "--udc", "dummy_udc.0")
    back = ("--port", "dummy_hcd.0/1", "--listen", LINK_ADDRESS, "--peer", "front")
    front = ("--connect", LINK_ADDRESS, "--back-name", "back")
    lab.setup = Setup(
        gadget=("rig", "gadget", *gadget, "--supervised"),
        back=("rig", "back", *back, "--certs", CERTS, "--supervised"),
        front=("rig", "front", *front, "--certs", CERTS, "--supervised"),
    )
    lab.transition(LabState.BOUND)

    stranger = lab.front.start_daemon(
        ["rig", "front", *front, "--certs", CERTS, "--supervised"], "stranger"
    )
    told = stranger.wait_event("back-lost", DEADLINE_S)
    assert "does not serve stranger" in told["reason"]
    refused = lab.strategy.daemons["back"].wait_event("front-rejected", DEADLINE_S)
    assert "--peer stranger" in refused["reason"]
    assert not [event for event in stranger.events if event["event"] == "attached"]
    stranger.stop()

    equip(lab.front, "front")
    lab.transition(LabState.ATTACHED)
    disk = wait_for_disk(lab.front, DEADLINE_S)
    lab.front.check(f"dd if={disk} of=/dev/null bs=64k count=4 iflag=direct")
