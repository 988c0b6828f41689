"""What `test_tree` has mmdebstrap do with a root file system: ``in_tree KIND TREE OUT``.

It runs as mmdebstrap's hook, where anybody is root of the tree (user namespaces), and leaves in OUT
what each step said; the test judges.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

from rig.tests.ansible.provisioned import play, write_inventory

HOST = "tree"
WHEELS = "var/tmp/wheels"
"""Where a station finds what pip is to install: the tree has no network of its own."""
LOOKED_AT = ("etc", "opt", "usr/local", "var/lib", "srv", "home")
NOT_OURS = ("var/lib/apt", "var/lib/dpkg", "var/lib/systemd", "var/lib/ucf")
USERS = re.compile(r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-?")
MACHINES_SCRIPT = """
rig --version
rig gadget --help
rig back --help
rig front --help
rig doctor
rig front --connect 192.0.2.12:7205 --certs /etc/rig/certs
stat -c '%a %U %n' /etc/rig/certs /etc/rig/certs/key.pem
ls /etc/systemd/system/multi-user.target.wants
systemd-analyze verify rig-front.service rig-back.service rig-gadget.service && echo verified
systemd-analyze security --offline=true rig-front.service rig-back.service rig-gadget.service
"""
STATION_SCRIPT = """
rig --version
rig doctor --help
rig campaign --help
runuser -u rig -- rig run --help
for program in coordinator exporter; do
    /opt/rig-labgrid/bin/labgrid-$program --help
done
ser2net -v
systemctl is-enabled ser2net.service rig-exporter.service rig-coordinator.service rig-nightly.timer
units="rig-coordinator.service rig-exporter.service rig-nightly.service"
systemd-analyze verify $units rig-nightly.timer && echo verified
systemd-analyze security --offline=true $units
"""


class Kind(StrEnum):
    """What the root file system is to become."""

    MACHINES = "machines"
    STATION = "station"


GROUPS = {
    Kind.MACHINES: ("front", "back", "gadget"),
    Kind.STATION: ("station", "coordinator", "exporters"),
}
SCRIPTS = {Kind.MACHINES: MACHINES_SCRIPT, Kind.STATION: STATION_SCRIPT}


def files(tree: Path) -> list[str]:
    """Return all that is where provisioning writes, but for what packages and Python keep there."""
    return sorted(
        name
        for top in LOOKED_AT
        for path in (tree / top).rglob("*")
        if not (name := str(path.relative_to(tree))).startswith(NOT_OURS)
        and "__pycache__" not in path.parts
        # shadow's tools leave the former state of each beside it.
        and not USERS.fullmatch(name)
    )


def variables(kind: Kind, out: Path) -> dict[str, object]:
    """Return the variables of a host.

    Args:
        kind: What it is to become.
        out: Gets the certificates' authority.
    """
    if kind is Kind.STATION:
        ports = {"lab-back": {"RawSerialPort": {"port": "/dev/ttyS0", "speed": 115200}}}
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"/{WHEELS}"}
        return {
            "labgrid_exports": ports,
            "labgrid_environment": pip,
            "station_environment": pip,
        }
    return {
        "certs_authority": str(out / "pki"),
        "certs_others": ["192.0.2.12"],
        "back_ports": ["dummy_hcd.0/1"],
        "back_listen": "192.0.2.12:7205",
        "back_peers": [HOST],
        "front_connect": "192.0.2.12:7205",
    }


def main(kind: Kind, tree: Path, out: Path) -> None:
    """Apply, apply again, look, take away."""
    host = {
        "ansible_connection": "tree",
        "ansible_host": str(tree),
        **variables(kind, out),
    }
    if kind is Kind.STATION:
        shutil.copytree(out / "wheels", tree / WHEELS)
    inventory = write_inventory(
        out / "hosts.json", {HOST: host}, **{group: [HOST] for group in GROUPS[kind]}
    )
    steps = {
        "check": ("site.yml", "--check"),
        # What stays behind when all is taken away.
        "packages": ("site.yml", "--tags", "packages,kernel"),
        "apply": ("site.yml", "--diff"),
        "again": ("site.yml",),
        "teardown": ("teardown.yml",),
        "teardown again": ("teardown.yml",),
    }
    for name, (book, *options) in steps.items():
        if name == "apply":
            (out / "before").write_text("\n".join(files(tree)))
        done = play(book, inventory, *options)
        (out / name).write_text(f"{done.status}\n{done.said}")
        if name == "again":
            (out / "commands").write_text(_run(tree, SCRIPTS[kind]))
    (out / "after").write_text("\n".join(files(tree)))


def _run(tree: Path, script: str) -> str:
    path = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(
        ["chroot", tree, "env", "-i", path, "/bin/sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout


if __name__ == "__main__":
    main(Kind(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
