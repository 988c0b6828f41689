"""The cable's two ends around its core: QEMU's socket, and that of the gadget's machine."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

from rig.buffers import ReceiveBuffer
from rig.cable.asking import FaultHappened
from rig.cable.callers import Callers
from rig.cable.controllers import Controller, check_rule
from rig.cable.pipe import Pipe
from rig.cable.usbredir.codec import unpack
from rig.cable.vudc import unpack_reply
from rig.cable.wire import Wire
from rig.control.commands import FaultCommands
from rig.control.rules import check_place
from rig.daemon import Command, Events
from rig.errors import MachineError, RigError
from rig.faults.rules.base import Layer, Rule
from rig.faults.rules.endpoint import EndpointEffect, EndpointFault, EndpointTransfer, Place
from rig.faults.triggers import EndpointInjector
from rig.reactor import Reactor
from rig.usb.urb import status_name

_log = logging.getLogger("rig.cable")

READ_POLL_S = 0.001
"""How often to look whether QEMU has read what was sent to it; only behind an error."""


class CableService:
    """Joins the core with both ends.

    Args:
        controller: At QEMU's end.
        qemu: Connected to usb-redir's chardev.
        listener: Where the gadget's machine connects.
        secret: What it says first.
        injector: Endpoint faults.
        events: Where to tell what happens.
        reactor: Waits.
    """

    def __init__(
        self,
        controller: Controller,
        qemu: socket.socket,
        listener: socket.socket,
        *,
        secret: bytes,
        injector: EndpointInjector,
        events: Events,
        reactor: Reactor,
    ) -> None:
        self._wire = Wire(controller, injector)
        self._controller = controller
        self._faults = FaultCommands("rig cable", injector, events, accept=self._accept_rule)
        self._events = events
        self._reactor = reactor
        self._plugged = False
        self._vudc: Pipe | None = None
        self.failure: RigError | None = None
        self._qemu = Pipe(qemu, reactor, self._on_qemu)
        self._callers = Callers(listener, secret, reactor, self._welcome)
        self._wire.greet()
        self._progress()

    def close(self) -> None:
        """Unplug the device, and close both ends."""
        self._drop_vudc()
        self._qemu.close()
        self._callers.close()

    def obey(self, command: Command) -> object:
        """Carry out one of the lab's commands (`rig.daemon`)."""
        if command.do == "status":
            return {"plugged": self._plugged, "configuration": self._wire.configured}
        return self._faults.obey(command)

    def _accept_rule(self, rule: Rule[EndpointTransfer, EndpointEffect]) -> None:
        """Refuse a rule that the cable cannot bring about.

        Raises:
            UserError: It is the port's, or the controller cannot show it.
        """
        check_place(rule, Place.CABLE)
        if isinstance(rule, EndpointFault):
            check_rule(rule, self._controller)

    # The ends.

    def _welcome(self, stream: socket.socket) -> None:
        """The gadget's machine has connected, perhaps anew."""
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._drop_vudc()
        self._vudc = Pipe(stream, self._reactor, self._on_vudc)
        self._events.emit("attached")
        self._wire.attach(time.monotonic())
        self._progress()

    def _drop_vudc(self) -> None:
        if self._vudc is None:
            return
        self._vudc.close()
        self._vudc = None
        self._wire.detach()
        self._progress()

    def _on_vudc(self) -> None:
        assert self._vudc is not None
        try:
            alive = _take_all(self._vudc, self._take_reply)
        except RigError as error:
            _log.warning("the gadget's end is dropped: %s", error)
            alive = False
        if not alive:
            self._drop_vudc()
        self._progress()

    def _on_qemu(self) -> None:
        if self._take_packets():
            self._progress()

    def _take_packets(self) -> bool:
        """Take all that QEMU has sent; False if nothing more will come: this is the end."""
        try:
            alive = _take_all(self._qemu, self._take_packet)
            if not alive:
                raise MachineError("QEMU has closed its end of the cable.")
        except RigError as error:
            self.failure = error
            self._reactor.stop()
            return False
        return True

    def _take_reply(self, received: ReceiveBuffer, now_s: float) -> bool:
        reply = unpack_reply(received, self._wire.submitted_in)
        if reply is not None:
            self._wire.from_vudc(reply, now_s)
        return reply is not None

    def _take_packet(self, received: ReceiveBuffer, now_s: float) -> bool:
        packet = unpack(received, wide=self._wire.wide)
        if packet is not None:
            self._wire.from_qemu(packet, now_s)
        return packet is not None

    def _on_time(self) -> None:
        # What QEMU has sent before this moment must be known at this moment.
        if self._take_packets():
            self._wire.tick(time.monotonic())
            self._progress()

    def _progress(self) -> None:
        """Pass on what there is, look what QEMU has read, and set the timers."""
        wire = self._wire
        self._pass_on()
        while wire.unread and self._qemu.read:
            wire.read()
            # What QEMU wrote before it read is in the socket now; it has to be known first.
            if not self._take_packets():
                return
            wire.drained(time.monotonic())
            self._pass_on()
        if wire.unread:
            self._reactor.at("read", time.monotonic() + READ_POLL_S, self._progress)
        if wire.deadline_s is not None:
            self._reactor.at("tick", wire.deadline_s, self._on_time)

    def _pass_on(self) -> None:
        """Send what there is to send, and tell what there is to tell."""
        wire = self._wire
        for happened in wire.faults:
            self._tell(happened)
        wire.faults.clear()
        self._qemu.send(wire.to_qemu)
        if self._vudc is not None:
            self._vudc.send(wire.to_vudc)
        if self._plugged != wire.plugged:
            self._plugged = wire.plugged
            self._events.emit("plugged" if self._plugged else "unplugged")

    def _tell(self, happened: FaultHappened) -> None:
        fired, transfer = happened.fired, happened.transfer
        self._events.emit(
            "fault",
            layer=Layer.ENDPOINT,
            rule=fired.rule_name,
            match=fired.match,
            by_hand=fired.by_hand,
            place=Place.CABLE,
            when=fired.effect.when,
            status=status_name(fired.effect.status),
            endpoint=transfer.endpoint_address,
            length_bytes=transfer.length_bytes,
            moved_bytes=happened.cut.run_bytes or 0,
        )


def _take_all(pipe: Pipe, take_one: Callable[[ReceiveBuffer, float], bool]) -> bool:
    """Receive all that has come, and take one after the other; False once the end has closed.

    Args:
        pipe: Where it comes from.
        take_one: Takes the next one, at a time; False if it is not all there.

    Raises:
        RemoteProtocolError: It is none of what belongs there.
    """
    alive = pipe.fill()
    now_s = time.monotonic()
    while take_one(pipe.buffer, now_s):
        pass
    return alive
