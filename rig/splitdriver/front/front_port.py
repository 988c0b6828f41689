"""One port of the back end as the front end shows it: the core, and the half that carries it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from rig.daemon import Events
from rig.errors import ProtocolError, RigError
from rig.reactor import READABLE, WRITABLE, Reactor
from rig.splitdriver import order
from rig.splitdriver.front.half import Half
from rig.splitdriver.front.halves import Halves
from rig.splitdriver.front.hcd import Hcd, PduWithData
from rig.splitdriver.frontend import (
    Action,
    AnswerUnlink,
    Fence,
    FrontEnd,
    GiveBack,
    OpenUrb,
    Plug,
    Send,
    Unplug,
)
from rig.splitdriver.lane import FrontLent, FrontReturned
from rig.splitdriver.messages import Message, ResetDone, port_of
from rig.usb.urb import Speed, status_name
from rig.usb.usbip import CmdUnlink

_log = logging.getLogger("rig.front")

PAUSE_S = 0.5
"""Between the end of a port of ``vhci_hcd`` and the next one for the same device: whatever ends
them must not keep both ends busy."""

RETRY_S = 2.0
"""A device for which there is no room waits: another one may leave, or somebody mends it."""


class FrontPort:
    """Joins a core with ``vhci_hcd``.

    Args:
        core: The port's.
        halves: Where there are halves of controllers.
        send: Sends messages to the back end.
        broke: Called with a sentence when the device cannot be shown any longer, and the back end
            cannot be asked to tell it anew.
        events: Where to tell what happens.
        reactor: Waits.
    """

    def __init__(
        self,
        core: FrontEnd,
        halves: Halves,
        *,
        send: Callable[[list[Message]], None],
        broke: Callable[[str], None],
        events: Events,
        reactor: Reactor,
    ) -> None:
        self._core = core
        self._halves = halves
        self._send = send
        self._broke = broke
        self._events = events
        self._reactor = reactor
        self._half: Half | None = None
        self._hcd: Hcd | None = None
        self._waits_for_room = False
        self._receiving = False
        self._complaint = ""  # why the device is not shown
        self._not_before_s = 0.0

    @property
    def vhci_port(self) -> int | None:
        """The number of the port of ``vhci_hcd`` that shows the device, if it is plugged in."""
        return self._hcd.port.number if self._hcd is not None else None

    def receive(self, message: Message) -> None:
        """Take one message of the back end; `act` must be called afterwards.

        Raises:
            RemoteProtocolError: The back end must not say that, or not now.
        """
        self._core.receive(message)
        if isinstance(message, ResetDone):
            status = status_name(message.status)
            self._events.emit("reset", status=status, device_port=port_of(message.device))

    def lend(self) -> FrontLent | None:
        """Lend the device to a lane, if there is nothing to decide; until `take_back`."""
        loan = self._core.lend()
        socket = self._half.lend() if self._half is not None else None
        if loan is None or socket is None:
            return None
        return FrontLent(loan.device, *socket, order.LAST_SEQNUM, loan.epochs, list(loan.urbs))

    def take_back(self, returned: FrontReturned) -> None:
        """Take what a lane has left of the device; `go_on` when all else is taken back, too."""
        assert self._half is not None
        self._core.take_back([OpenUrb(*urb) for urb in returned.urbs])
        self._half.take_back(returned.expected, returned.octets, returned.unsent)

    def go_on(self) -> None:
        """Deal with what a lane has left."""
        if self._hcd is not None:
            self._on_hcd(READABLE)

    def link_lost(self) -> None:
        """The back end cannot be reached."""
        self._core.link_lost()
        self.act()

    def act(self) -> None:
        """Do what the core wants until it wants nothing more."""
        messages: list[Message] = []
        while actions := self._core.take_actions():
            for action in actions:
                if isinstance(action, Send):
                    messages.append(action.message)
                else:
                    self._do(action)
        broken = self._flush()
        if messages:
            self._send(messages)
        if broken:
            self._give_up(broken)

    def _do(self, action: Action) -> None:
        match action:
            case GiveBack(seqnum, status, actual_bytes, data) if self._hcd is not None:
                self._hcd.give_back(seqnum, status, actual_bytes, data)
            case AnswerUnlink(seqnum) if self._hcd is not None:
                self._hcd.answer_unlink(seqnum)
            case Fence() if self._half is not None and self._hcd is not None:
                self._half.fence(self._on_fence)
            case Plug(device, speed):
                self._plug_at(self._not_before_s, device, speed)
            case Unplug():
                self._unplug()

    def _plug_at(self, when_s: float, device: int, speed: Speed) -> None:
        if time.monotonic() < when_s:
            self._reactor.at(self._timer, when_s, lambda: self._plug(device, speed))
        else:
            self._plug(device, speed)

    def _plug(self, device: int, speed: Speed) -> None:
        try:
            half = self._half = self._halves.take(
                super_speed=speed >= Speed.SUPER, lost=self._give_up
            )
        except (RigError, OSError) as error:
            self._plug_later(device, speed, error)
            return
        half.when_ready(lambda: self._attach(half, device, speed))

    def _attach(self, half: Half, device: int, speed: Speed) -> None:
        try:
            self._hcd = half.attach(device, speed, self._on_pdu)
        except OSError as error:
            self._halves.give_back(half)
            self._half = None
            self._plug_later(device, speed, error)
            return
        self._reactor.watch(self._hcd, READABLE, self._on_hcd)
        self._events.emit("attached", port=self._hcd.port.number, speed=speed.name)

    def _plug_later(self, device: int, speed: Speed, error: RigError | OSError) -> None:
        """Try again until the device leaves: those in other ports have nothing to do with it."""
        if self._complaint != str(error):
            self._complaint = str(error)
            number = port_of(device)
            _log.warning("the device in port %d of the link is not shown: %s", number, error)
        self._plug_at(time.monotonic() + RETRY_S, device, speed)

    def _give_up(self, reason: str) -> None:
        """The device cannot be shown any longer so: let go of it, to be told of it anew."""
        if self._half is None:
            return  # the link was lost meanwhile
        if not self._core.let_go():
            self._broke(reason)
            return
        _log.warning("%s", reason)
        self._events.emit("port-broke", port=self.vhci_port, reason=reason)
        self._not_before_s = time.monotonic() + PAUSE_S
        self.act()

    @property
    def _timer(self) -> str:
        return f"plug-{id(self)}"

    def _unplug(self) -> None:
        self._reactor.cancel(self._timer)
        self._complaint = ""
        if self._half is None:
            return
        if self._hcd is not None:
            self._events.emit("detached", port=self._hcd.port.number)
            self._hcd = None
            self._waits_for_room = False
        self._half.detach()
        self._halves.give_back(self._half)
        self._half = None

    def _on_hcd(self, events: int) -> None:
        assert self._half is not None
        try:
            if events & READABLE:
                self._receiving = True
                self._half.receive()
            self.act()
        except (ProtocolError, OSError) as error:
            self._give_up(f"vhci_hcd gave up port {self.vhci_port}: {error}")
        finally:
            self._receiving = False

    def _on_pdu(self, pdu: PduWithData) -> None:
        if isinstance(pdu, CmdUnlink):
            self._core.unlink(pdu)
        else:
            self._core.submit(*pdu)
        if not self._receiving:
            # It waited for its turn behind a command to the hidden device: nobody else acts on it.
            self.act()

    def _on_fence(self) -> None:
        self._core.fence_passed()
        self.act()

    def _flush(self) -> str:
        """Send what waits for the kernel; return what is wrong if it takes no more."""
        hcd, half = self._hcd, self._half
        if hcd is None or half is None:
            return ""
        try:
            hcd.flush()
        except OSError as error:
            return f"vhci_hcd gave up port {hcd.port.number}: {error}"
        if hcd.waits_for_room is not self._waits_for_room:
            self._waits_for_room = hcd.waits_for_room
            room = WRITABLE if self._waits_for_room else 0
            self._reactor.watch(hcd, READABLE | room, self._on_hcd)
        half.watch_fence()
        return ""
