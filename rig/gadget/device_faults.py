"""The device layer of a fault plan, in the gadget's daemon.

`rig.faults.triggers.Injector` decides; here are the lock that its askers need, and the event line
of each fault.
"""

from __future__ import annotations

import threading
import time

from rig.daemon import Events
from rig.faults.plan import NO_FAULTS, Plan
from rig.faults.rules.base import Layer
from rig.faults.rules.device import DeviceEffect, DeviceFault, DeviceRequest
from rig.faults.triggers import Clock, Fired, Injector


class DeviceFaults:
    """Decides what the device does wrong, and tells it.

    Args:
        plan: The fault plan.
        events: Where a fault is told.
        clock_s: Seconds, for rules with ``at_s``.
    """

    def __init__(
        self, events: Events, plan: Plan = NO_FAULTS, clock_s: Clock = time.monotonic
    ) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._clock_s = clock_s
        self._injector = Injector(plan, DeviceFault, clock_s)

    def decide(self, request: DeviceRequest) -> DeviceEffect | None:
        """Say what the disk is to do wrong with a command; for any thread."""
        with self._lock:
            fired = self._injector.ask(request)
        if fired is None:
            return None
        self._tell(fired, request)
        return fired.effect

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

    def set_phase(self, name: str | None) -> None:
        """Tell in which phase the workload is."""
        with self._lock:
            self._injector.set_phase(name)

    def merged(self, others: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        """How often each rule may fire and has fired, with what the store says of its own."""
        with self._lock:
            own = {"planned": self._injector.planned, "fired": self._injector.fired}
        return {**others, **{key: {**others.get(key, {}), **own[key]} for key in own}}

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
