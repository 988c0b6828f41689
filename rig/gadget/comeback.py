"""After a hang of the medium: a host that has given the disk up gets it back, plugged in anew.

Linux's host aborts a command after 30 s and resets the device.  The kernel's mass storage function
takes no part in SET_CONFIGURATION while it waits for its medium, so 5 s later the reset has failed;
the host tries once more, and 5 s after that it leaves the device without a configuration, for good.
The UDC's state says nothing of that: it is ``configured`` from the moment on in which the host asks
(``set_config`` in ``drivers/usb/gadget/composite.c``), whether or not the host hears the answer.
But a host that has the disk still sends again what hung, or looks for partitions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from rig.faults.release import ReleasedBy
from rig.faults.rules.base import Layer
from rig.faults.rules.medium import MediumKind
from rig.faults.triggers import Clock

log = logging.getLogger("rig.gadget.comeback")

HOST_PATIENCE_S = 40.0
"""After this Linux has given the disk up: 30 s for the command, 5 s for each SET_CONFIGURATION."""
GRACE_S = 10.0
"""A host that has the disk uses it by then; emulated, a disk is looked at 4 s after its plug."""
LOOK_HANGING_S = 0.05
"""Shorter than a reset: the hub driver alone waits for 60 ms."""
LOOK_WAITING_S = 0.5


class Device(Protocol):
    """What is asked about the gadget, and done to it."""

    def state(self) -> str:
        """Return the UDC's state."""

    def accesses(self) -> int:
        """Return how many accesses the medium has had.

        Raises:
            MachineError: The store does not answer.
        """

    def replug(self) -> bool:
        """Plug it in anew, unless it is unplugged on purpose; return whether that was done.

        Raises:
            MachineError: The kernel refuses.
        """


class Comeback:
    """Watches the host during and after hangs.

    Args:
        device: The gadget.
        tell: Told when it was plugged in anew: by which rule's hang, and how long ago that ended.
        clock_s: Seconds.
    """

    def __init__(
        self,
        device: Device,
        tell: Callable[[str, float], None],
        clock_s: Clock = time.monotonic,
    ) -> None:
        self._device = device
        self._tell = tell
        self._clock_s = clock_s
        self._hanging: set[int] = set()  # sequence numbers
        self._state = ""
        self._was_reset = False
        self._awaited: str | None = None  # the rule behind whose hang a sign of life is awaited
        self._ended_s = self._sign_s = 0.0
        self._accesses = 0

    def take(self, event: dict[str, Any]) -> None:
        """Take an event of the store.

        Raises:
            MachineError: See `Device.accesses`.
        """
        if event.get("layer") != Layer.MEDIUM:
            return
        if event["event"] == "fault" and event.get("effect") == MediumKind.HANG:
            if not self._hanging:
                self._state, self._was_reset = self._device.state(), False
            self._hanging.add(event["sequence"])
        elif event["event"] == "released":
            self._look_for_reset()
            self._hanging.discard(event["sequence"])
            patient = event["waited_s"] < HOST_PATIENCE_S and not self._was_reset
            if event["by"] in (ReleasedBy.DEADLINE, ReleasedBy.COMMAND) and not patient:
                self._await_sign(event["rule"])

    def next_s(self) -> float | None:
        """In how many seconds to call `run`; None: not before an event comes."""
        if self._hanging:
            return LOOK_HANGING_S
        return None if self._awaited is None else LOOK_WAITING_S

    def run(self) -> None:
        """Look at the host; plug the gadget in anew if it has given it up.

        Raises:
            MachineError: The store or the kernel does not do its part.
        """
        if self._hanging:
            self._look_for_reset()
        if self._awaited is None or self._hanging:
            return
        now_s = self._clock_s()
        if self._device.accesses() != self._accesses:
            self._awaited = None
        elif self._look_for_reset():
            self._sign_s = now_s  # the host is at it
        elif now_s - self._sign_s >= GRACE_S:
            self._replug(self._awaited, now_s)

    def _await_sign(self, rule: str) -> None:
        self._awaited = rule
        self._ended_s = self._sign_s = self._clock_s()
        self._accesses = self._device.accesses()

    def _replug(self, rule: str, now_s: float) -> None:
        self._awaited = None
        if self._device.replug():
            silent_s = round(now_s - self._ended_s, 3)
            log.info("the host has not used the disk for %g s: plugged in anew", silent_s)
            self._tell(rule, silent_s)

    def _look_for_reset(self) -> bool:
        """Look at the UDC; return whether its state is another one than it was."""
        state = self._device.state()
        changed = state != self._state
        self._state, self._was_reset = state, self._was_reset or changed
        return changed
