"""What `test_tree` has mmdebstrap do with a root file system: ``in_tree TREE OUT``.

It runs as mmdebstrap's hook, where anybody is root of the tree (user namespaces), and leaves in OUT
what each step said; the test judges.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rig.tests.ansible.provisioned import play, write_inventory

HOST = "tree"
GROUPS = ("front", "back", "gadget")
LOOKED_AT = ("etc", "opt", "usr/local", "var/lib", "srv", "home")
NOT_OURS = ("var/lib/apt", "var/lib/dpkg", "var/lib/systemd", "var/lib/ucf")
SCRIPT = """
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


def files(tree: Path) -> list[str]:
    """Return all that is where provisioning writes, but for what packages and Python keep there."""
    return sorted(
        name
        for top in LOOKED_AT
        for path in (tree / top).rglob("*")
        if not (name := str(path.relative_to(tree))).startswith(NOT_OURS)
        and "__pycache__" not in path.parts
    )


def main(tree: Path, out: Path) -> None:
    """Apply, apply again, look, take away."""
    variables: dict[str, object] = {
        "ansible_connection": "tree",
        "ansible_host": str(tree),
        "certs_authority": str(out / "pki"),
        "certs_others": ["192.0.2.12"],
        "back_ports": ["dummy_hcd.0/1"],
        "back_listen": "192.0.2.12:7205",
        "back_peers": [HOST],
        "front_connect": "192.0.2.12:7205",
    }
    inventory = write_inventory(
        out / "hosts.json", {HOST: variables}, **{group: [HOST] for group in GROUPS}
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
            (out / "commands").write_text(_run(tree))
    (out / "after").write_text("\n".join(files(tree)))


def _run(tree: Path) -> str:
    path = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(
        ["chroot", tree, "env", "-i", path, "/bin/sh", "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
