"""A disk on one path, who makes its errors, and who watches."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import msgspec

from rig.errors import MachineError
from rig.experiments.fidelity import agent
from rig.experiments.fidelity.cells import REQUEST_BYTES, Injection
from rig.experiments.fidelity.monitor import Record, Told, look
from rig.experiments.fidelity.report import Data, Observation, judge_read, judge_write, kernel_words
from rig.faults.rules.endpoint import Place
from rig.lab.daemons import Daemon
from rig.lab.environment import Role
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.usb.urb import Direction

OFFSET = 1 << 20
"""Of the requests, on the disk: away from what the kernel reads to find partitions."""

PATIENCE_S = 6
"""How long SCSI waits for a command, instead of 30 s: an error that only the host has seen leaves
the device waiting for data.  A page over OHCI takes about one."""

DEADLINE_S = 60.0
REQUEST_DEADLINE_S = 120.0
"""SCSI sends a command up to six times, and resets the device in between."""

CALM_ATTEMPTS = 3


class Plugged:
    """A disk on one path, and who watches it.

    Args:
        lab: Attached.
        failing: The daemon that makes the errors.
    """

    def __init__(self, lab: Lab, failing: Daemon) -> None:
        self._lab = lab
        self._failing = failing
        self._node = lab.disk
        self._number = 0
        self._back = _start_agent(lab, Role.BACK)
        is_direct = lab.strategy.client is Role.BACK
        self._client = self._back if is_direct else _start_agent(lab, Role.FRONT)
        self._client.ask("patience", node=self._node, seconds=PATIENCE_S)

    def stop(self) -> None:
        """End who watches."""
        for one in {self._back, self._client}:
            one.stop()

    def observe(self, injection: Injection, path: PathName) -> Observation:
        """Make an error, and see.

        Raises:
            MachineError: The disk is of no use any more, or a machine was lost.
        """
        old = self._calm()
        new = self._next()
        watching = {self._back, self._client}
        for one in watching:
            one.ask("begin")
        fired = self._fired()
        self._failing.ask("phase", name=injection.name)
        told = self._request(injection, new, [old])
        self._failing.ask("phase", name=None)
        ends = {one: one.ask("end", DEADLINE_S) for one in watching}
        above, below = ends[self._client], ends[self._back]
        client = look(_records(above), injection.opcode)
        return Observation(
            injection=injection,
            path=path,
            fired=self._fired() - fired,
            below=_told_below(injection, _records(below)),
            above=client.first,
            sent=client.sent,
            halts_cleared=client.halts_cleared,
            errno=told["errno"],
            data=self._judge(injection, told, new=new, old=old),
            taken_s=told["taken_s"],
            lines=kernel_words(above["lines"]),
            note="usbmon lost events" if above["lost"] or below["lost"] else "",
        )

    def _judge(self, injection: Injection, told: dict[str, Any], *, new: int, old: int) -> Data:
        if injection.direction is Direction.OUT:
            return judge_write(told["errno"], self._held([new, old]), new=new, old=old)
        return judge_read(told["errno"], told["number"], old=old)

    def _calm(self) -> int:
        """Have the disk as before any error, with a pattern of its own; return its number.

        Raises:
            MachineError: It does not come to that.
        """
        told: dict[str, Any] = {}
        for _ in range(CALM_ATTEMPTS):
            number = self._next()
            told = self._ask("write", number=number)
            # The read tells whether the device still has something to say of a reset.
            if not told["errno"] and self._held([number]) == number:
                return number
        raise MachineError(f"The disk {self._node} does not recover: {told['errno']}.")

    def _request(self, injection: Injection, new: int, numbers: Sequence[int]) -> dict[str, Any]:
        if injection.direction is Direction.OUT:
            return self._ask("write", number=new)
        return self._ask("read", numbers=numbers)

    def _held(self, numbers: Sequence[int]) -> int:
        """Return which of the patterns the disk holds, or -1."""
        for _ in range(CALM_ATTEMPTS):
            told = self._ask("read", numbers=numbers)
            if not told["errno"]:
                return int(told["number"])
        return -1

    def _ask(self, do: str, **args: object) -> dict[str, Any]:
        place = {"node": self._node, "offset": OFFSET, "bytes": REQUEST_BYTES}
        told: dict[str, Any] = self._client.ask(do, REQUEST_DEADLINE_S, **place, **args)
        return told

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _fired(self) -> int:
        return sum(self._failing.ask("faults")["fired"].values())


def _start_agent(lab: Lab, role: Role) -> Daemon:
    # Sent as text: it then needs nothing of the rig on the machine.
    argv = ["python3", "-I", "-S", "-c", inspect.getsource(agent)]
    daemon = lab.strategy.machine(role).start_daemon(argv, "fidelity")
    daemon.wait_event("ready", DEADLINE_S)
    return daemon


def _told_below(injection: Injection, records: Sequence[Record]) -> Told | None:
    told = look(records, injection.opcode).first
    if injection.place is Place.PORT:
        # The status is the port's own; what has moved is seen below it.
        return Told(injection.status.code, told.actual_bytes if told else 0)
    return told


def _records(told: dict[str, Any]) -> list[Record]:
    return msgspec.convert(told["records"], list[Record])
