"""The machine layer of a fault plan: a thread of the station that strikes machines and daemons.

`rig.lab.timetable` says what is to be done when, `rig.lab.hands` does it.  What a rule strikes
comes back at its time, or at `release` if that is sooner.  After a deed that could not be done only
what stands still is let go on; whoever waits, or asks for another, is told of it.
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
from rig.faults.triggers import Clock, Fired, Injector
from rig.lab.timetable import Deed, Step, Timetable

CLOSE_DEADLINE_S = 5.0
"""For the thread's end; what it does to a machine is not waited for."""
_STRIKING = frozenset({"add", "arm", "fire"})
"""Commands after which something may be struck."""


class NotBackError(MachineError):
    """What was struck, or what it has taken away, is not back in time; it may come later."""


class Doer(Protocol):
    """Does deeds; `rig.lab.hands.Hands` is one."""

    def do(self, step: Step) -> None:
        """Do one, to its end.

        Raises:
            Exception: It could not be done; a `RigError` says why in a sentence.
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
        self._silent = False
        self._error: RigError | None = None
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
        with self._changed:
            self._silent = True  # whoever listened may be gone before a deed is done

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
            MachineError: It would strike something, and that is over: a deed could not be done.
        """
        if command.do == "release":
            return {"released": self.release()}
        with self._changed:
            if command.do in _STRIKING:
                self._check()
            result = self._commands.obey(command)
            self._changed.notify_all()
        return result

    def fire(self, name: str) -> None:
        """Let a rule fire now.

        Raises:
            UserError: There is none of this name.
            MachineError: Nothing is struck any more: a deed could not be done.
        """
        with self._changed:
            self._check()
            self._injector.fire(name)
            self._changed.notify_all()

    def release(self) -> int:
        """Let everything come back now; return how much that is."""
        with self._changed:
            released = self._timetable.release(self._clock_s())
            self._changed.notify_all()
        return released

    def settle(self, deadline_s: float) -> None:
        """Wait until everything that was struck is back.

        Raises:
            NotBackError: It is not, in time.
            MachineError: Something could not be struck or brought back.
        """
        with self._changed:
            self._changed.wait_for(self._is_settled, deadline_s)
            self._check()
            if not self._is_settled():
                rules = ", ".join(self._timetable.standing) or "the last rule"
                raise NotBackError(f"What {rules} struck was not back in {deadline_s:g} s.")

    def _check(self) -> None:
        """Return if every deed was done that was to be done.

        Raises:
            MachineError: One could not be: the first of them.
        """
        if self._error is not None:
            raise MachineError(self._error.message, hint=self._error.hint) from self._error

    def _is_settled(self) -> bool:
        next_s = self._timetable.next_s()
        is_due = next_s is not None and next_s <= self._clock_s()
        return not (self._busy or is_due or self._timetable.standing)

    def _run(self) -> None:
        while (step := self._await_step()) is not None:
            try:
                self._hands.do(step)
            except Exception as error:
                # Whatever it was: this thread is the only one to let the rest go on.
                self._fail(step, error)
            else:
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
                self._changed.notify_all()
                next_s = self._timetable.next_s()
                self._changed.wait(None if next_s is None else max(0.0, next_s - now_s))
        return None

    def _fail(self, step: Step, error: Exception) -> None:
        if not isinstance(error, RigError):
            error = MachineError(f"Rule '{step.rule}': {_words(step)} failed: {error!r}.")
        self._emit("error", rule=step.rule, deed=step.deed, error=str(error))
        with self._changed:
            self._error = self._error or error
            self._timetable.give_up(self._clock_s())

    def _tell(self, step: Step) -> None:
        if step.fired is None:
            self._tell_release(step, step.deed)
            return
        self._tell_fault(step, step.fired)
        for over in step.cut_short:
            self._tell_release(over, step.deed)

    def _tell_release(self, step: Step, deed: Deed) -> None:
        self._emit(
            "released",
            rule=step.rule,
            deed=deed,
            waited_s=round(self._clock_s() - step.since_s, 3),
            by=step.by,
        )

    def _tell_fault(self, step: Step, fired: Fired[MachineEffect]) -> None:
        effect = fired.effect
        self._emit(
            "fault",
            rule=step.rule,
            match=fired.match,
            by_hand=fired.by_hand,
            effect=effect.kind,
            machine=effect.machine,
            daemon=effect.daemon,
            for_s=effect.for_s,
        )

    def _emit(self, event: str, **fields: object) -> None:
        with self._changed:
            if not self._silent:
                self._events.emit(event, layer=Layer.MACHINE, **fields)


def _words(step: Step) -> str:
    """Say what was to be done to what."""
    daemon = f"daemon '{step.daemon}' on " if step.daemon is not None else ""
    return f"'{step.deed}' of {daemon}machine '{step.machine}'"
