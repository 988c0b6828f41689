"""The station's side of what keeps a host for a lab; the other is `rig.lab.on_host_keeper`."""

from __future__ import annotations

import getpass
import inspect
import os
import socket

import msgspec

from rig.errors import MachineError
from rig.lab import on_host_keeper
from rig.lab.daemons import Daemon
from rig.lab.machine import Machine
from rig.lab.unit import MACHINE_PLACE

LOCK = "/run/rig-lab.lock"
NAME = "keeper"
READY_DEADLINE_S = 120.0
"""For what another lab left to be cleaned up, and modules to be loaded."""
END_DEADLINE_S = 90.0
"""For its daemons' end, and for all that is taken away."""


class Task(msgspec.Struct, frozen=True):
    """What a host is kept for.

    Attributes:
        token: Of the lab.
        owner: Who uses it, for others who would.
        work: The directory in which what the lab writes gets a directory of its own.
        place: Where that is mounted.
        modules: Arguments of modprobe.
        lock: Is locked while it is kept.
    """

    token: str
    owner: str
    work: str
    modules: tuple[tuple[str, ...], ...]
    place: str = MACHINE_PLACE
    lock: str = LOCK


def owner() -> str:
    """Say who we are."""
    return f"a lab of {getpass.getuser()} on {socket.gethostname()} (process {os.getpid()})"


class Keeper:
    """Keeps one host, until it is released or the station is gone.

    Args:
        machine: The host.
        task: What for.

    Attributes:
        cleaned: What another lab had left there.
    """

    def __init__(self, machine: Machine, task: Task) -> None:
        self._machine = machine
        source = inspect.getsource(on_host_keeper)
        argv = ["python3", "-I", "-S", "-c", source, msgspec.json.encode(task).decode()]
        self._daemon: Daemon = machine.start_daemon(argv, NAME)
        # It outlasts the others, whoever stops those.
        machine.daemons.remove(self._daemon)
        try:
            told = self._daemon.wait_event("kept", READY_DEADLINE_S)
        except MachineError as error:
            self._daemon.stop(END_DEADLINE_S)
            said = [event["error"] for event in self._daemon.events if event["event"] == "error"]
            if said:
                raise MachineError(f"Machine {machine.name!r}: {said[-1]}") from error
            raise
        self.cleaned: list[str] = told["cleaned"]

    def release(self) -> None:
        """Have it leave the host as it was found.

        Raises:
            MachineError: It did not, or not wholly.
        """
        lost = self._daemon.machine_lost
        self._daemon.stop(END_DEADLINE_S)
        told = [event for event in self._daemon.events if event["event"] == "restored"]
        name = self._machine.name
        if not told:
            why = "it is gone" if lost else "what keeps it did not answer"
            raise MachineError(
                f"Machine {name!r} was not left as it was found: {why}.",
                hint="The next lab that uses it cleans up.",
            )
        if told[-1]["stays"]:
            raise MachineError(
                f"Machine {name!r} keeps what was not there before: {', '.join(told[-1]['stays'])}."
            )
