"""Which halves of ``vhci_hcd``'s controllers this front end owns, and which of them are free."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from rig.errors import MachineError
from rig.reactor import Reactor
from rig.splitdriver.front.half import Half
from rig.splitdriver.front.half_lock import lock_half
from rig.usb import vhci

_log = logging.getLogger("rig.halves")


class Halves:
    """The halves of one front end; kept until it ends, because their hidden devices take time.

    Args:
        reactor: Waits.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._halves: list[Half] = []
        self._takers: dict[Half, Callable[[str], None]] = {}
        self._spent: set[int] = set()  # first ports of halves whose numbers have come to an end

    def take(self, *, super_speed: bool, lost: Callable[[str], None]) -> Half:
        """Return a half that carries nothing; it must be given back.

        Args:
            super_speed: Of its devices.
            lost: Called with a sentence if it is of no more use; it is closed then.

        Raises:
            MachineError: There is none, or the module is not loaded.
            OSError: The kernel does not attach the hidden device.
        """
        half = next((h for h in self._halves if self._fits(h, super_speed)), None)
        if half is None:
            half = self._open(super_speed)
        self._takers[half] = lost
        return half

    def prepare(self) -> None:
        """Have a high-speed half ready before a device comes.

        Raises:
            MachineError: There is none, or the module is not loaded.
            OSError: The kernel does not attach the hidden device.
        """
        self._open(super_speed=False)

    def give_back(self, half: Half) -> None:
        """The half carries nothing any more."""
        self._takers.pop(half, None)

    def close(self) -> None:
        """Detach everything."""
        while self._halves:
            self._halves.pop().close()

    def _fits(self, half: Half, super_speed: bool) -> bool:
        return half.super_speed is super_speed and half not in self._takers and not half.exhausted

    def _open(self, super_speed: bool) -> Half:
        for ports in vhci.free_halves(vhci.read_status(), super_speed=super_speed):
            lock = lock_half(ports) if ports[0].number not in self._spent else None
            if lock is None:
                continue
            try:
                half = Half(ports, lock, self._reactor, self._on_lost)
            except OSError:
                os.close(lock)
                raise
            self._halves.append(half)
            return half
        if self._spent:
            raise MachineError(
                "Every controller of vhci_hcd has a port in use or has used up its numbers.",
                hint="Load the module anew: modprobe -r vhci_hcd && modprobe vhci_hcd",
            )
        raise MachineError(
            "Every controller of vhci_hcd has a port in use; each carries one device of ours.",
            hint="Detach what is not needed: echo PORT > /sys/devices/platform/vhci_hcd.0/detach",
        )

    def _on_lost(self, half: Half, reason: str) -> None:
        if half.exhausted:
            self._spent.add(half.first_port)
        self._halves.remove(half)
        half.close()
        lost = self._takers.pop(half, None)
        if lost is not None:
            lost(reason)
        else:
            _log.warning("%s", reason)
