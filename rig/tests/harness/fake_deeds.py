"""A live rig that is none: keeps rules, obeys, and says how it would be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from rig.errors import MachineError, UserError
from rig.faults.plan import Fault, Plan, layer_of
from rig.integrity.workloads.table import workload
from rig.session.snapshot import (
    DaemonRow,
    EndpointRow,
    FaultRow,
    FileSystemRow,
    MachineRow,
    Mode,
    PortRow,
    Sample,
    Snapshot,
    UrbRow,
    WorkloadRow,
)
from rig.session.talk.doings import Doings
from rig.session.talk.interpreter import Interpreter
from rig.session.talk.journal import Journal
from rig.session.talk.saving import Settings

LIVE = Snapshot(
    at_s=20.0,
    mode=Mode.LIVE,
    words="usual writes on ext4.",
    directory="runs/1",
    policy="hold",
    disk_blocks=131072,
    machines=(
        MachineRow("back", "up", "6.12", (DaemonRow("back", True), DaemonRow("gadget", False))),
        MachineRow("front", "up", "6.12", (DaemonRow("front", True),)),
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
    workload=WorkloadRow("usual", "ext4", 2, 1 << 24, "write ext4 20 %"),
    samples=(Sample(19.0, 2e6, 0.0, 0.004, 0.1),),
    urbs=(UrbRow(19.0, 17, 0x02, 512, 512, "ok", 0.0041),),
    verdict="pass so far",
)


class FakeDeeds:
    """Implements `rig.session.deeds.Deeds` without a rig.

    Attributes:
        now: What the snapshot says; its rules are kept here.
        done: What it was told, in order.
        refuse: Deeds that fail, by name, with what is said.
        free: Deeds wait for it.
    """

    def __init__(self, now: Snapshot = LIVE) -> None:
        self.now = now
        self.done: list[str] = []
        self.refuse: dict[str, str] = {}
        self.free = threading.Event()
        self.free.set()
        self.rules: dict[str, Fault] = {}

    def change(self, **changes: object) -> None:
        """Let things be otherwise."""
        self.now = msgspec.structs.replace(self.now, **changes)

    def fired(self, name: str, times: int = 1) -> None:
        """Let a rule have fired so often."""
        self._row(name, fired=times, matches=times)
        self.change(told=(*self.now.told, f"back: fault '{name}' fired."))

    def row(self, name: str) -> FaultRow:
        """Return a rule's row."""
        for row in self.now.faults:
            if row.name == name:
                return row
        raise UserError(f"There is no rule '{name}'.")

    # Deeds.

    def snapshot(self) -> Snapshot:
        return self.now

    def add(self, rules: Sequence[Fault], *, armed: bool = True) -> list[str]:
        self._do("add", *(rule.name for rule in rules))
        for rule in rules:
            if rule.name in self.rules:
                raise UserError(f"There is a rule '{rule.name}' already.")
            self.rules[rule.name] = rule
            row = FaultRow(
                "back/x", rule.name, layer_of(rule), armed, 0, rule.times, 0, rule.words()
            )
            self.change(faults=(*self.now.faults, row))
        return [rule.name for rule in rules]

    def remove(self, name: str) -> tuple[Fault, bool]:
        self._do("remove", name)
        row = self.row(name)
        self.change(faults=tuple(one for one in self.now.faults if one.name != name))
        return self.rules.pop(name), row.armed

    def arm(self, name: str) -> None:
        self._do("arm", name)
        self._row(name, armed=True)

    def disarm(self, name: str) -> None:
        self._do("disarm", name)
        self._row(name, armed=False)

    def fire(self, name: str) -> None:
        self._do("fire", name)
        self._row(name, fired=self.row(name).fired + 1)

    def release(self) -> int:
        self._do("release")
        return 0

    def pause(self) -> bool:
        self._do("pause")
        was = self.now.mode is Mode.LIVE
        self.change(mode=Mode.PAUSED)
        return was

    def go(self) -> bool:
        self._do("go")
        was = self.now.mode is Mode.PAUSED
        self.change(mode=Mode.LIVE)
        return was

    def use(self, name: str) -> str:
        self._do("use", workload(name).name)
        before = self.now.workload.name
        self.change(workload=msgspec.structs.replace(self.now.workload, name=name))
        return before

    def verify(self) -> list[str]:
        self._do("verify")
        return ["Nothing is wrong."]

    def reset(self) -> None:
        self._do("reset")

    def switch(self, policy: str) -> str:
        self._do("switch", policy)
        before = self.now.policy
        self.change(policy=policy)
        return before

    def shell(self, machine: str) -> list[str]:
        self._do("shell", machine)
        return ["sh", "-c", f"echo shell on {machine}"]

    def mark(self, text: str) -> None:
        self._do("mark", text)

    def _do(self, *words: str) -> None:
        self.done.append(" ".join(words))
        self.free.wait(60)
        if words[0] in self.refuse:
            raise MachineError(self.refuse[words[0]])

    def _row(self, name: str, **changes: object) -> None:
        row = msgspec.structs.replace(self.row(name), **changes)
        self.change(faults=tuple(row if one.name == name else one for one in self.now.faults))


class AtOnce:
    """Waits for no time: what is not so behind `meanwhile` never is."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def until(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        if not condition():
            self.meanwhile()
        return condition()


class Seat:
    """A session to give commands in, without a rig.

    Attributes:
        deeds: What is done.
        interpreter: Takes the lines.
        lines: Of the journal, in JSON.
        files: That were saved, by name.
        now_s: Since the writing phase began.
        patience: Waits.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.deeds = FakeDeeds()
        self.lines: list[str] = []
        self.files: dict[str, str] = {}
        self.now_s = 10.0
        self.patience = AtOnce()
        self.doings = Doings(Journal(self.lines.append), lambda: self.now_s)
        self.settings = settings or Settings(Plan(name="calm", seed=7), ("--fs", "ext4"))
        self.interpreter = Interpreter(
            self.deeds,
            self.settings,
            self.doings,
            self.patience,
            self.files.__setitem__,
        )

    def ask(self, line: str, at_s: float | None = None) -> list[str]:
        """Give a command, at a moment; return the answer."""
        self.now_s = self.now_s if at_s is None else at_s
        return list(self.interpreter.ask(line).sentences)

    def refused(self, line: str) -> str:
        """Give a command that cannot be; return what is said."""
        try:
            said = self.ask(line)
        except (UserError, MachineError) as error:
            return str(error)
        raise AssertionError(f"'{line}' was done: {said}")
