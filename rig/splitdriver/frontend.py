"""The front end's core: ``vhci_hcd``'s commands and the back end's messages in, actions out.

No I/O.  It gives every URB back exactly once, answers every unlink (the URB first, then the
unlink: ``vhci_hcd`` loses data otherwise), and lets a stopped endpoint run again only when its
client is done with the error: that is the **fence** (``docs/recovery.md``).

A round of the fence has two parts, which the edge carries out (`Fence`): the client's completion
handlers have returned, and then everything that the kernel had queued until then has been told to
`submit` and `unlink`.  If a round brought nothing that was given back on the endpoint, and no
unlink waits for the back end, the endpoint goes on; if it did, there is another round.
"""

from __future__ import annotations

import errno

from rig.errors import RemoteProtocolError
from rig.splitdriver.front_actions import (
    Action,
    AnswerUnlink,
    Fence,
    GiveBack,
    Loan,
    OpenUrb,
    Plug,
    Send,
    Unplug,
)
from rig.splitdriver.front_queue import Endpoint, Urb
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    Capability,
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
from rig.splitdriver.policy import Policy
from rig.splitdriver.port_reset import ResetWatch
from rig.usb.setup import SetupPacket
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN, MAX_TRANSFER_BYTES, Speed, TransferFlags
from rig.usb.usbip import CmdSubmit, CmdUnlink

__all__ = [
    "Action",
    "AnswerUnlink",
    "Fence",
    "FrontEnd",
    "GiveBack",
    "Loan",
    "OpenUrb",
    "Plug",
    "Send",
    "Unplug",
]

_CARRIED_FLAGS = int(TransferFlags.SHORT_NOT_OK | TransferFlags.ZERO_PACKET)
"""Not NO_INTERRUPT: it tells a controller that the next URB will interrupt soon, and the back end
gives it no next one before this one has ended."""


class FrontEnd:
    """The front end of one port.

    Args:
        policy: What happens on an endpoint behind an error.
        capabilities: What both ends can do.
    """

    def __init__(
        self, policy: Policy = Policy.HOLD, capabilities: Capability = ALL_CAPABILITIES
    ) -> None:
        self._policy = policy
        self._local_unlink = Capability.LOCAL_UNLINK in capabilities
        self._port_reset = Capability.PORT_RESET in capabilities
        self._may_let_go = Capability.LET_GO in capabilities
        self._in_order = Capability.IN_ORDER in capabilities
        self._let_go: int | None = None  # what is still said of it was said before it was known
        self._device: int | None = None
        self._reset_watch = ResetWatch(Speed.UNKNOWN)
        self._urbs: dict[int, Urb] = {}
        self._endpoints: dict[int, Endpoint] = {}
        self._given_back = 0
        self._fenced: int | None = None  # the round under way is about so many given back
        self._actions: list[Action] = []

    def take_actions(self) -> list[Action]:
        """Return what is to be done now, in this order, and forget it."""
        actions, self._actions = self._actions, []
        return actions

    # What vhci_hcd tells, in the order in which it queued it.

    def submit(self, command: CmdSubmit, data: Payload = b"") -> None:
        """The kernel has queued an URB.

        Args:
            command: The PDU's header.
            data: OUT data, `command.payload_bytes` long.
        """
        seqnum = command.seqnum
        address = command.endpoint_address
        key = address if address & ~DIRECTION_IN else CONTROL_ENDPOINT
        endpoint = self._endpoint(key)
        self._open(seqnum, endpoint, command.buffer_bytes, address)
        device = self._device
        if device is None:
            self._give_back(seqnum, -errno.ENODEV, 0)
        elif command.number_of_packets > 0 or command.buffer_bytes > MAX_TRANSFER_BYTES:
            # Isochronous, or larger than the back end's kernel would take: refused, not half done.
            self._give_back(seqnum, -errno.EINVAL, 0)
        else:
            if key == CONTROL_ENDPOINT:
                was_reset = self._reset_watch.sees(SetupPacket.unpack(command.setup), command.flags)
                if was_reset and self._port_reset:
                    self._send(Reset(device))
            clear, endpoint.clears = endpoint.clears, False
            self._actions.append(
                Send(
                    Submit(
                        device,
                        seqnum,
                        address,
                        command.flags & _CARRIED_FLAGS,
                        command.buffer_bytes,
                        command.setup,
                        data,
                        clear,
                    )
                )
            )

    def unlink(self, command: CmdUnlink) -> None:
        """The kernel wants an URB back."""
        urb = self._urbs.get(command.target)
        if urb is None or urb.unlink_seqnum is not None:
            # Given back already, or asked for before.
            self._actions.append(AnswerUnlink(command.seqnum))
            return
        urb.unlink_seqnum = command.seqnum
        endpoint = urb.endpoint
        assert self._device is not None
        if endpoint.quiet and self._local_unlink:
            self._send(Unlink(self._device, command.target, local=True))
            self._give_back(command.target, -errno.ECONNRESET, 0)
            self._start_round()
        else:
            urb.unlink_sent = True
            endpoint.unlinking += 1
            self._send(Unlink(self._device, command.target))

    def fence_passed(self) -> None:
        """The round of the fence that was asked for is over."""
        if self._fenced is None or self._device is None:
            return
        mark, self._fenced = self._fenced, None
        for endpoint in self._endpoints.values():
            if endpoint.stopped and not endpoint.unlinking and endpoint.given_back <= mark:
                self._go_on(self._device, endpoint)
        self._start_round(above=mark)

    # The lane.

    def lend(self) -> Loan | None:
        """Lend what is open, if nothing is to be decided about it; until `take_back`."""
        if self._device is None or self._policy is not Policy.HOLD or self._fenced is not None:
            return None
        if any(e.stopped for e in self._endpoints.values()):
            return None
        if any(u.unlink_seqnum is not None or not u.endpoint.key for u in self._urbs.values()):
            return None
        return Loan(
            self._device,
            [(key, e.told_epoch) for key, e in self._endpoints.items() if key],
            [OpenUrb(n, u.endpoint.key, u.buffer_bytes) for n, u in self._urbs.items()],
        )

    def take_back(self, urbs: list[OpenUrb]) -> None:
        """Go on with what is open now: others have been given back, or have come.

        Args:
            urbs: In the order in which they were queued.
        """
        self._urbs.clear()
        for endpoint in self._endpoints.values():
            endpoint.open.clear()
        for seqnum, address, buffer_bytes in urbs:
            self._open(seqnum, self._endpoint(address), buffer_bytes, address)

    # What the link tells.

    def receive(self, message: Message) -> None:
        """Take one message of the back end.

        Raises:
            RemoteProtocolError: The back end must not say that, or not now.
        """
        match message:
            case Complete() | Disconnect() | ResetDone() if message.device == self._let_go:
                pass
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

    def let_go(self) -> bool:
        """The device cannot be shown any longer, for whatever reason: have it told anew.

        Returns:
            Whether that can be done without giving up the link.
        """
        if self._device is None:
            return True
        if not self._may_let_go:
            return False
        self._let_go = self._device
        self._send(Disconnected(self._device))
        self._forget_device()
        return True

    def _expect(self, device: int) -> None:
        if device != self._device:
            raise RemoteProtocolError(f"The back end spoke of device {device}, not {self._device}.")

    def _connect(self, message: Connect) -> None:
        if self._device is not None:
            raise RemoteProtocolError("The back end told of a second device in the same port.")
        self._device = message.device
        self._let_go = None
        self._reset_watch = ResetWatch(message.speed)
        self._actions.append(Plug(message.device, message.speed))

    def _forget_device(self) -> None:
        self._device = None
        self._fenced = None
        self._given_back = 0
        self._urbs.clear()
        self._endpoints.clear()
        self._actions.append(Unplug())

    def _endpoint(self, key: int) -> Endpoint:
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            endpoint = self._endpoints[key] = Endpoint(key)
        return endpoint

    def _open(self, seqnum: int, endpoint: Endpoint, buffer_bytes: int, address: int) -> None:
        self._urbs[seqnum] = Urb(endpoint, buffer_bytes, address >= DIRECTION_IN)
        endpoint.open[seqnum] = None

    def _complete(self, message: Complete) -> None:
        urb = self._urbs.get(message.urb_id)
        if urb is None:
            raise RemoteProtocolError(f"URB {message.urb_id} was completed, but is not open.")
        endpoint = urb.endpoint
        urb.check_length(message)
        if self._in_order:
            endpoint.check_order(message, urb, self._policy)
        endpoint.note_stop(message)
        self._give_back(message.urb_id, message.status, message.actual_bytes, message.data)
        if endpoint.stopped:
            self._start_round()

    def _give_back(self, seqnum: int, status: int, actual_bytes: int, data: Payload = b"") -> None:
        """Give an URB back and answer its unlink."""
        urb = self._urbs.pop(seqnum)
        endpoint = urb.endpoint
        del endpoint.open[seqnum]
        self._given_back += 1
        endpoint.given_back = self._given_back
        self._actions.append(GiveBack(seqnum, status, actual_bytes, data))
        if urb.unlink_seqnum is not None:
            self._actions.append(AnswerUnlink(urb.unlink_seqnum))
        if urb.unlink_sent:
            endpoint.unlinking -= 1

    def _start_round(self, above: int = -1) -> None:
        """Ask for a round, if none is under way and it could let an endpoint go on.

        Args:
            above: The last round was about so many given back; without more it would bring nothing.
        """
        if self._fenced is None and any(
            e.stopped and not e.unlinking and e.given_back > above for e in self._endpoints.values()
        ):
            self._fenced = self._given_back
            self._actions.append(Fence())

    def _go_on(self, device: int, endpoint: Endpoint) -> None:
        """The client is done with the error there."""
        if self._policy is Policy.ACA:
            if endpoint.open:
                return  # only an endpoint that has gone idle may clear
            endpoint.clears = True
        else:
            self._send(Resume(device, endpoint.key, endpoint.told_epoch))
        endpoint.resumed_epoch = endpoint.told_epoch
        endpoint.quiet = False

    def _send(self, message: Message) -> None:
        self._actions.append(Send(message))
