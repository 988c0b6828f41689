"""All places of a run where faults happen: they are told of phases, and asked what has fired.

Where a plan lets the link, a machine or the device go away, the disk comes back by another name
while its file systems are mounted; `Disturbance.follow` finds it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import msgspec

from rig.control.server import served_by_thread
from rig.daemon import Command, Events
from rig.errors import CommandFailure, MachineError
from rig.experiments.run.client import DiskUser
from rig.experiments.run.observing import observe
from rig.experiments.run.options import RunOptions, check_machine
from rig.experiments.run.promise import is_promise
from rig.experiments.run.trace import Clocks
from rig.faults.phases import Phase
from rig.faults.plan import layer_of
from rig.faults.rules.base import STRIKING, Event, Layer, Rule
from rig.faults.rules.machine import MachineEffect, MachineFault, MachineKind
from rig.faults.rules.medium import MediumKind
from rig.lab.cable import NAME as CABLE
from rig.lab.daemons import Daemon
from rig.lab.environment import CONTROL
from rig.lab.hands import Hands, check_able
from rig.lab.lab import Lab
from rig.lab.machine_faults import MachineFaults, NotBackError
from rig.lab.paths import PathName
from rig.lab.waits import LEEWAY_S
from rig.report.rundir import RunDirectory
from rig.report.verdict import FaultRule, Faults

BACK_DEADLINE_S = 150.0
"""For whatever was struck, and for the disk, to be back: two boots and all time-outs on the way."""
LOOK_S = 20.0
"""So often, while a disk is away, it is seen to that those who could bring it back live still."""
PROBE = "dd if={disk} of=/dev/null bs=4096 count=1 iflag=direct"
EVENTS = "station/machine-faults.events.jsonl"

_WITHOUT_POWER = frozenset({MachineKind.POWER_CYCLE, MachineKind.REBOOT})


class _ToldFaults(msgspec.Struct):
    """What a daemon says of its rules."""

    planned: dict[str, int]
    fired: dict[str, int]
    layers: dict[str, str] = {}


class Followed(msgspec.Struct, frozen=True):
    """What the workload did about a disk that may have come back.

    Attributes:
        moved: It had gone.
        lost: File systems that could not be mounted again, and why.
    """

    moved: bool
    lost: dict[str, str] = {}


class Disturbance:
    """What goes wrong in one run; a context, in an attached lab.

    Args:
        lab: The lab.
        options: What is run.
        directory: Gets the events of the machine faults.
        clocks: Are measured between phases, and when a daemon was started anew.
        user: Uses the disk.

    Attributes:
        patience_s: How long whatever was struck, and the disk, is waited for.
    """

    def __init__(
        self,
        lab: Lab,
        options: RunOptions,
        directory: RunDirectory,
        clocks: Clocks,
        user: DiskUser,
    ) -> None:
        self._lab = lab
        self._user = user
        self._clocks = clocks
        self._plan = options.plan
        cable = (CABLE,) if options.attachment.has_cable else ()
        link = ("link",) if options.relayed else ()
        back = ("back",) if options.driver is PathName.SPLIT else ()
        self._daemons = (*back, *link, *cable, "gadget")
        self._directory = directory
        self._phase: str | None = None
        self._telling = threading.Lock()  # the phase; daemons that were started anew, too
        self._attachment = options.attachment
        self._undo = ExitStack()
        self._hands = Hands(lab.strategy, self._on_started)
        self._keeps_medium = False
        self.patience_s = BACK_DEADLINE_S
        self._by_hand: set[str] = set()
        self._of_plan: dict[str, str] = {fault.name: layer_of(fault) for fault in self._plan.faults}
        path = directory.file(EVENTS)
        path.parent.mkdir(exist_ok=True)
        out = self._undo.enter_context(path.open("ab", buffering=0))
        self._events = Events(out)
        self._machine = MachineFaults(self._plan, self._hands, self._events, accept=self._accept)

    def __enter__(self) -> Disturbance:
        """Begin."""
        with ExitStack() as undo:
            undo.push(self._undo)
            for rule in self._plan.rules(MachineFault):
                self._accept(rule)
            undo.enter_context(self._machine)
            control = self._lab.private / CONTROL
            undo.enter_context(served_by_thread(control, "run", self._machine.obey))
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the machine faults."""
        self._undo.__exit__(kind, error, trace)

    @property
    def unsteady(self) -> bool:
        """Whether the disk may go away: by the plan, by what was added by hand, or in a hang."""
        told = [
            event
            for daemon in self._lab.strategy.daemons.copy().values()
            for event in daemon.events
        ]
        if any(map(_is_hang, told)):  # of the medium; one may outlast the host's patience
            return True
        added = (event.get("layer") for event in told if event["event"] == "control")
        return bool(STRIKING & {*self._of_plan.values(), *added, *self._by_hand})

    def note(self, text: str) -> None:
        """Put a note into the trace; for any thread."""
        self._events.emit("note", text=text)

    def _accept(self, rule: Rule[Event, MachineEffect]) -> None:
        """Refuse a rule that a run cannot bear, and prepare for one that it can.

        Raises:
            UserError: It strikes a machine that the run cannot do without.
            MachineError: The back machine does not do its part.
        """
        if not isinstance(rule, MachineFault):
            return
        check_machine(rule, self._attachment)
        check_able(self._lab.strategy.powering, rule)
        self._by_hand.add(Layer.MACHINE)
        if rule.kind in _WITHOUT_POWER and not self._keeps_medium:
            self._hands.keep_medium()
            self._keeps_medium = True

    def set_phase(self, name: str | None) -> None:
        """Tell everybody in which phase the workload is; what was struck before is back then.

        Raises:
            MachineError: A daemon does not answer, or something did not come back.
        """
        self._machine.set_phase(None)
        self._machine.settle(self.patience_s)
        with self._telling:
            self._phase = name
            for daemon in reversed(self._daemons):
                self._lab.strategy.daemons[daemon].ask("phase", name=name)
        if name is None:
            self._clocks.measure(self._lab.strategy.daemons)
        self._machine.set_phase(name)

    def hear(self, event: dict[str, Any]) -> None:
        """Hear what the workload tells: its first promise in `write` begins a part of that phase.

        Whoever does not answer was struck, and is told when it is back; or its end is noticed when
        the disk is looked for.

        Raises:
            CommandFailure: A daemon refuses to be told.
        """
        if self._phase != Phase.WRITE or not is_promise(event):
            return
        with self._telling:
            self._phase = Phase.PROMISED
            for daemon in map(self._lab.strategy.daemons.get, reversed(self._daemons)):
                if daemon is not None:
                    self._tell_if_there(daemon)
        self._machine.set_phase(self._phase)
        if any(rule.phase == self._phase for rule in self._plan.faults):
            self.note(f"An fsync has returned: phase '{self._phase}' begins.")

    def _tell_if_there(self, daemon: Daemon) -> None:
        try:
            daemon.ask("phase", name=self._phase)
        except CommandFailure:
            raise
        except MachineError as error:
            self.note(f"Phase '{self._phase}' could not be told: {error.message}")

    def follow(self, workload: Daemon, *, suspect: bool = False) -> Followed:
        """See to it that the workload has its disk, if that may have gone away.

        Args:
            workload: The daemon.
            suspect: The host refused something: its disk may be gone though no rule says so.

        Raises:
            NotBackError: The disk does not come back in time.
            MachineError: Who should bring it back has ended.
            Hung: The host does not let go of the disk that is gone.
        """
        self._check_daemons()
        if not (self.unsteady or suspect):
            return Followed(moved=False)
        told = observe(workload, "follow", disk=self._find_disk())
        return msgspec.convert(told, Followed)

    def ask(self) -> Faults:
        """Ask everybody which rules have fired.

        Raises:
            MachineError: Somebody does not answer, or does not know the plan's rules.
        """
        rules: list[FaultRule] = []
        for daemon in self._daemons:
            told = msgspec.convert(self._lab.strategy.daemons[daemon].ask("faults"), _ToldFaults)
            rules += [
                self._rule(rule, told, self._fired_before(daemon, rule)) for rule in told.planned
            ]
        own = msgspec.convert(self._machine.obey(Command(0, "faults", {})), _ToldFaults)
        rules += [self._rule(rule, own, 0) for rule in own.planned]
        if not {rule.rule for rule in rules} >= self._of_plan.keys():
            raise MachineError("The daemons do not know the faults of the plan.")
        forgotten = self._forgotten({rule.rule for rule in rules})
        return Faults.of((*rules, *forgotten))

    def _rule(self, name: str, told: _ToldFaults, fired_before: int) -> FaultRule:
        fired = told.fired.get(name, 0) + fired_before
        # What was added by hand meanwhile was not planned: that it did not fire says nothing.
        planned = told.planned[name] if name in self._of_plan else fired
        layer = self._of_plan.get(name) or told.layers.get(name, "")
        return FaultRule(name, layer, planned, fired)

    def _forgotten(self, known: set[str]) -> Iterator[FaultRule]:
        """Yield what fired in daemons that are no more, and what nobody that lives knows of."""
        fired = [
            event
            for daemon in self._lab.strategy.crew.former
            for event in daemon.events
            if event.get("event") == "fault" and event["rule"] not in known
        ]
        layers = {str(event["rule"]): str(event.get("layer", "")) for event in fired}
        for name, layer in layers.items():
            count = sum(event["rule"] == name for event in fired)
            yield FaultRule(name, layer, count, count)

    def _fired_before(self, name: str, rule: str) -> int:
        """How often a rule fired in daemons that are no more; their successors began anew."""
        former = [daemon for daemon in self._lab.strategy.crew.former if daemon.name == name]
        return sum(_is_firing(event, rule) for daemon in former for event in daemon.events)

    def _on_started(self, name: str) -> None:
        """A daemon was started anew, and knows nothing of the workload; called by the thread."""
        if name in self._daemons:
            with self._telling:
                self._lab.strategy.daemons[name].ask("phase", name=self._phase)
        self._clocks.measure(self._lab.strategy.daemons)  # its machine's may be another one

    def _check_daemons(self) -> None:
        """Wait for what was struck to be back, and see to it that everybody lives.

        Raises:
            MachineError: A daemon has ended that was not to: whatever else is wrong comes of that.
        """
        self._machine.settle(self.patience_s)
        for name in self._daemons:
            self._lab.strategy.daemons[name].check()

    def _find_disk(self) -> str:
        """Wait for a disk that can be read; one whose link is dead may still seem to be there."""
        until_s = time.monotonic() + self.patience_s
        while (rest_s := until_s - time.monotonic()) > 0:
            self._check_daemons()
            disk = self._look_for_disk(min(rest_s, LOOK_S))
            if disk and self._answers(disk, rest_s + LEEWAY_S):
                return disk
        raise NotBackError(
            f"The disk could not be read again in {self.patience_s:g} s after it had gone.",
            hint="See front/kernel.log and the daemons' logs in the run's directory.",
        )

    def _answers(self, disk: str, deadline_s: float) -> bool:
        """Whether a disk can be read.

        Raises:
            NotBackError: It says neither yes nor no in time.
        """
        try:
            return self._lab.client.run(PROBE.format(disk=disk), deadline_s).status == 0
        except CommandFailure as error:
            raise NotBackError(f"The disk {disk} does not answer.", hint=error.message) from error

    def _look_for_disk(self, deadline_s: float) -> str:
        """Return the disk, or "" if there is none in time."""
        began_s = time.monotonic()
        try:
            return self._user.find(deadline_s)
        except MachineError:
            if time.monotonic() - began_s < deadline_s / 2:  # it is not the disk that is missing
                raise
            return ""


def _is_firing(event: dict[str, Any], rule: str) -> bool:
    return event.get("event") == "fault" and event.get("rule") == rule


def _is_hang(event: dict[str, Any]) -> bool:
    return event.get("event") == "fault" and event.get("effect") == MediumKind.HANG
