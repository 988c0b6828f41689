"""``--urb-log FILE``: the two cores, telling every URB to a log (`rig.usb.urblog`).

A tap sits where a core meets all else: what comes in is noted before the core sees it, what it
wants is noted as it leaves.  So a core that errs cannot hide it.  Without a tap there is none of
this code on the path of the data; with one there is no lane, which no core sees.
"""

from __future__ import annotations

import errno
from typing import Any

import msgspec

from rig.splitdriver.back_queues import Standing
from rig.splitdriver.backend import Action as BackAction
from rig.splitdriver.backend import BackEnd, Perform, Start
from rig.splitdriver.backend import Send as BackSend
from rig.splitdriver.frontend import Action as FrontAction
from rig.splitdriver.frontend import AnswerUnlink, FrontEnd, GiveBack, Plug, Unplug
from rig.splitdriver.messages import (
    Capability,
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Message,
    Payload,
    Resume,
    Submit,
    Unlink,
)
from rig.splitdriver.policy import Policy
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN
from rig.usb.urblog import Kind, Place, command_of, digest_of
from rig.usb.urblog_file import UrbLog
from rig.usb.usbip import CmdSubmit, CmdUnlink


class TappedBackEnd(BackEnd):
    """A back end that tells what it hears and wants.

    Args:
        log: Where to.
        policy: See `BackEnd`.
        window: See `BackEnd`.
        aca_status: See `BackEnd`.
        port: See `BackEnd`.
    """

    def __init__(
        self, log: UrbLog, policy: Policy, window: int, aca_status: int, port: int
    ) -> None:
        super().__init__(policy, window, aca_status, port)
        self._log = log
        self._served: int | None = None  # the device that the front end was told of
        self._endpoint_of: dict[int, int] = {}  # of every URB that is not answered
        self._started: dict[int, Submit] = {}
        self._counts: dict[int, list[int]] = {}  # of each endpoint: done, failed, octets

    def receive(self, message: Message) -> None:
        """See `BackEnd.receive`; what is refused there has not come."""
        super().receive(message)
        match message:
            case Submit():
                self._endpoint_of[message.urb_id] = message.endpoint_address
                self._note_submit(Kind.SUBMIT, message)
            case Unlink(device, number, local):
                kind = Kind.DROP if local else Kind.UNLINK
                endpoint = self._endpoint_of.get(number, 0)
                self._note(kind, device, number, endpoint=endpoint)
            case Resume(device, endpoint, epoch):
                self._note(Kind.RESUME, device, endpoint=endpoint, epoch=epoch)
            case Disconnected(device) if device == self._served:
                self._note_down()

    def completed(self, urb_id: int, status: int, actual_bytes: int, data: Payload = b"") -> None:
        """See `BackEnd.completed`."""
        urb = self._started.pop(urb_id, None)
        if urb is not None:
            self._count(urb.endpoint_address, status, actual_bytes)
            self._note(
                Kind.END,
                urb.device,
                urb_id,
                endpoint=urb.endpoint_address,
                status=status,
                length_bytes=actual_bytes,
                digest=digest_of(data),
            )
        super().completed(urb_id, status, actual_bytes, data)

    def link_lost(self) -> None:
        """See `BackEnd.link_lost`."""
        self._note_down()
        super().link_lost()

    def take_actions(self) -> list[BackAction]:
        """See `BackEnd.take_actions`."""
        actions = super().take_actions()
        for action in actions:
            match action:
                case Start(urb) | Perform(urb):
                    self._started[urb.urb_id] = urb
                    self._note_submit(Kind.START, urb)
                case BackSend(Complete() as message):
                    self._note_giveback(message)
                case BackSend(Connect(device)):
                    self._served = device
                    self._note(Kind.UP, device)
                case BackSend(Disconnect()):
                    self._note_down(-errno.ENODEV)
                    self._started.clear()
        return actions

    def standing(self) -> list[Standing]:
        """See `BackEnd.standing`: with what has ended since the log began."""
        told = []
        for one in super().standing():
            done, failed, octets = self._counts.get(one.address, (0, 0, 0))
            told.append(msgspec.structs.replace(one, done=done, failed=failed, octets=octets))
        return told

    def _count(self, address: int, status: int, octets: int) -> None:
        key = address if address & ~DIRECTION_IN else CONTROL_ENDPOINT
        counts = self._counts.setdefault(key, [0, 0, 0])
        counts[status != 0] += 1
        counts[2] += octets

    def _note_down(self, status: int = 0) -> None:
        if self._served is not None:
            self._note(Kind.DOWN, self._served, status=status)
            self._served = None
            self._endpoint_of.clear()

    def _note_giveback(self, message: Complete) -> None:
        self._note(
            Kind.GIVEBACK,
            message.device,
            message.urb_id,
            endpoint=self._endpoint_of.pop(message.urb_id, 0),
            status=message.status,
            length_bytes=message.actual_bytes,
            epoch=message.epoch,
            digest=digest_of(message.data),
        )

    def _note_submit(self, kind: Kind, urb: Submit) -> None:
        self._note(
            kind,
            urb.device,
            urb.urb_id,
            endpoint=urb.endpoint_address,
            length_bytes=urb.buffer_bytes,
            digest=digest_of(urb.data),
            **command_of(urb.data)._asdict(),
        )

    def _note(self, kind: Kind, device: int, urb: int = 0, **fields: Any) -> None:
        self._log.note(kind, Place.BACK, device, urb, **fields)


class TappedFrontEnd(FrontEnd):
    """A front end that tells what it hears and wants.

    Args:
        log: Where to.
        policy: See `FrontEnd`.
        capabilities: See `FrontEnd`.
    """

    def __init__(self, log: UrbLog, policy: Policy, capabilities: Capability) -> None:
        super().__init__(policy, capabilities)
        self._log = log
        self._shown = 0  # the device that the kernel has
        self._endpoint_of: dict[int, int] = {}
        self._targets: dict[int, int] = {}  # of unlinks that are not answered
        self._homeless: set[int] = set()  # URBs that came when there was no device any more

    def submit(self, command: CmdSubmit, data: Payload = b"") -> None:
        """See `FrontEnd.submit`."""
        if self._device is None:
            self._homeless.add(command.seqnum)
        else:
            self._endpoint_of[command.seqnum] = command.endpoint_address
            self._note(
                Kind.SUBMIT,
                command.seqnum,
                length_bytes=command.buffer_bytes,
                digest=digest_of(data),
            )
        super().submit(command, data)

    def unlink(self, command: CmdUnlink) -> None:
        """See `FrontEnd.unlink`."""
        if self._device is None:
            self._homeless.add(command.seqnum)
        else:
            self._targets[command.seqnum] = command.target
            self._note(Kind.UNLINK, command.target)
        super().unlink(command)

    def take_actions(self) -> list[FrontAction]:
        """See `FrontEnd.take_actions`."""
        actions = super().take_actions()
        for action in actions:
            match action:
                case GiveBack() if action.seqnum not in self._homeless:
                    self._note(
                        Kind.GIVEBACK,
                        action.seqnum,
                        status=action.status,
                        length_bytes=action.actual_bytes,
                        digest=digest_of(action.data),
                    )
                    self._endpoint_of.pop(action.seqnum, None)
                case AnswerUnlink(seqnum) if seqnum not in self._homeless:
                    self._note(Kind.ANSWER, self._targets.pop(seqnum, 0))
                case GiveBack() | AnswerUnlink():
                    self._homeless.discard(action.seqnum)
                case Plug(device):
                    self._shown = device
                    self._note(Kind.UP)
                case Unplug():
                    self._note(Kind.DOWN)
                    self._endpoint_of.clear()
                    self._targets.clear()
        return actions

    def _note(self, kind: Kind, urb: int = 0, **fields: Any) -> None:
        endpoint = self._endpoint_of.get(urb, 0)
        self._log.note(kind, Place.FRONT, self._shown, urb, endpoint=endpoint, **fields)
