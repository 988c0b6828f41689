"""The front end's machine: a USB driver, and ``vhci_hcd`` under it.  Pure.

``vhci_hcd`` numbers submits and unlinks from one counter and keeps them in two queues; its sender
drains the one, then the other, so an unlink may overtake its submit.  Its reader reads one PDU
after the other and runs the completion handler before it reads on (``drivers/usb/usbip/vhci_tx.c``,
``vhci_rx.c``).
"""

from __future__ import annotations

import errno
from collections import deque

from rig.sim.promise import (
    BUFFER_BYTES,
    MAX_WAITING,
    BrokenError,
    Pipe,
    Rule,
    Urb,
    check_giveback,
    retire,
    stop,
    stops,
)
from rig.sim.scenario import Handler
from rig.splitdriver.frontend import AnswerUnlink, GiveBack
from rig.usb.usbip import CmdSubmit, CmdUnlink

MAX_OPEN = 4
"""URBs of one endpoint that a client has open at a time."""

_RETRY = 0  # in a handler's list of what to do; any other number is an URB to unlink
_NO_SETUP = bytes(8)


class Client:
    """The driver and its kernel.

    Args:
        pipes: All endpoints.
        newest_first: In which order a handler unlinks.
        may_fail: Whether the policy fails URBs to which nothing happened.
    """

    __slots__ = (
        "done",
        "failed_for_nothing",
        "handled",
        "handler",
        "in_unlinks",
        "may_fail",
        "newest_first",
        "open",
        "pdus",
        "pipes",
        "plugged",
        "put",
        "read_count",
        "seqnum",
        "submits",
        "todo",
        "unanswered",
        "unlinks",
        "urbs",
    )

    def __init__(self, pipes: list[Pipe], *, newest_first: bool, may_fail: bool) -> None:
        self.pipes = pipes
        self.newest_first = newest_first
        self.may_fail = may_fail
        self.plugged = False
        self.seqnum = 0
        self.urbs: dict[int, Urb] = {}
        self.open: dict[int, Urb] = {}
        self.unanswered: dict[int, int] = {}
        self.submits: deque[Urb] = deque()
        self.unlinks: deque[tuple[int, int]] = deque()
        self.in_unlinks = False  # the sender is among the unlinks
        self.pdus: deque[GiveBack | AnswerUnlink] = deque()
        self.put = 0  # PDUs that were ever sent to it
        self.read_count = 0
        self.handler: Urb | None = None  # that runs now
        self.todo: list[int] = []
        self.done: dict[int, int] = {}  # statuses as the driver saw them
        self.failed_for_nothing = 0

    def next_number(self) -> int:
        """Take a number of the root hub's counter."""
        self.seqnum += 1
        return self.seqnum

    # The driver.

    def submit(self, pipe: Pipe, setup: bytes = b"") -> Urb:
        """Submit an URB."""
        number = self.next_number()
        urb = Urb(number, pipe, setup)
        pipe.page += 1
        pipe.open += 1
        self.urbs[number] = self.open[number] = urb
        self.submits.append(urb)
        return urb

    def unlink(self, number: int) -> bool:
        """Unlink an URB; returns whether it was not unlinked yet."""
        urb = self.open[number]
        if urb.unlinked:
            return False
        urb.unlinked = urb.caused = True
        if urb.pipe.floor:
            urb.pipe.group.add(number)
        seqnum = self.next_number()
        self.unanswered[seqnum] = number
        self.unlinks.append((seqnum, number))
        return True

    def handle(self) -> str:
        """Let the handler that runs do its next step; returns what it did, for people."""
        urb = self.handler
        assert urb is not None
        while self.todo:
            number = self.todo.pop()
            if number == _RETRY:
                return f"submits URB {self.submit(urb.pipe).number} instead"
            if self.unlink(number):
                return f"unlinks URB {number}"
        self.handler = None
        retire(urb)
        return "returns"

    # The sender.

    def send(self) -> CmdSubmit | CmdUnlink:
        """Send the next command; one is there."""
        if self.submits and not (self.in_unlinks and self.unlinks):
            self.in_unlinks = False
            urb = self.submits.popleft()
            length = BUFFER_BYTES
            if urb.setup:
                length = BUFFER_BYTES if urb.setup[0] & 0x80 else 0
            return CmdSubmit(urb.number, 0, urb.address, 0, length, 0, 0, urb.setup or _NO_SETUP)
        self.in_unlinks = True
        seqnum, target = self.unlinks.popleft()
        return CmdUnlink(seqnum, 0, target)

    # The reader.

    def give(self, pdu: GiveBack | AnswerUnlink) -> None:
        """A PDU is sent to the kernel."""
        self.put += 1
        self.pdus.append(pdu)
        if len(self.pdus) > MAX_WAITING:
            raise BrokenError(Rule.GROWTH, f"More than {MAX_WAITING} PDUs wait for the kernel.")
        if type(pdu) is GiveBack and pdu.status:
            urb = self.urbs.get(pdu.seqnum)
            if urb is not None and stops(urb.pipe, pdu.status):
                stop(urb)

    def read(self) -> GiveBack | AnswerUnlink:
        """Read a PDU; an URB's completion handler begins to run."""
        pdu = self.pdus.popleft()
        self.read_count += 1
        if type(pdu) is GiveBack:
            self._give_back(pdu)
        else:
            self._unlink_answered(pdu.seqnum)
        return pdu

    def _give_back(self, pdu: GiveBack) -> None:
        urb = self.open.pop(pdu.seqnum, None)
        if urb is None:
            raise BrokenError(Rule.GIVEBACK, f"URB {pdu.seqnum} was given back, but is not open.")
        if check_giveback(urb, pdu.status, pdu.actual_bytes, pdu.data, may_fail=self.may_fail):
            self.failed_for_nothing += 1
        # As usb_hcd_giveback_urb does, an unlink's status wins.
        status = -errno.ECONNRESET if urb.unlinked else pdu.status
        self.done[urb.number] = status
        pipe = urb.pipe
        pipe.open -= 1
        self.handler = urb
        if status:
            self._on_error(urb, pipe)

    def _on_error(self, urb: Urb, pipe: Pipe) -> None:
        if pipe.handler is Handler.UNLINK:
            number = urb.number
            behind = [n for n, u in self.open.items() if n > number and u.pipe is pipe]
            # The last is done first.
            self.todo = behind if self.newest_first else behind[::-1]
            pipe.command += 1
            pipe.page = 0
        elif pipe.handler is Handler.RETRY and not urb.unlinked:
            self.todo = [_RETRY]

    def _unlink_answered(self, seqnum: int) -> None:
        target = self.unanswered.pop(seqnum, None)
        if target is None:
            raise BrokenError(Rule.UNLINK, f"Unlink {seqnum} was answered twice.")
        if target in self.open:
            raise BrokenError(
                Rule.UNLINK, f"Unlink {seqnum} was answered before its URB {target} came back."
            )

    def lose_device(self) -> None:
        """The port is detached: the kernel gives back what is open, and the socket is gone."""
        if self.handler is not None:
            retire(self.handler)
            self.handler = None
        for urb in self.open.values():
            self.done[urb.number] = -errno.ESHUTDOWN
            urb.given_back = True
        for pipe in self.pipes:
            pipe.open = 0
            pipe.command += 1
            pipe.page = pipe.floor = 0
            pipe.group.clear()
        self.plugged = False
        self.todo = []
        self.unanswered.clear()
        self.open.clear()
        for queue in (self.submits, self.unlinks, self.pdus):
            queue.clear()
        self.read_count = self.put
        # The kernel's last unlinks for the device have numbers, and are never sent.
        self.next_number()
