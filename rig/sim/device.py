"""The back end's machine: usbfs, a host controller, a device.  Pure.

The controller is one without ``HCD_BH`` (``dummy_hcd``): when a transfer fails, usbfs takes back
what stands behind it and was flagged BULK_CONTINUATION before that runs (``cancel_bulk_urbs``,
``drivers/usb/core/devio.c``).  What blocks is done by a helper, one job after the other, and what
is asked meanwhile waits (`rig.splitdriver.back.mapped_device`).
"""

from __future__ import annotations

import errno
from collections import deque

from rig.sim.promise import (
    BUFFER_BYTES,
    BrokenError,
    Pipe,
    Rule,
    Urb,
    begin,
    in_data,
    moved,
    stop,
    stops,
)
from rig.splitdriver.backend import Discard, Perform, ResetPort, Start
from rig.splitdriver.messages import Submit
from rig.usb.setup import SetConfiguration
from rig.usb.urb import TransferType

Asked = Start | Perform | Discard | ResetPort
Done = tuple[int, int, int, bytes]
"""A completion: number, status, octets, IN data."""


class Device:
    """What is plugged into the mapped port, and the controller for as long as it is.

    Args:
        pipes: All endpoints.
        urbs: All URBs by number.
        newest_first: In which order what stands behind an error is given back.
    """

    __slots__ = (
        "at_once",
        "configured",
        "done",
        "gone",
        "job",
        "later",
        "newest_first",
        "pipes",
        "reset_credit",
        "reset_ended",
        "urbs",
    )

    def __init__(self, pipes: list[Pipe], urbs: dict[int, Urb], *, newest_first: bool) -> None:
        self.pipes = pipes
        self.urbs = urbs
        self.newest_first = newest_first
        self.job: Perform | Discard | ResetPort | None = None
        self.later: deque[Asked] = deque()
        self.done: deque[Done] = deque()  # that usbfs has, to be reaped
        self.at_once: list[Done] = []  # that need no reaping
        self.configured = False
        self.reset_ended: int | None = None
        self.reset_credit = False
        self.gone = False
        for pipe in pipes:
            pipe.running = []
            pipe.disabled = False
            pipe.seen_command = 0

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self.job or self.later or self.done or any(p.running for p in self.pipes))

    @property
    def has_urbs(self) -> bool:
        """Whether the controller has, or is about to get, anything that can still run."""
        waiting = [self.job, *self.later] if self.job is not None else self.later
        return (
            bool(self.done)
            or any(pipe.running for pipe in self.pipes)
            or any(isinstance(each, Start | Perform | ResetPort) for each in waiting)
        )

    def do(self, action: Asked) -> None:
        """Do what the core asks for, now or when its turn comes."""
        if self.job is not None or self.later:
            self.later.append(action)
        else:
            self._do(action)

    def end(self, pipe: Pipe, status: int = 0, count: int = BUFFER_BYTES) -> None:
        """The transfer at the head of an endpoint's queue ends on the bus."""
        urb = pipe.running.pop(0)
        if urb.setup and not urb.setup[0] & 0x80:
            count = 0
        moved(urb, count)
        self._finish(urb, status, count)
        if status and status not in (-errno.ECONNRESET, -errno.ENOENT):
            if stops(pipe, status):
                stop(urb)
            self._cancel(pipe)
        if pipe.running:
            begin(pipe.running[0])

    def finish_job(self, *, ill: bool = False) -> None:
        """The helper is done with what blocks.

        Args:
            ill: It goes less well: what is discarded has moved half of its data, a reset fails.
        """
        job, self.job = self.job, None
        kind = type(job)
        if kind is Discard:
            self._discard(job.urb_id, ill)  # type: ignore[union-attr]
        elif kind is ResetPort:
            self._kill_all()
            self._reap_at_once()
            self.reset_credit = True
            self.reset_ended = -errno.ENODEV if self.gone or ill else 0
        else:
            self._perform(job)  # type: ignore[arg-type]
        while self.later and self.job is None:
            self._do(self.later.popleft())

    def lose(self) -> None:
        """The device is pulled out: the controller gives everything back."""
        self.gone = True
        for urb in self.urbs.values():
            urb.caused = True
        for pipe in self.pipes:
            for urb in pipe.running:
                self._finish(urb, -errno.ESHUTDOWN, 0)
            pipe.running = []

    def _do(self, action: Asked) -> None:
        if type(action) is Start:
            self._start(action.urb, flagged=action.continues)
            return
        if type(action) is Perform:
            urb = self.urbs[action.urb.urb_id]
            begin(urb)
            moved(urb, 0)
        self.job = action  # type: ignore[assignment]

    def _start(self, submit: Submit, *, flagged: bool) -> None:
        number = submit.urb_id
        urb = self.urbs[number]
        pipe = urb.pipe
        if urb.data and submit.data != urb.data:
            raise BrokenError(Rule.DATA, f"URB {number} carries foreign data.")
        if self.gone:
            urb.caused = True
            self.at_once.append((number, -errno.ENODEV, 0, b""))
            return
        if flagged and pipe.disabled:
            self._reap_at_once()
            self.at_once.append((number, -errno.ECONNRESET, 0, b""))
            return
        if not flagged:
            pipe.disabled = False
        urb.flagged = flagged
        pipe.running.append(urb)
        if len(pipe.running) == 1:
            begin(urb)
        if urb.setup and urb.setup[0] & 0x80:
            if not self.reset_credit:
                raise BrokenError(Rule.RESET, f"URB {number} runs before the reset it announces.")
            self.reset_credit = False

    def _finish(self, urb: Urb, status: int, count: int) -> None:
        urb.status = status
        if status:
            urb.caused = True
        data = in_data(urb.number, count) if urb.address >= 0x80 else b""
        self.done.append((urb.number, status, count, data))

    def _cancel(self, pipe: Pipe) -> None:
        """What usbfs does behind an error: take back what is flagged, and refuse what comes."""
        if pipe.kind is not TransferType.BULK:
            return
        flagged = [urb for urb in pipe.running if urb.flagged]
        if len(flagged) == len(pipe.running):
            pipe.disabled = True
        for urb in reversed(flagged) if self.newest_first else flagged:
            pipe.running.remove(urb)
            self.done.append((urb.number, -errno.ECONNRESET, 0, b""))

    def _discard(self, number: int, half: bool) -> None:
        urb = self.urbs.get(number)
        if urb is None or urb not in urb.pipe.running:
            return  # it has just ended: EINVAL
        pipe = urb.pipe
        is_head = urb is pipe.running[0]
        pipe.running.remove(urb)
        count = BUFFER_BYTES // 2 if half and is_head and not urb.setup else 0
        if count:
            moved(urb, count)
            self._finish(urb, -errno.ENOENT, count)
        else:
            self.done.append((number, -errno.ENOENT, 0, b""))
        if urb.asked_back:
            stop(urb)
        if is_head and pipe.running:
            begin(pipe.running[0])

    def _kill_all(self) -> None:
        """Interfaces are released: usbfs kills what runs there (``destroy_async_on_interface``)."""
        for pipe in self.pipes:
            if pipe.key:
                for urb in pipe.running[::-1] if self.newest_first else pipe.running:
                    self._finish(urb, -errno.ENOENT, 0)
                pipe.running = []

    def _perform(self, perform: Perform) -> None:
        urb = self.urbs[perform.urb.urb_id]
        status = -errno.ENODEV if self.gone else 0
        if isinstance(perform.operation, SetConfiguration):
            self._kill_all()
            self.configured = status == 0
        self._reap_at_once()
        urb.status = status
        urb.caused |= status != 0
        self.at_once.append((urb.number, status, 0, b""))

    def _reap_at_once(self) -> None:
        """What has ended before is told before."""
        self.at_once.extend(self.done)
        self.done.clear()
