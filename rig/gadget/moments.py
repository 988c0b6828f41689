"""What happens to a whole gadget: its medium is taken out, its pull-up goes, it loses its UDC.

Each is undone after a while, if that was asked for.  `Moments` keeps the time and takes requests
from other threads; what is done is in `GadgetParts`, which the gadget's assembly provides.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import time
from collections.abc import Callable
from typing import Protocol

from rig.faults.rules.device import DeviceEffect, DeviceKind
from rig.faults.triggers import Clock

log = logging.getLogger("rig.gadget.moments")


class GadgetParts(Protocol):
    """What can be done to a gadget; doing what is done already is no error."""

    def eject(self) -> None:
        """Take the medium out, whether the host has locked it or not."""

    def insert(self) -> None:
        """Put the medium in again."""

    def disconnect(self) -> None:
        """Switch the pull-up off: the host sees an unplugging."""

    def connect(self) -> None:
        """Switch it on."""

    def unbind(self) -> None:
        """Take the gadget off its UDC."""

    def bind(self) -> None:
        """Bind it again."""


class Moments:
    """Lets things happen, and undoes them in time.

    `fileno` becomes readable when another thread has asked for something; `run` does it.

    Args:
        parts: Of the gadget.
        clock_s: Seconds.
    """

    def __init__(self, parts: GadgetParts, clock_s: Clock = time.monotonic) -> None:
        self._clock_s = clock_s
        self._pairs: dict[DeviceKind, tuple[Callable[[], None], Callable[[], None]]] = {
            DeviceKind.EJECT: (parts.eject, parts.insert),
            DeviceKind.SOFT_DISCONNECT: (parts.disconnect, parts.connect),
            DeviceKind.UNBIND: (parts.unbind, parts.bind),
        }
        self._asked: collections.deque[DeviceEffect] = collections.deque()
        self._undo_at_s: dict[DeviceKind, float] = {}
        self._unplugged: set[DeviceKind] = set()
        self._parts = parts
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """The descriptor, for poll."""
        return self._wake

    def ask(self, effect: DeviceEffect) -> None:
        """Have something happen soon; for any thread."""
        self._asked.append(effect)
        os.eventfd_write(self._wake, 1)

    def next_s(self) -> float | None:
        """In how many seconds `run` is to be called, if nobody asks for anything; None: never."""
        if not self._undo_at_s:
            return None
        return max(0.0, min(self._undo_at_s.values()) - self._clock_s())

    def run(self) -> None:
        """Do what was asked for, and undo what is over.

        Raises:
            MachineError: The kernel refuses.
        """
        with contextlib.suppress(BlockingIOError):  # called for the time, not for a request
            os.eventfd_read(self._wake)
        while self._asked:
            self._begin(self._asked.popleft())
        now = self._clock_s()
        for kind in [kind for kind, at_s in self._undo_at_s.items() if at_s <= now]:
            del self._undo_at_s[kind]
            self._unplugged.discard(kind)
            log.info("%s is over", kind)
            self._pairs[kind][1]()

    def replug(self) -> bool:
        """Plug the gadget in anew, unless it is unplugged on purpose; return whether that was done.

        Raises:
            MachineError: The kernel refuses.
        """
        if self._unplugged:
            return False
        self._parts.unbind()
        self._parts.bind()
        return True

    def close(self) -> None:
        """Let go of the descriptor; what has happened stays."""
        os.close(self._wake)

    def _begin(self, effect: DeviceEffect) -> None:
        how_long = "ever" if effect.for_s is None else f"{effect.for_s:g} s"
        log.info("%s for %s", effect.kind, how_long)
        self._pairs[effect.kind][0]()
        if effect.kind is not DeviceKind.EJECT:
            self._unplugged.add(effect.kind)
        if effect.for_s is None:
            self._undo_at_s.pop(effect.kind, None)
        else:
            self._undo_at_s[effect.kind] = self._clock_s() + effect.for_s
