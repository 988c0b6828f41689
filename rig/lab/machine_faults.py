"""The machine layer of a fault plan: a thread of the station that strikes machines and daemons.

`rig.lab.timetable` says what is to be done when, `rig.lab.hands` does it.  What a rule strikes
comes back at its time, or at `release` if that is sooner.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from rig.control.commands import FaultCommands
from rig.daemon import Command, Events
from rig.errors import MachineError, RigError
from rig.faults.plan import Plan
from rig.faults.rules.base import Event, Layer, Rule
from rig.faults.rules.machine import MachineEffect, MachineFault
from rig.faults.triggers import Clock, Injector
from rig.lab.timetable import Step, Timetable

CLOSE_DEADLINE_S = 5.0
"""For the thread's end; what it does to a machine is not waited for."""


class Doer(Protocol):
    """Does deeds; `rig.lab.hands.Hands` is one."""

    def do(self, step: Step) -> None:
        """Do one, to its end.

        Raises:
            RigError: It could not be done.
        """


class MachineFaults:
    """Carries out a plan's machine rules while something else goes on; a context.

    Args:
        plan: The fault plan.
        hands: Does the deeds.
        events: Where faults and their ends are told, as a daemon's are.
        clock_s: Seconds.
        accept: Raises `UserError` for a rule that must not be added.
    """

    def __init__(
        self,
        plan: Plan,
        hands: Doer,
        events: Events,
        clock_s: Clock = time.monotonic,
        accept: Callable[[Rule[Event, MachineEffect]], None] = lambda _: None,
    ) -> None:
        self._hands = hands
        self._events = events
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._injector = Injector(plan, MachineFault, clock_s)
        self._commands = FaultCommands("rig run", self._injector, events, accept=accept)
        self._timetable = Timetable(self._injector)
        self._busy = False
        self._closed = False
        self._error: RigError | None = None
        self._by = "deadline"
        self._thread = threading.Thread(target=self._run, name="machine-faults", daemon=True)

    def __enter__(self) -> MachineFaults:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; what stands still is left to whoever throws the machines away."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(CLOSE_DEADLINE_S)

    def set_phase(self, name: str | None) -> None:
        """Tell in which phase the workload is."""
        with self._changed:
            self._injector.set_phase(name)
            self._changed.notify_all()

    @property
    def planned(self) -> dict[str, int]:
        """How often each rule may fire at most."""
        with self._changed:
            return self._injector.planned

    @property
    def fired(self) -> dict[str, int]:
        """How often each rule has fired."""
        with self._changed:
            return self._injector.fired

    def obey(self, command: Command) -> Any:
        """Carry out one of the commands of `rig.control.commands`, or ``release``.

        Raises:
            UserError: It is unknown, or cannot be carried out.
        """
        if command.do == "release":
            with self._changed:
                standing = len(self._timetable.standing)
            self.release()
            return {"released": standing}
        with self._changed:
            result = self._commands.obey(command)
            self._changed.notify_all()
        return result

    def fire(self, name: str) -> None:
        """Let a rule fire now.

        Raises:
            UserError: There is none of this name.
        """
        with self._changed:
            self._injector.fire(name)
            self._changed.notify_all()

    def release(self) -> None:
        """Let everything come back now."""
        with self._changed:
            self._by = "command"
            self._timetable.release(self._clock_s())
            self._changed.notify_all()

    def settle(self, deadline_s: float) -> None:
        """Wait until everything that was struck is back.

        Raises:
            MachineError: Something could not be struck or brought back, or not in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._is_settled(), deadline_s)
            if self._error is not None:
                raise MachineError(self._error.message, hint=self._error.hint) from self._error
            if not self._is_settled():
                rules = ", ".join(self._timetable.standing) or "the last rule"
                raise MachineError(f"What {rules} struck was not back in {deadline_s:g} s.")

    def _is_settled(self) -> bool:
        due_s = self._injector.next_due_s()
        is_due = due_s is not None and due_s <= self._clock_s()
        return not (self._busy or is_due or self._timetable.standing)

    def _run(self) -> None:
        while (step := self._await_step()) is not None:
            try:
                self._hands.do(step)
            except RigError as error:
                self._fail(error)
                return
            self._tell(step)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _await_step(self) -> Step | None:
        """Wait for the next deed; None at the end."""
        with self._changed:
            while not self._closed:
                now_s = self._clock_s()
                step = self._timetable.next_step(now_s)
                if step is not None:
                    self._busy = True
                    return step
                if not self._timetable.standing:
                    self._by = "deadline"
                self._changed.notify_all()
                next_s = self._timetable.next_s()
                self._changed.wait(None if next_s is None else max(0.0, next_s - now_s))
        return None

    def _fail(self, error: RigError) -> None:
        self._events.emit("error", error=str(error))
        with self._changed:
            self._error = error
            self._busy = False
            self._changed.notify_all()

    def _tell(self, step: Step) -> None:
        if step.fired is None:
            waited_s = round(self._clock_s() - step.since_s, 3)
            self._events.emit(
                "released",
                layer=Layer.MACHINE,
                rule=step.rule,
                deed=step.deed,
                waited_s=waited_s,
                by=self._by,
            )
            return
        effect = step.fired.effect
        self._events.emit(
            "fault",
            layer=Layer.MACHINE,
            rule=step.rule,
            match=step.fired.match,
            by_hand=step.fired.by_hand,
            effect=effect.kind,
            machine=effect.machine,
            daemon=effect.daemon,
            for_s=effect.for_s,
        )
