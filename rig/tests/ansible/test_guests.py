"""The roles on two booted machines, reached by SSH, and what their units start there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from rig.lab.daemons import Daemon
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.lab.ssh import ssh_argv
from rig.lab.strategy import wait_for_disk
from rig.tests.ansible.provisioned import play, write_inventory

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(1500)]

ADDRESS = "10.77.0.1"


def host(machine: Machine, name: str) -> dict[str, object]:
    """Return how Ansible reaches a machine of the lab."""
    # ssh -x OPTIONS… -p PORT -l USER ADDRESS
    program, _, *options, _, port, _, user, address = ssh_argv(machine._ssh)
    return {
        "ansible_connection": "ssh",
        "ansible_host": address,
        "ansible_port": int(port),
        "ansible_user": user,
        "ansible_ssh_executable": program,
        "ansible_ssh_args": "",
        "ansible_ssh_common_args": shlex.join(options),
        "ansible_remote_tmp": "/tmp",
        "certs_others": [ADDRESS] if name == "back" else [],
    }


def start(machine: Machine, unit: str) -> Daemon:
    """Start what a unit starts, with the capabilities that it leaves (setpriv(1))."""
    text = machine.check(f"cat /etc/systemd/system/rig-{unit}.service").stdout
    settings = dict(
        line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#"
    )
    kept = settings["CapabilityBoundingSet"].lower().replace("cap_", "+").split()
    bounds = ["--bounding-set", ",".join(["-all", *kept]), "--inh-caps", "-all", "--no-new-privs"]
    command = [*shlex.split(settings["ExecStart"]), "--supervised"]
    return machine.start_daemon(["setpriv", *bounds, "--", *command], f"rig {unit}")


def test_provisioned_machines_show_a_disk_with_the_capabilities_of_their_units(
    booted_lab: Lab, tmp_path: Path
) -> None:
    inventory = write_inventory(
        tmp_path / "hosts.json",
        {"back": host(booted_lab.back, "back"), "front": host(booted_lab.front, "front")},
        front=["front"],
        back=["back"],
        gadget=["back"],
    )
    settings = {
        "certs_authority": str(tmp_path / "pki"),
        "machine_kernel_package": "",
        "gadget_size": "16M",
    }
    options = [word for item in settings.items() for word in ("-e", "=".join(item))]
    options += ["-e", f'{{"back_ports": ["dummy_hcd.0/1"], "back_listen": "{ADDRESS}:7205"}}']
    options += ["-e", f'{{"back_peers": ["front"], "front_connect": "{ADDRESS}:7205"}}']
    first = play("site.yml", inventory, *options)
    assert first.status == 0, first.said
    again = play("site.yml", inventory, *options)
    assert again.changed == {"back": 0, "front": 0}, again.said

    for machine in (booted_lab.back, booted_lab.front):
        assert machine.check("/usr/local/bin/rig --version").stdout.startswith("0.1.0+")
    gadget = start(booted_lab.back, "gadget")
    gadget.wait_event("ready", 60.0)
    back = start(booted_lab.back, "back")
    back.wait_event("listening", 60.0)
    front = start(booted_lab.front, "front")
    wait_for_disk(booted_lab.front, 90.0)
    for daemon in (front, back, gadget):
        assert daemon.stop() == 0

    gone = play("teardown.yml", inventory, *options)
    assert gone.status == 0, gone.said
    booted_lab.back.check("! ls -d /opt/rig /etc/rig /usr/local/bin/rig /var/lib/rig/gadget")
