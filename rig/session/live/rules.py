"""The fault rules of a live rig: listed, added and changed by the control sockets of its processes.

Connections stay open, since each costs two programs of ssh.  Who does not answer any more is looked
for anew when something is asked the next time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from rig.control.everybody import Asked, Everybody, release
from rig.control.reach import STATION, lab_processes
from rig.errors import MachineError, RigError, UserError
from rig.faults.plan import Fault
from rig.faults.reader import parse_rule
from rig.faults.rules.base import NO_LIMIT
from rig.session.snapshot import FaultRow


class Standing(msgspec.Struct, frozen=True):
    """A rule that a process has.

    Attributes:
        rule: The rule.
        armed: Whether it counts and fires.
        fired: How often it did.
    """

    rule: Fault
    armed: bool
    fired: int

    @property
    def left(self) -> Fault | None:
        """What of it can still fire; None: nothing."""
        if self.rule.times == NO_LIMIT:
            return self.rule
        rest = self.rule.times - self.fired
        return msgspec.structs.replace(self.rule, times=rest) if rest > 0 else None


class AwayError(MachineError):
    """A process that was there is away, with the machine that it is on, or for itself.

    Args:
        process: Its kind.
        machine: Where it was.
    """

    def __init__(self, process: str, machine: str) -> None:
        super().__init__(
            f"Process '{process}' on machine {machine} is away.",
            hint="'wait live' waits until it is back.",
        )
        self.process = process
        self.machine = machine


class LiveRules:
    """The rules of all processes of a run; for any thread, one at a time gets on.

    Args:
        directory: Of the run.
        machines: Says which machines can be asked now.
        silent: Says which processes cannot.
    """

    def __init__(
        self,
        directory: Path,
        machines: Callable[[], Collection[str]],
        silent: Callable[[], Collection[str]],
    ) -> None:
        self._silent = silent
        self._directory = directory
        self._machines = machines
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._closed = False
        self._everybody: Everybody | None = None
        self._rows: list[FaultRow] = []
        self._had: dict[str, str] = {}
        self._asked_of: tuple[frozenset[str], frozenset[str]] = frozenset(), frozenset()

    def close(self) -> None:
        """Let go of all connections, and make no more."""
        with self._lock:
            self._closed = True
            self._forget()

    def look(self) -> None:
        """Have everybody list its rules.

        Raises:
            MachineError: The session ends.
        """
        with self._lock:
            self._look()

    def rows(self) -> list[FaultRow]:
        """Return all rules, as they were listed last; also while everybody is looked for anew."""
        everybody = self._everybody
        return self._rows if everybody is None else _rows_of(everybody)

    def add(self, rules: Sequence[Fault], *, armed: bool) -> list[str]:
        """See `rig.session.deeds.Deeds.add`."""
        with self._lock:
            try:
                everybody = self._check_there(self._known(), rules)
                done = everybody.add(rules, armed=armed)
            except AwayError:
                self._check_there(self._look(), rules)
                done = self._known().add(rules, armed=armed)
            except MachineError:  # of who does not answer any more, and is perhaps away
                self._check_there(self._look(), rules)
                raise
            for one in {owner for owner, _ in done}:
                one.look()
            return [name for _, name in done]

    def remove(self, name: str) -> tuple[Fault, bool]:
        """See `rig.session.deeds.Deeds.remove`."""
        with self._lock:
            owner = self._owner_of(name)
            told = next(told for told in owner.rules if told["rule"]["name"] == name)
            owner.client.ask("remove", name=name)
            owner.look()
            return parse_rule(told["rule"]), bool(told["armed"])

    def change(self, do: str, name: str) -> None:
        """Have a rule armed, disarmed or fired: the command's name."""
        with self._lock:
            owner = self._owner_of(name)
            owner.client.ask(do, name=name)
            owner.look()

    def release(self) -> int:
        """End what hangs anywhere; return how much that was."""
        with self._lock:
            return sum(release(one) or 0 for one in self._known().living)

    def of(self, process: str) -> list[Standing]:
        """Return the rules of one process, by its name."""
        with self._lock:
            return [
                Standing(parse_rule(told["rule"]), bool(told["armed"]), int(told["fired"]))
                for one in self._look().living
                if one.is_a(process)
                for told in one.rules
            ]

    def restore(self, process: str, rules: Sequence[Standing]) -> None:
        """Give a process that began anew the rules of the one before it, as far as any can fire."""
        with self._lock:
            self._forget()
            for one in self._look().living:
                if one.is_a(process):
                    one.client.ask("clear")
            everybody = self._look()
            for armed in (True, False):
                left = [each.left for each in rules if each.armed is armed]
                everybody.add([rule for rule in left if rule is not None], armed=armed)
                everybody.each(Asked.look)

    def _check_there(self, everybody: Everybody, rules: Sequence[Fault]) -> Everybody:
        """Return everybody if nobody is missing who was there before, and is needed.

        Raises:
            AwayError: Somebody is.
        """
        for kind in map(everybody.lacks, rules):
            if kind in self._had:
                raise AwayError(kind, self._had[kind])
        return everybody

    def _known(self) -> Everybody:
        """Return everybody as they were listed last, if that is all that there are."""
        if self._closed or self._everybody is None or self._everybody.dead:
            return self._look()
        return self._everybody

    def _owner_of(self, name: str) -> Asked:
        """Find the process that has a rule; another program may have brought it there just now."""
        try:
            return self._known().owner_of_name(name)
        except RigError:
            return self._look().owner_of_name(name)

    def _look(self) -> Everybody:
        """Have everybody list its rules; connect anew where somebody is missing."""
        if self._closed:
            raise MachineError("The session ends: no rule can be changed any more.")
        machines, silent = frozenset(self._machines()), frozenset(self._silent())
        if self._everybody is not None and (machines, silent) == self._asked_of:
            known = self._everybody
            lost, known.dead[:] = len(known.dead), []
            known.each(Asked.look)
            if not (known.dead or lost or self._missing(known)):
                return known
        self._forget()
        self._asked_of = machines, silent
        self._everybody = self._connect(machines, silent)
        for one in self._everybody.living:
            machine, _, name = one.where.partition("/")
            self._had[name.partition("-")[0]] = machine
        return self._everybody

    def _missing(self, known: Everybody) -> bool:
        """Whether somebody who was there is not, although the machine is: it may come any time."""
        there = {*self._asked_of[0], STATION}
        wanted = [kind for kind, where in self._had.items() if where in there]
        away = [kind for kind in wanted if not any(one.is_a(kind) for one in known.living)]
        return any(kind not in self._asked_of[1] for kind in away)

    def _connect(self, machines: Collection[str], silent: Collection[str]) -> Everybody:
        processes, lost = [], []
        for machine in [*machines, STATION]:
            try:
                found, missing = lab_processes(self._directory, machine)
            except UserError as error:  # the lab is about to go
                raise MachineError(error.message) from error
            processes += [one for one in found if one.name not in silent]
            lost += missing
        lost += [MachineError(f"Process '{name}' stands still.") for name in sorted(silent)]
        return Everybody.of(processes, lost, self._stack)

    def _forget(self) -> None:
        self._rows, self._everybody = self.rows(), None
        with suppress(MachineError):  # of a machine that is gone no way needs to be taken back
            self._stack.close()


def _rows_of(everybody: Everybody) -> list[FaultRow]:
    return [_row(one.where, told) for one in everybody.living for told in one.rules]


def _row(where: str, told: dict[str, Any]) -> FaultRow:
    rule = parse_rule(told["rule"])
    return FaultRow(
        where,
        rule.name,
        str(told["rule"]["layer"]),
        bool(told["armed"]),
        int(told["fired"]),
        int(told["planned"]),
        int(told["matches"]),
        rule.words(),
    )
