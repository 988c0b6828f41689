"""Whether a machine is still there, told at once to everyone who waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rig.errors import MachineError


class Health:
    """The life of one machine between power-on and power-off.

    The first loss stays: what came after it is its consequence.

    Args:
        name: The machine's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lost = threading.Event()
        self._lock = threading.Lock()
        self._loss: MachineError | None = None
        self._wakers: list[Callable[[], None]] = []

    @property
    def lost(self) -> bool:
        """Whether the machine is gone."""
        return self._lost.is_set()

    def lose(self, loss: MachineError) -> None:
        """Say that the machine is gone, and why; only the first call counts."""
        with self._lock:
            if self._loss is not None:
                return
            self._loss = loss
            self._lost.set()
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    def check(self) -> None:
        """Return if the machine is there.

        Raises:
            MachineError: Why it is not (a new exception each time, of the first loss's class).
        """
        loss = self._loss
        if loss is not None:
            raise type(loss)(loss.message, hint=loss.hint)

    def wait_for_loss(self, deadline_s: float) -> bool:
        """Wait until the machine is lost; return whether it is."""
        return self._lost.wait(deadline_s)

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have ``wake`` called once when the machine is lost, at once if it is already.

        Returns:
            A function that ends the watch; it may be called more than once.
        """

        def unwatch() -> None:
            with self._lock:
                if wake in self._wakers:
                    self._wakers.remove(wake)

        with self._lock:
            if self._loss is None:
                self._wakers.append(wake)
                return unwatch
        wake()
        return unwatch
