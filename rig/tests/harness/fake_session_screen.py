"""A session that is none: what a screen needs of one, for its tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from rig.errors import UserError
from rig.session.snapshot import (
    DaemonRow,
    EndpointRow,
    FaultRow,
    FileSystemRow,
    LogLine,
    MachineRow,
    Mode,
    PortRow,
    Sample,
    Snapshot,
    UrbRow,
    WorkloadRow,
)
from rig.session.talk.commands import help_lines
from rig.session.talk.interpreter import Answer
from rig.tests.harness.fake_deeds import Seat


def live(**changes: object) -> Snapshot:
    """A session in the midst of its work."""
    usual = Snapshot(
        at_s=83.4,
        mode=Mode.LIVE,
        words="the workload runs",
        directory="runs/1",
        policy="hold",
        disk_blocks=131072,
        machines=(
            MachineRow(
                "back", "up", "6.12.1", (DaemonRow("back", True), DaemonRow("gadget", False))
            ),
            MachineRow("front", "up", "6.12.1", (DaemonRow("front", True),)),
        ),
        ports=(
            PortRow(
                "1-1",
                3,
                linked=True,
                endpoints=(
                    EndpointRow(0, "control", done=12),
                    EndpointRow(0x81, "bulk", 1, 1, done=400, octets=5_300_000),
                    EndpointRow(0x02, "bulk", 2, 1, stopped=True, done=399, failed=1),
                ),
            ),
        ),
        file_systems=(FileSystemRow("ext4", "/dev/sda1", 2048, 65536),),
        workload=WorkloadRow("usual", "ext4", 2, 1 << 24, "writes file 1"),
        samples=tuple(Sample(float(n), n * 1e5, 0.0, 0.004) for n in range(60)),
        urbs=tuple(UrbRow(float(n), n, 0x02, 512, 512, "ok", 0.0041) for n in range(30)),
        faults=(FaultRow("back/back", "lost-1", "endpoint", True, 0, 1, 7, "a transfer is lost"),),
        log=tuple(
            LogLine(float(n), machine, f"[{n}.0] {machine} says {n}")
            for n in range(50)
            for machine in ("back", "front")
        ),
        told=("lost-1 was armed",),
        verdict="pass so far",
    )
    return msgspec.structs.replace(usual, **changes)


class FakeSession:
    """Says how things are, notes what it is told, and does nothing.

    Attributes:
        now: What the snapshot says.
        asked: Lines that were asked for.
        left: Whether it was told to end.
    """

    def __init__(self, now: Snapshot | None = None) -> None:
        self.now = now or live()
        self.asked: list[str] = []
        self.left = False
        self.refuse: dict[str, str] = {}
        self.free = threading.Event()
        self.free.set()

    def change(self, **changes: object) -> None:
        self.now = msgspec.structs.replace(self.now, **changes)

    def snapshot(self) -> Snapshot:
        return self.now

    def ask(self, line: str) -> Answer:
        self.asked.append(line)
        self.free.wait(60)
        wrong = next((why for start, why in self.refuse.items() if line.startswith(start)), "")
        if wrong:
            raise UserError(wrong)
        if line.startswith("shell"):
            return Answer(line, argv=("true",))
        return Answer(line, (f"{line}: done.",), leaving=line == "quit")

    def complete(self, text: str) -> Sequence[str]:
        return [line for line in ("pause", "policy", "verify") if line.startswith(text)]

    def help(self) -> Sequence[str]:
        return help_lines()

    def journal(self) -> Sequence[str]:
        return ["1.0 s  pause"]

    def leave(self) -> None:
        self.left = True
        self.now = msgspec.structs.replace(self.now, mode=Mode.ENDED, words="judged")


class Seated(FakeSession):
    """The same in front of the real interpreter of commands.

    Attributes:
        seat: What it sits on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seat = Seat()

    def snapshot(self) -> Snapshot:
        return self.seat.deeds.snapshot()

    def ask(self, line: str) -> Answer:
        self.asked.append(line)
        return self.seat.interpreter.ask(line)

    def complete(self, text: str) -> Sequence[str]:
        return self.seat.interpreter.complete(text)

    def journal(self) -> Sequence[str]:
        return self.seat.interpreter.journal()
