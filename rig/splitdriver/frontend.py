"""The front end's core: ``vhci_hcd``'s commands and the back end's messages in, actions out.

No I/O.  It gives every URB back exactly once, answers every unlink (the URB first, then the
unlink: ``vhci_hcd`` loses data otherwise), and lets a stopped endpoint run again only when its
client is done with the error: that is the **fence**.

The fence, in this version: ``vhci_hcd`` gives an URB back from the thread that reads our socket,
and begins to read the next PDU only when the client's completion handler has returned.  So when the
kernel has read the first octets behind a failed URB's PDU, the handler has returned; and the
unlinks that it asked for and that have reached us by then are answered before RESUME.  An unlink
that the kernel has queued but not yet sent is not seen: a client with several URBs in flight needs
the second half of the fence (``docs/recovery.md``), usb-storage, which has one, does not.

A port reset is never forwarded by ``vhci_hcd``; it is recognised by what follows it on ep0.
"""

from __future__ import annotations

import errno

import msgspec

from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import (
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Message,
    Payload,
    Reset,
    ResetDone,
    Resume,
    Submit,
    Unlink,
)
from rig.usb.setup import Request, RequestType, SetupPacket, announces_port_reset
from rig.usb.urb import (
    CONTROL_ENDPOINT,
    DIRECTION_IN,
    MAX_TRANSFER_BYTES,
    Speed,
    TransferFlags,
)
from rig.usb.usbip import CmdSubmit, CmdUnlink

_CARRIED_FLAGS = int(TransferFlags.SHORT_NOT_OK | TransferFlags.ZERO_PACKET)
"""Not NO_INTERRUPT: it tells a controller that the next URB will interrupt soon, and the back end
gives it no next one before this one has ended."""


class Send(msgspec.Struct, frozen=True):
    """Send a message to the back end."""

    message: Message


class Plug(msgspec.Struct, frozen=True):
    """Attach a device of that speed to the port of ``vhci_hcd``."""

    device: int
    speed: Speed


class Unplug(msgspec.Struct, frozen=True):
    """Detach: ``vhci_hcd`` gives back whatever is still open."""


class GiveBack(msgspec.Struct, frozen=True):
    """Send RET_SUBMIT."""

    seqnum: int
    status: int
    actual_bytes: int
    data: Payload = b""


class AnswerUnlink(msgspec.Struct, frozen=True):
    """Send RET_UNLINK."""

    seqnum: int


class Fence(msgspec.Struct, frozen=True):
    """Tell `FrontEnd.fence_passed` when the kernel has read on, past all that was sent so far."""

    endpoint_key: int
    token: int


Action = Send | Plug | Unplug | GiveBack | AnswerUnlink | Fence


class _Urb(msgspec.Struct):
    endpoint_key: int
    buffer_bytes: int
    is_in: bool
    unlink_seqnum: int | None = None  # of the kernel's request to unlink it
    unlink_sent: bool = False  # the back end was asked, and will answer by COMPLETE


class _Endpoint(msgspec.Struct):
    told_epoch: int = 0  # of the last stop that the back end told
    resumed_epoch: int = 0
    quiet: bool = False  # nothing that is queued there has run, or will before RESUME
    fence: int = 0  # the last fence asked for
    unlinking: int = 0  # unlinks that the back end has not answered


class FrontEnd:
    """The front end of one port."""

    def __init__(self) -> None:
        self._device: int | None = None
        self._speed = Speed.UNKNOWN
        self._configured = False
        self._urbs: dict[int, _Urb] = {}
        self._early_unlinks: dict[int, int] = {}  # of URBs not seen yet: target -> unlink
        self._last_submit = 0
        self._endpoints: dict[int, _Endpoint] = {}
        self._fences = 0
        self._actions: list[Action] = []

    def take_actions(self) -> list[Action]:
        """Return what is to be done now, in this order, and forget it."""
        actions, self._actions = self._actions, []
        return actions

    # What vhci_hcd tells.

    def submit(self, command: CmdSubmit, data: Payload = b"") -> None:
        """The kernel has queued an URB.

        Args:
            command: The PDU's header.
            data: OUT data, `command.payload_bytes` long.
        """
        seqnum = command.seqnum
        self._last_submit = seqnum
        key = _endpoint_key(command.endpoint_address)
        is_in = bool(command.endpoint_address & DIRECTION_IN)
        self._urbs[seqnum] = _Urb(key, command.buffer_bytes, is_in)
        if self._device is None:
            self._give_back(seqnum, -errno.ENODEV, 0)
        elif command.number_of_packets > 0 or command.buffer_bytes > MAX_TRANSFER_BYTES:
            # Isochronous, or larger than the back end's kernel would take: refused, not half done.
            self._give_back(seqnum, -errno.EINVAL, 0)
        else:
            self._watch_control(command)
            self._send_submit(self._device, command, data)
        if self._early_unlinks:
            self._resolve_early_unlinks(seqnum)

    def unlink(self, command: CmdUnlink) -> None:
        """The kernel wants an URB back."""
        if command.target > self._last_submit:
            # vhci_tx sends submits before unlinks, but an unlink that it was about to send can
            # overtake its own target (drivers/usb/usbip/vhci_tx.c).
            self._early_unlinks[command.target] = command.seqnum
        else:
            self._unlink(command.seqnum, command.target)

    def _resolve_early_unlinks(self, seqnum: int) -> None:
        """Look at the unlinks that came before their URB, now that number `seqnum` has come.

        Submits come in the order of their numbers: an URB with a lower one will not come any more;
        it was a former device's.
        """
        for target in sorted(t for t in self._early_unlinks if t <= seqnum):
            self._unlink(self._early_unlinks.pop(target), target)

    def fence_passed(self, endpoint_key: int, token: int) -> None:
        """The kernel has read past what was sent when that fence was asked for."""
        endpoint = self._endpoints.get(endpoint_key)
        if endpoint is None or endpoint.fence != token or endpoint.unlinking:
            return  # a later fence will decide
        if endpoint.told_epoch > endpoint.resumed_epoch and self._device is not None:
            endpoint.resumed_epoch = endpoint.told_epoch
            endpoint.quiet = False
            self._send(Resume(self._device, endpoint_key, endpoint.told_epoch))

    # What the link tells.

    def receive(self, message: Message) -> None:
        """Take one message of the back end.

        Raises:
            RemoteProtocolError: The back end must not say that, or not now.
        """
        match message:
            case Complete():
                self._expect(message.device)
                self._complete(message)
            case Connect():
                self._connect(message)
            case Disconnect():
                self._expect(message.device)
                self._send(Disconnected(message.device))
                self._forget_device()
            case ResetDone():
                self._expect(message.device)
            case _:
                raise RemoteProtocolError(f"A back end must not send {type(message).__name__}.")

    def link_lost(self) -> None:
        """The back end cannot be reached: for the kernel that is an unplug."""
        if self._device is not None:
            self._forget_device()

    def _expect(self, device: int) -> None:
        if device != self._device:
            raise RemoteProtocolError(f"The back end spoke of device {device}, not {self._device}.")

    def _connect(self, message: Connect) -> None:
        if self._device is not None:
            raise RemoteProtocolError("The back end told of a second device in the same port.")
        self._device = message.device
        self._speed = message.speed
        self._actions.append(Plug(message.device, message.speed))

    def _forget_device(self) -> None:
        self._device = None
        self._configured = False
        self._urbs.clear()
        self._early_unlinks.clear()
        # The next device may stand in another half of vhci_hcd, which counts by itself.
        self._last_submit = 0
        self._endpoints.clear()
        self._actions.append(Unplug())

    def _send_submit(self, device: int, command: CmdSubmit, data: Payload) -> None:
        self._send(
            Submit(
                device,
                command.seqnum,
                command.endpoint_address,
                command.flags & _CARRIED_FLAGS,
                command.buffer_bytes,
                command.setup,
                data,
            )
        )

    def _watch_control(self, command: CmdSubmit) -> None:
        """Recognise a port reset; the first requests to a new device are not one."""
        if _endpoint_key(command.endpoint_address) != CONTROL_ENDPOINT:
            return
        setup = SetupPacket.unpack(command.setup)
        if (setup.request_type, setup.request) == (
            RequestType.TO_DEVICE,
            Request.SET_CONFIGURATION,
        ):
            self._configured = True
        elif self._configured and announces_port_reset(setup, self._speed):
            assert self._device is not None
            self._send(Reset(self._device))

    def _complete(self, message: Complete) -> None:
        urb = self._urbs.get(message.urb_id)
        if urb is None:
            raise RemoteProtocolError(f"URB {message.urb_id} was completed, but is not open.")
        if message.actual_bytes > urb.buffer_bytes or len(message.data) != (
            message.actual_bytes if urb.is_in else 0
        ):
            raise RemoteProtocolError(
                f"URB {message.urb_id} of {urb.buffer_bytes} octets came back with"
                f" {message.actual_bytes}, and {len(message.data)} octets of data."
            )
        endpoint = self._endpoint(urb.endpoint_key)
        endpoint.told_epoch = max(endpoint.told_epoch, message.epoch)
        if endpoint.told_epoch > endpoint.resumed_epoch:
            endpoint.quiet = message.quiet
        self._give_back(message.urb_id, message.status, message.actual_bytes, message.data)

    def _unlink(self, unlink_seqnum: int, target: int) -> None:
        urb = self._urbs.get(target)
        if urb is None:
            self._actions.append(AnswerUnlink(unlink_seqnum))  # given back already
            return
        if urb.unlink_seqnum is not None:
            self._actions.append(AnswerUnlink(unlink_seqnum))  # asked for before
            return
        urb.unlink_seqnum = unlink_seqnum
        endpoint = self._endpoint(urb.endpoint_key)
        assert self._device is not None
        if endpoint.quiet:
            self._send(Unlink(self._device, target, local=True))
            self._give_back(target, -errno.ECONNRESET, 0)
        else:
            urb.unlink_sent = True
            endpoint.unlinking += 1
            self._send(Unlink(self._device, target))

    def _give_back(self, seqnum: int, status: int, actual_bytes: int, data: Payload = b"") -> None:
        """Give an URB back, answer its unlink, and fence if its endpoint is stopped."""
        urb = self._urbs.pop(seqnum)
        endpoint = self._endpoint(urb.endpoint_key)
        self._actions.append(GiveBack(seqnum, status, actual_bytes, data))
        if urb.unlink_seqnum is not None:
            self._actions.append(AnswerUnlink(urb.unlink_seqnum))
        if urb.unlink_sent:
            endpoint.unlinking -= 1
        if endpoint.told_epoch > endpoint.resumed_epoch:
            self._fences += 1
            endpoint.fence = self._fences
            self._actions.append(Fence(urb.endpoint_key, endpoint.fence))

    def _endpoint(self, key: int) -> _Endpoint:
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            endpoint = self._endpoints[key] = _Endpoint()
        return endpoint

    def _send(self, message: Message) -> None:
        self._actions.append(Send(message))


def _endpoint_key(address: int) -> int:
    """Both directions of ep0 are one queue."""
    return address if address & ~DIRECTION_IN else CONTROL_ENDPOINT
