"""Two guests that stand for hosts: reached by SSH, a serial line and a power switch alone.

Whoever uses them knows nothing of QEMU.  The switch is an external command, as that of a lab's
power strip: this module, run with the rack's socket, ``on`` or ``off``, and a machine's name.
"""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from labgrid.util.yaml import dump

from rig.guest_images.image import GuestImage
from rig.lab.children import end, kill, spawn
from rig.lab.environment import (
    LINK_ADDRESSES,
    GuestOptions,
    Places,
    Role,
    configuration,
    write,
)
from rig.lab.private import private_directory
from rig.lab.ssh import encoded_public_key

BOOT_DEADLINE_S = 120.0
START_DEADLINE_S = 20.0
_PTY = re.compile(rb"char device redirected to (\S+) \(label serial\)")


class Rack:
    """See `rack`.

    Args:
        image: What the guests boot.
        places: Where their files are.
        accelerator: ``kvm`` or ``tcg``.
    """

    def __init__(self, image: GuestImage, places: Places, accelerator: str) -> None:
        self._image = image
        self._places = places
        self._children: dict[Role, subprocess.Popen[bytes]] = {}
        options = GuestOptions(accelerator)
        write(image, places, options)
        made = configuration(image, places, options, encoded_public_key(places.key))
        self._targets: dict[str, Any] = made["targets"]
        self.ports = {role: _free_port() for role in Role}
        self.switched: list[str] = []
        self._switch = socket.socket(socket.AF_UNIX)
        self._switch.bind(str(places.private / "switch"))
        self._switch.listen()
        threading.Thread(target=self._serve, name="switch", daemon=True).start()

    @property
    def key(self) -> Path:
        """The private key that the guests let in."""
        return self._places.key

    def serial(self, role: Role) -> Path:
        """The serial line of a guest: a link to its pty, once it is on."""
        return self._places.private / f"serial-{role.value}"

    def on(self, role: Role) -> None:
        """Start a guest."""
        log = self._places.logs(role) / "rack.log"
        with log.open("wb") as out:
            self._children[role] = spawn(self._command(role), stdout=out, stderr=out)
        until = time.monotonic() + START_DEADLINE_S
        while not (found := _PTY.search(log.read_bytes())):
            assert self._children[role].poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            with suppress(subprocess.TimeoutExpired):
                self._children[role].wait(0.05)
        self.serial(role).unlink(missing_ok=True)
        self.serial(role).symlink_to(found[1].decode())

    def off(self, role: Role) -> None:
        """Take a guest its power."""
        child = self._children.pop(role, None)
        if child is not None:
            kill(child)
            end(child, START_DEADLINE_S)

    def await_ssh(self, role: Role) -> None:
        """Wait until a guest's sshd answers."""
        until = time.monotonic() + BOOT_DEADLINE_S
        while time.monotonic() < until:
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", self.ports[role]), 10.0) as call,
            ):
                call.settimeout(10.0)
                if call.recv(4) == b"SSH-":
                    return
            assert role in self._children
            with suppress(subprocess.TimeoutExpired):
                self._children[role].wait(0.2)
        raise AssertionError(f"{role} does not answer")

    def environment(self, **changes: dict[str, Any]) -> dict[str, Any]:
        """Return the environment of a lab of these hosts.

        Args:
            changes: By the target's name: options that differ.
        """
        return {"targets": {role.value: self._target(role, changes) for role in Role}}

    def write(self, file: Path, environment: dict[str, Any]) -> Path:
        """Write an environment file."""
        file.write_text(dump(environment, sort_keys=False, width=200), "utf-8")
        return file

    def close(self) -> None:
        """Switch all off."""
        for role in Role:
            self.off(role)
        self._switch.close()

    def _target(self, role: Role, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
        words = [sys.executable, "-m", __name__, str(self._places.private / "switch")]
        service = {"address": "127.0.0.1", "port": self.ports[role], "username": "root"}
        options = {
            "link_address": LINK_ADDRESSES[role],
            "work_directory": "/var/lib/rig",  # a guest's only disk
            "known_hosts": "/dev/null",  # a guest has another key after each boot
            **changes.get(role.value, {}),
        }
        return {
            "resources": {
                "NetworkService": service,
                "RawSerialPort": {"port": str(self.serial(role)), "speed": 115200},
            },
            "drivers": {
                "SSHDriver": {"keyfile": str(self.key)},
                "SerialDriver": {},
                "ExternalPowerDriver": {
                    "cmd_on": shlex.join([*words, "on", role.value]),
                    "cmd_off": shlex.join([*words, "off", role.value]),
                },
            },
            "options": options,
        }

    def _command(self, role: Role) -> list[str]:
        made = self._targets[role.value]["drivers"]["RigQEMUDriver"]
        extra = made["extra_args"].replace("127.0.0.1:0-:22", f"127.0.0.1:{self.ports[role]}-:22")
        return [
            *("qemu-system-x86_64", "-machine", made["machine"], "-cpu", made["cpu"]),
            *("-m", made["memory"], "-display", "none", "-kernel", str(self._image.kernel)),
            *("-append", made["boot_args"], *shlex.split(extra)),
            *("-chardev", "pty,id=serial", "-serial", "chardev:serial"),
        ]

    def _serve(self) -> None:
        """Obey the switch's commands until it is closed."""
        while True:
            try:
                call, _ = self._switch.accept()
            except OSError:
                return
            with closing(call):
                do, name = call.recv(100).decode().split()
                self.switched.append(f"{name} {do}")
                (self.on if do == "on" else self.off)(Role(name))
                call.sendall(b"done")


@contextmanager
def rack(image: GuestImage, directory: Path, accelerator: str) -> Iterator[Rack]:
    """Have two hosts that run and answer, for a while."""
    with private_directory() as private:
        directory.mkdir(parents=True, exist_ok=True)
        made = Rack(image, Places(directory, private), accelerator)
        try:
            for role in Role:
                made.on(role)
            for role in Role:
                made.await_ssh(role)
            yield made
        finally:
            made.close()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Be the switch: ``SOCKET on|off NAME``."""
    path, do, name = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as call:
        call.connect(path)
        call.sendall(f"{do} {name}".encode())
        assert call.recv(10) == b"done"


if __name__ == "__main__":
    main()
