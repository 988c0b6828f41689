"""The device layer of a fault plan, in the gadget's daemon.

`rig.faults.triggers.Injector` decides; here are the lock that its askers need, and the event line
of each fault.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rig.control.commands import FaultCommands
from rig.daemon import Command, Events
from rig.faults.plan import NO_FAULTS, Plan
from rig.faults.rules.base import Layer, Rule
from rig.faults.rules.device import DeviceEffect, DeviceFault, DeviceRequest
from rig.faults.triggers import Clock, Fired, Injector


class DeviceFaults:
    """Decides what the device does wrong, and tells it.

    Args:
        plan: The fault plan.
        events: Where a fault is told.
        clock_s: Seconds, for rules with ``at_s``.
        accept: Raises `UserError` for a rule that this gadget could never bring about.
    """

    def __init__(
        self,
        events: Events,
        plan: Plan = NO_FAULTS,
        clock_s: Clock = time.monotonic,
        accept: Callable[[Rule[DeviceRequest, DeviceEffect]], None] = lambda _: None,
    ) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._clock_s = clock_s
        self._latest = ""
        self._injector = Injector(plan, DeviceFault, clock_s)
        self._commands = FaultCommands("rig gadget", self._injector, events, accept=accept)

    def decide(self, request: DeviceRequest) -> DeviceEffect | None:
        """Say what the disk is to do wrong with a command; for any thread."""
        with self._lock:
            fired = self._injector.ask(request)
        if fired is None:
            return None
        self._latest = fired.rule_name
        self._tell(fired, request)
        return fired.effect

    def released(self, waited_s: float, by: str) -> None:
        """The disk answers again; for the thread that asks `decide`: one command is one answer."""
        self._events.emit(
            "released", layer=Layer.DEVICE, rule=self._latest, waited_s=waited_s, by=by
        )

    def due(self) -> list[DeviceEffect]:
        """Return what is to happen now, by the clock alone."""
        with self._lock:
            fired = self._injector.due()
        for one in fired:
            self._tell(one, None)
        return [one.effect for one in fired]

    def next_due_s(self) -> float | None:
        """In how many seconds to ask `due` again; None: not before something else happens."""
        with self._lock:
            due_s = self._injector.next_due_s()
        return None if due_s is None else max(0.0, due_s - self._clock_s())

    def obey(self, command: Command) -> Any:
        """Carry out one of the commands of `rig.control.commands`.

        Raises:
            UserError: It is unknown, or cannot be carried out.
        """
        with self._lock:
            return self._commands.obey(command)

    def _tell(self, fired: Fired[DeviceEffect], request: DeviceRequest | None) -> None:
        effect = fired.effect
        fields: dict[str, object] = {"effect": effect.kind, "for_s": effect.for_s}
        if request is not None:
            fields |= {
                "opcode": request.opcode,
                "lba": request.lba,
                "blocks": request.blocks,
                "length_bytes": request.length_bytes,
            }
        self._events.emit(
            "fault",
            layer=Layer.DEVICE,
            rule=fired.rule_name,
            match=fired.match,
            by_hand=fired.by_hand,
            **fields,
        )
