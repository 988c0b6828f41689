"""Runs the project's playbooks for tests, and reads what they said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rig.guest_images.spec import CHECKOUT

ANSIBLE = CHECKOUT / "ansible"
CONNECTIONS = Path(__file__).resolve().parent / "connection_plugins"
BIN = Path(sys.executable).parent

_RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)


@dataclass(frozen=True, slots=True)
class Play:
    """What a playbook did.

    Attributes:
        status: Its exit status.
        said: All that it said.
    """

    status: int
    said: str

    @property
    def changed(self) -> dict[str, int]:
        """How many tasks have changed something, by host."""
        return {host: int(changed) for host, changed, _, _ in _RECAP.findall(self.said)}

    @property
    def changes(self) -> str:
        """The lines that tell of changes, with their tasks', for a failed assertion."""
        wanted = re.compile(r"^(TASK|RUNNING|changed|fatal|failed|\[ERROR|    msg)")
        return "\n".join(line for line in self.said.splitlines() if wanted.match(line))


def write_inventory(path: Path, hosts: dict[str, dict[str, object]], **groups: list[str]) -> Path:
    """Write an inventory (JSON is YAML); return its path.

    Args:
        path: The file.
        hosts: Variables by host.
        groups: Hosts by group.
    """
    children: dict[str, object] = {
        group: {"hosts": dict.fromkeys(members)} for group, members in groups.items()
    }
    path.write_text(json.dumps({"all": {"hosts": hosts, "children": children}}))
    return path


def play(book: str, inventory: Path, *options: str, timeout_s: float = 1500) -> Play:
    """Run ``ansible-playbook`` on one of the project's playbooks.

    Args:
        book: Its name, like ``site.yml``.
        inventory: See `write_inventory`.
        options: Of ansible-playbook.
        timeout_s: When to give up.
    """
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_CONNECTION_PLUGINS": str(CONNECTIONS),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCAL_TEMP": str(inventory.parent / "ansible"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", inventory, ANSIBLE / book, *options],
        env=environment,
        cwd=ANSIBLE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Play(done.returncode, done.stdout)
