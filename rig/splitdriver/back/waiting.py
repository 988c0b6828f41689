"""URBs that the kernel is not to get yet.

It had no memory for them (``usbfs_memory_mb`` counts what all devices have in flight), or the fault
plan wants the device to answer NAK for a while.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

from rig.reactor import Reactor
from rig.splitdriver.back.flight import Flight
from rig.usb.urb import TransferType

MEMORY_RETRY_S = 0.1


class Wanted(msgspec.Struct, frozen=True):
    """What is to be given to the kernel.

    Attributes:
        flight: The URB.
        kind: Of its transfer.
        run: So much of its buffer.
        continues: It stands behind others, and is to be taken back if one of them fails.
        not_before_s: Not before that time of the monotonic clock.
    """

    flight: Flight
    kind: TransferType
    run: memoryview
    continues: bool
    not_before_s: float = 0.0

    @property
    def endpoint_address(self) -> int:
        """The endpoint's."""
        return self.flight.urb.endpoint_address


class Waiting:
    """Those of one device, in their order.

    Args:
        reactor: Waits.
        retry: Called when it is time for `feed`.
    """

    def __init__(self, reactor: Reactor, retry: Callable[[], None]) -> None:
        self._reactor = reactor
        self._retry = retry
        self._wanted: deque[Wanted] = deque()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._wanted)

    def flights(self) -> list[Flight]:
        """Return the URBs."""
        return [each.flight for each in self._wanted]

    def must(self, wanted: Wanted) -> bool:
        """Whether something has to wait: its time has not come, or another of its endpoint's."""
        if self._wanted and any(
            each.endpoint_address == wanted.endpoint_address for each in self._wanted
        ):
            return True
        return wanted.not_before_s > 0 and wanted.not_before_s > time.monotonic()

    def put(self, wanted: Wanted) -> None:
        """Let something wait behind the others."""
        self._wanted.append(wanted)
        self._set_timer()

    def feed(self, submit: Callable[[Wanted], bool]) -> None:
        """Try again, each endpoint's in their order.

        Args:
            submit: Gives one to the kernel; returns False if it has to wait still.
        """
        wanted, self._wanted = self._wanted, deque()
        for each in wanted:
            if self.must(each) or not submit(each):
                self._wanted.append(each)
        if self._wanted:
            self._set_timer()
        else:
            self.close()

    def drop(self, dropped: Callable[[Wanted], bool]) -> list[int]:
        """Take out what the kernel has never had; return the URBs' numbers."""
        gone = [each.flight.urb.urb_id for each in self._wanted if dropped(each)]
        self._wanted = deque(each for each in self._wanted if not dropped(each))
        return gone

    def close(self) -> None:
        """Call `retry` no more."""
        self._reactor.cancel(self._timer)

    def _set_timer(self) -> None:
        # Nothing tells that another device has given memory back.
        retry = time.monotonic() + MEMORY_RETRY_S
        again = min(max(each.not_before_s, retry) for each in self._wanted)
        self._reactor.at(self._timer, again, self._retry)

    @property
    def _timer(self) -> str:
        return f"memory-{id(self)}"
