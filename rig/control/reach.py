"""Finds the processes that can be controlled: on this machine, or in a running lab."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from rig.control.client import ControlClient, connect
from rig.control.server import DIRECTORY
from rig.control.ways import Ways, load_ways
from rig.errors import MachineError

STATION = "station"
SSH_DEADLINE_S = 30.0
SUFFIX = ".sock"


class Process(Protocol):
    """A process with a control socket.

    Attributes:
        machine: Where it is.
        name: ``back``, ``store``, ``gadget``, ``cable``, ``link`` or ``run``; with a number behind
            it if there are several of a kind.
    """

    @property
    def machine(self) -> str:
        """See above."""
        ...

    @property
    def name(self) -> str:
        """See above."""
        ...

    def open(self) -> AbstractContextManager[ControlClient]:
        """Talk to it for a while.

        Raises:
            MachineError: It cannot be reached.
        """
        ...


class LocalProcess:
    """A process of this machine.

    Args:
        machine: This machine's name.
        path: Of its socket.
    """

    def __init__(self, machine: str, path: Path) -> None:
        self.machine = machine
        self.name = path.name.removesuffix(SUFFIX)
        self._path = path

    def open(self) -> AbstractContextManager[ControlClient]:
        """See `Process.open`."""
        return connect(self._path, self.name)


class RemoteProcess:
    """A process of a lab's machine: its socket is brought here by the lab's SSH connection.

    Args:
        machine: The machine's name.
        path: Of its socket, on the machine.
        ssh: A command line for the machine.
        directory: Where its socket appears here.
    """

    def __init__(self, machine: str, path: str, ssh: list[str], directory: Path) -> None:
        self.machine = machine
        self.name = path.rpartition("/")[2].removesuffix(SUFFIX)
        self._path = path
        self._ssh = ssh
        self._directory = directory

    @contextmanager
    def open(self) -> Iterator[ControlClient]:
        """See `Process.open`."""
        # A path of its own, for others may do the same: UNIX sockets' paths are short (unix(7)).
        with tempfile.TemporaryDirectory(prefix="fault-", dir=self._directory) as own:
            here = Path(own, "sock")
            way = f"{here}:{self._path}"
            run_ssh(self._ssh, self.machine, ["-O", "forward", "-L", way])
            try:
                with connect(here, self.name) as client:
                    yield client
            finally:
                run_ssh(self._ssh, self.machine, ["-O", "cancel", "-L", way])


def local_processes() -> list[Process]:
    """Return the processes of this machine."""
    return [*_in_directory(os.uname().nodename, DIRECTORY)]


def lab_processes(
    run_directory: Path, machine: str | None
) -> tuple[list[Process], list[MachineError]]:
    """Return the processes of a running lab, and why others cannot be found.

    Args:
        run_directory: The lab's.
        machine: Only those of this one; None: of all, the station included.

    Returns:
        The processes, and an error for each machine that cannot be reached.

    Raises:
        UserError: No lab runs there.
    """
    ways = load_ways(run_directory)
    found: list[Process] = []
    lost: list[MachineError] = []
    for name in ways.ssh:
        if machine in (None, name):
            try:
                found += _on_machine(ways, name)
            except MachineError as error:
                lost.append(error)
    if machine in (None, STATION):
        found += _in_directory(STATION, Path(ways.control))
    return found, lost


def _on_machine(ways: Ways, name: str) -> list[Process]:
    ssh = ways.ssh[name]
    listed = run_ssh(ssh, name, [], f"ls {DIRECTORY} 2>/dev/null || true")
    private = Path(ways.control).parent
    return [
        RemoteProcess(name, f"{DIRECTORY}/{entry}", ssh, private)
        for entry in listed.split()
        if entry.endswith(SUFFIX)
    ]


def _in_directory(machine: str, directory: Path) -> list[Process]:
    try:
        paths = sorted(directory.glob(f"*{SUFFIX}"))
    except OSError:
        return []
    return [LocalProcess(machine, path) for path in paths]


def run_ssh(ssh: list[str], machine: str, options: list[str], *command: str) -> str:
    """Run ssh as a lab does, with more options; return its standard output.

    Raises:
        MachineError: It fails, or takes too long.
    """
    argv = [ssh[0], *options, *ssh[1:], *command]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SSH_DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"Machine '{machine}' cannot be reached: {error}.") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise MachineError(
            f"Machine '{machine}' cannot be reached: {said or 'ssh says nothing'}.",
            hint="Its lab may have ended.",
        )
    return done.stdout.decode("utf-8", "replace")
