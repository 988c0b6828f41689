"""The front's kernel and a driver with data of its own.  Pure."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from rig.sim.client import Client
from rig.sim.promise import Pipe, Urb
from rig.splitdriver.frontend import AnswerUnlink, GiveBack
from rig.usb.usbip import CmdSubmit, CmdUnlink


class Result(NamedTuple):
    """How an URB came back."""

    status: int
    actual_bytes: int
    data: bytes


class DiskClient(Client):
    """`rig.sim.client.Client`, whose URBs carry data, and which judges nothing itself.

    Args:
        pipes: All endpoints.
        newest_first: In which order a handler unlinks.
        given: Told of each PDU for the kernel.
        lost: Told when the kernel unplugs the device.
    """

    def __init__(
        self,
        pipes: list[Pipe],
        *,
        newest_first: bool,
        given: Callable[[GiveBack | AnswerUnlink, int], None],
        lost: Callable[[], None],
    ) -> None:
        super().__init__(pipes, newest_first=newest_first, may_fail=False)
        self._given = given
        self._lost = lost
        self._lengths: dict[int, int] = {}
        self.results: dict[int, Result] = {}

    def submit_bulk(self, pipe: Pipe, data: bytes, length_bytes: int) -> Urb:
        """Submit an URB with OUT data, or for so many octets of IN data."""
        urb = self.submit(pipe)
        urb.data = data
        self._lengths[urb.number] = length_bytes
        return urb

    def submit_control(self, pipe: Pipe, setup: bytes) -> Urb:
        """Submit a control request."""
        urb = self.submit(pipe, setup)
        self._lengths[urb.number] = int.from_bytes(setup[6:8], "little")
        return urb

    def send(self) -> CmdSubmit | CmdUnlink:
        command = super().send()
        if isinstance(command, CmdUnlink):
            return command
        length = self._lengths.get(command.seqnum, 0)
        # In the order of the fields.
        return CmdSubmit(
            command.seqnum, 0, command.endpoint_address, 0, length, 0, 0, command.setup
        )

    def give(self, pdu: GiveBack | AnswerUnlink) -> None:
        target = pdu.seqnum
        if isinstance(pdu, AnswerUnlink):
            target = self.unanswered.get(pdu.seqnum, 0)
        self._given(pdu, target)
        self.put += 1
        self.pdus.append(pdu)

    def _give_back(self, pdu: GiveBack) -> None:
        urb = self.open.pop(pdu.seqnum, None)
        if urb is None:
            return  # the monitor has seen it
        status = -errno.ECONNRESET if urb.unlinked else pdu.status
        self.done[urb.number] = status
        self.results[urb.number] = Result(status, pdu.actual_bytes, bytes(pdu.data))
        urb.pipe.open -= 1
        self.handler = urb
        if status:
            self._on_error(urb, urb.pipe)

    def _unlink_answered(self, seqnum: int) -> None:
        self.unanswered.pop(seqnum, None)

    def lose_device(self) -> None:
        self._lost()
        for number in self.open:
            self.results[number] = Result(-errno.ESHUTDOWN, 0, b"")
        super().lose_device()
