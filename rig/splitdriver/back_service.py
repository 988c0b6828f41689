"""``rig back``: the daemon that owns a port and serves one front end at a time."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence

from rig.daemon import Command, Events, start_logging
from rig.errors import RigError, UserError
from rig.faults.load import load_plan
from rig.faults.plan import Layer
from rig.faults.triggers import EndpointEffect, Fired, Injector
from rig.reactor import HANGUP, READABLE, WRITABLE, Reactor, supervise
from rig.splitdriver.backend import BackEnd, Discard, Perform, ResetPort, Send, Start
from rig.splitdriver.link import DEFAULT_PORT, listen, parse_address, refuse, require_private
from rig.splitdriver.messages import Message, Role, Submit
from rig.splitdriver.peer import Peer
from rig.splitdriver.port import Completion, Port
from rig.usb import uevent
from rig.usb.urb import status_name

_log = logging.getLogger("rig.back")


class BackService:
    """Joins the core with the port, the link and the reactor.

    Args:
        port_name: The port to map.
        listener: Where front ends come.
        injector: Endpoint faults, or None.
        events: Where to tell what happens.
        reactor: Waits.
    """

    def __init__(
        self,
        port_name: str,
        listener: socket.socket,
        injector: Injector | None,
        events: Events,
        reactor: Reactor,
    ) -> None:
        self._events = events
        self._reactor = reactor
        self._injector = injector
        self._core = BackEnd()
        self._front: Peer | None = None
        self._listener = listener
        # Before the first look, so that no change can fall between the two.
        self._uevents = uevent.open_socket()
        self._port = Port(port_name, injector, self._on_fault)
        reactor.watch(self._uevents, READABLE, self._on_uevents)
        reactor.watch(listener, READABLE, self._on_front)
        self._look()

    def close(self) -> None:
        """Undo all."""
        if self._front is not None:
            self._front.close("The back end is being stopped.")
        self._forget_device()
        self._port.close()
        self._uevents.close()
        self._listener.close()

    def obey(self, command: Command) -> object:
        """Carry out one of the lab's commands (`rig.daemon`)."""
        match command.do:
            case "status":
                return {
                    "port": self._port.name,
                    "device": self._core.device,
                    "front": self._front.name if self._front else None,
                }
            case "phase":
                if self._injector is not None:
                    self._injector.set_phase(command.args.get("name"))
                return None
            case "faults":
                injector = self._injector
                return {
                    "planned": injector.planned if injector else {},
                    "fired": injector.fired if injector else {},
                }
        raise UserError(f"'rig back' knows no command '{command.do}'.")

    # The port.

    def _on_uevents(self, _: int) -> None:
        for event in uevent.drain(self._uevents):
            if event.get("SUBSYSTEM") == "usb" and event.get("DEVTYPE") == "usb_device":
                self._look()

    def _look(self) -> None:
        """See what is in the port; a device that is known is asked for once, and left alone."""
        if self._port.device is not None:
            if self._port.present:
                return
            self._take(self._port.completions())
            self._forget_device()
            self._core.unplugged()
        speed = self._port.look()
        if speed is not None:
            assert self._port.device is not None
            self._reactor.watch(self._port.device, WRITABLE, self._on_completions)
            self._core.plugged(speed)
            self._events.emit("plugged", device=self._port.location.device, speed=speed.name)
        self._act()

    def _forget_device(self) -> None:
        if self._port.device is not None:
            self._reactor.unwatch(self._port.device)
            self._port.close_device()
            self._events.emit("unplugged", device=self._port.location.device)

    def _on_completions(self, events: int) -> None:
        if events & HANGUP and self._port.device is not None:
            # The device is going; the uevent that follows says when it has gone.
            self._reactor.unwatch(self._port.device)
        self._take(self._port.completions())
        self._act()

    def _take(self, completions: list[Completion]) -> None:
        for done in completions:
            self._core.completed(done.urb_id, done.status, done.actual_bytes, done.data)

    def _on_fault(self, fired: Fired[EndpointEffect], urb: Submit) -> None:
        self._events.emit(
            "fault",
            layer=Layer.ENDPOINT,
            rule=fired.rule_name,
            match=fired.match,
            when=fired.fault.when,
            status=status_name(fired.fault.status),
            endpoint=urb.endpoint_address,
            urb=urb.urb_id,
            buffer_bytes=urb.buffer_bytes,
        )

    # The link.

    def _on_front(self, _: int) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:  # gone again before we looked
            return
        if self._front is not None:
            _log.warning("refused %s: another front end is being served", address[0])
            refuse(connection, "Another front end is using this port.")
            return
        self._front = Peer(
            connection,
            Role.BACK,
            self._reactor,
            greeted=self._on_greeting,
            received=self._on_messages,
            lost=self._on_lost,
        )
        self._front.start()

    def _on_greeting(self, name: str) -> None:
        self._events.emit("front", name=name)
        self._core.linked()
        self._act()

    def _on_messages(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._core.receive(message)
        self._act()

    def _on_lost(self, reason: str) -> None:
        _log.info("the link ends: %s", reason)
        self._front = None
        self._core.link_lost()
        self._port.abandon()
        self._events.emit("front-lost", reason=reason)

    # The core.

    def _act(self) -> None:
        """Do what the core wants until it wants nothing more."""
        messages: list[Message] = []
        while actions := self._core.take_actions():
            for action in actions:
                match action:
                    case Send(message):
                        messages.append(message)
                    case Start(urb):
                        self._port.start(urb)
                    case Perform(urb, operation):
                        self._port.perform(urb, operation)
                    case Discard(urb_id):
                        self._port.discard(urb_id)
                    case ResetPort():
                        status = self._port.reset()
                        self._events.emit("reset", status=status_name(status))
                        self._core.reset_done(status)
            self._take(self._port.refused())
        if messages and self._front is not None:
            self._front.send(messages)


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``rig back``."""
    arguments = argparse.ArgumentParser(
        prog="rig back",
        description="Map a USB port of this machine and serve it to a front end.",
    )
    arguments.add_argument("--port", required=True, help="3-1.4 or dummy_hcd.0/1")
    arguments.add_argument(
        "--listen", default=f"127.0.0.1:{DEFAULT_PORT}", metavar="HOST:PORT", help="for front ends"
    )
    arguments.add_argument(
        "--insecure", action="store_true", help="allow an unencrypted link beyond this machine"
    )
    arguments.add_argument("--plan", help="fault plan whose endpoint rules apply to the port")
    arguments.add_argument("--seed", type=int, help="instead of the plan's own")
    arguments.add_argument("--supervised", action="store_true", help="speak JSON lines with a lab")
    return arguments


def main(argv: list[str]) -> int:
    """Run ``rig back`` until it is stopped.

    Returns:
        The exit status: 0, or 2 for what the user must mend.
    """
    options = parser().parse_args(argv)
    start_logging()
    reactor = Reactor()
    events = Events(sys.stdout.buffer if options.supervised else None)
    try:
        host, number = parse_address(options.listen)
        require_private(host, insecure=options.insecure)
        injector = None
        if options.plan is not None:
            injector = Injector(load_plan(options.plan, options.seed), Layer.ENDPOINT)
        listener = listen((host, number))
        service = BackService(options.port, listener, injector, events, reactor)
    except RigError as error:
        _log.error("%s", error)
        return 2
    supervise(reactor, events, service.obey, supervised=options.supervised)
    events.emit("listening", host=host, port=listener.getsockname()[1])
    try:
        reactor.run()
    finally:
        service.close()
        reactor.close()
    return 0
