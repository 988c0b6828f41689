"""Ansible connection ``tree``: a root file system in a directory of this machine, by chroot(8).

ansible-core has none of its own any more, and the package that has one has hundreds of megabytes.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

from ansible.plugins.connection.local import Connection as LocalConnection

DOCUMENTATION = """
name: tree
short_description: Run in a root file system
description: Commands run there by chroot(8), as root; remote_addr is its directory.
author: The rig's authors
options:
  remote_addr:
    description: The directory.
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
  pipelining:
    default: true
    vars:
      - name: ansible_pipelining
"""


class Connection(LocalConnection):  # type: ignore[misc]  # untyped
    """What Ansible asks of a connection; see the module."""

    transport = "tree"
    has_pipelining = True

    def _inside(self, path: str) -> Path:
        return Path(self.get_option("remote_addr"), path.lstrip("/"))

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a command in the tree."""
        # Of this machine's environment nothing but the words for it goes along.
        command = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        argv = ["chroot", self.get_option("remote_addr"), *command, "/bin/sh", "-c", cmd]
        result: tuple[int, bytes, bytes] = super().exec_command(
            shlex.join(argv), in_data=in_data, sudoable=False
        )
        return result

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file into the tree."""
        shutil.copyfile(in_path, self._inside(out_path))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file out of the tree."""
        shutil.copyfile(self._inside(in_path), out_path)

    def close(self) -> Any:
        """Nothing stays open."""
        self._connected = False
