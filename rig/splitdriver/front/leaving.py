"""A port of ``vhci_hcd`` from which a device was detached, until the kernel is done with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from rig.errors import RigError
from rig.reactor import Reactor
from rig.usb import vhci

POLL_S = 0.01
"""The kernel says in sysfs, and nowhere else, that it is done with a port that was detached."""
DEADLINE_S = 15.0


class Leaving:
    """Waits for the port of one device at a time.

    Args:
        reactor: Waits.
        left: Called when the kernel is done with the port.
        stuck: Called with a sentence when it is not in time.
    """

    def __init__(
        self, reactor: Reactor, left: Callable[[], None], stuck: Callable[[str], None]
    ) -> None:
        self._reactor = reactor
        self._left = left
        self._stuck = stuck
        self._port: vhci.Port | None = None
        self._until_s = 0.0

    @property
    def under_way(self) -> bool:
        """Whether the kernel is not done yet."""
        return self._port is not None

    def begin(self, port: vhci.Port) -> None:
        """A device was detached from a port; `look` is next."""
        self._port = port
        self._until_s = time.monotonic() + DEADLINE_S

    def look(self) -> None:
        """See whether the kernel is done with it, and look again if it is not."""
        assert self._port is not None
        port = None
        with contextlib.suppress(RigError, OSError):  # the module is gone, and the port with it
            port = vhci.read_port(self._port.number)
        if port is None or port.state is vhci.PortState.NULL:
            self._port = None
            self._left()
            return
        now = time.monotonic()
        if now < self._until_s:
            self._reactor.at(self._timer, now + POLL_S, self.look)
        else:
            self._stuck(f"The kernel does not free vhci_hcd's port {port.number}.")

    def close(self) -> None:
        """Look no more."""
        self._reactor.cancel(self._timer)

    @property
    def _timer(self) -> str:
        return f"leaving-{id(self)}"
