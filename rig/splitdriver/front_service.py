"""``rig front``: the daemon that shows the back end's port as one port of ``vhci_hcd``."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import time
from collections.abc import Sequence

from rig.daemon import Command, Events, start_logging
from rig.errors import MachineError, ProtocolError, RigError, UserError
from rig.reactor import EDGE, READABLE, WRITABLE, Reactor, supervise
from rig.splitdriver.frontend import (
    AnswerUnlink,
    Fence,
    FrontEnd,
    GiveBack,
    Plug,
    Send,
    Unplug,
)
from rig.splitdriver.hcd import Hcd
from rig.splitdriver.link import DEFAULT_PORT, parse_address, require_private
from rig.splitdriver.messages import Message, ResetDone, Role
from rig.splitdriver.peer import Peer
from rig.usb import vhci
from rig.usb.urb import Speed, status_name
from rig.usb.usbip import CmdUnlink

_log = logging.getLogger("rig.front")

CONNECT_DEADLINE_S = 2.0
RETRY_S = 0.5
"""A back end that is away is asked so often whether it is there again."""


class FrontService:
    """Joins the core with ``vhci_hcd``, the link and the reactor.

    Args:
        back: The back end's address.
        events: Where to tell what happens.
        reactor: Waits.
    """

    def __init__(self, back: tuple[str, int], events: Events, reactor: Reactor) -> None:
        self._back = back
        self._events = events
        self._reactor = reactor
        self._core = FrontEnd()
        self._hcd: Hcd | None = None
        self._peer: Peer | None = None
        self._unreachable: str | None = None
        # Another front end may have left a port a moment ago: begin anywhere.
        self._turn = os.getpid()
        self._connect()

    def close(self) -> None:
        """Undo all: the port is unplugged, the link closed."""
        self._drop_link("The front end is being stopped.")
        self._unplug()
        self._reactor.cancel("connect")

    def obey(self, command: Command) -> object:
        """Carry out one of the lab's commands (`rig.daemon`)."""
        if command.do == "status":
            return {
                "port": self._hcd.port.number if self._hcd else None,
                "back": self._peer.name if self._peer else None,
            }
        raise UserError(f"'rig front' knows no command '{command.do}'.")

    # The link.

    def _connect(self) -> None:
        try:
            connection = socket.create_connection(self._back, timeout=CONNECT_DEADLINE_S)
        except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
            reason = getattr(error, "strerror", None) or str(error)
            if reason != self._unreachable:
                self._unreachable = reason
                _log.info("no back end at %s:%d yet: %s", *self._back, reason)
            self._reactor.at("connect", time.monotonic() + RETRY_S, self._connect)
            return
        self._unreachable = None
        self._peer = Peer(
            connection,
            Role.FRONT,
            self._reactor,
            greeted=lambda name: self._events.emit("back", name=name),
            received=self._on_messages,
            lost=self._on_lost,
        )
        self._peer.start()

    def _on_messages(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._core.receive(message)
            if isinstance(message, ResetDone):
                self._events.emit("reset", status=status_name(message.status))
        self._act()

    def _on_lost(self, reason: str) -> None:
        _log.info("the link ends: %s", reason)
        self._peer = None
        self._core.link_lost()
        self._events.emit("back-lost", reason=reason)
        self._reactor.at("connect", time.monotonic() + RETRY_S, self._connect)
        self._act()

    def _drop_link(self, reason: str) -> None:
        if self._peer is not None:
            self._peer.close(reason)

    # vhci_hcd.

    def _plug(self, device: int, speed: Speed) -> None:
        try:
            self._turn += 1
            port = vhci.choose_port(vhci.read_status(), speed, self._turn)
            self._hcd = Hcd(port, device, speed)
        except (MachineError, OSError) as error:
            self._drop_link(f"The device cannot be shown here: {error}")
            return
        self._reactor.watch(self._hcd, READABLE, self._on_hcd)
        self._events.emit("attached", port=port.number, speed=speed.name)

    def _unplug(self) -> None:
        if self._hcd is None:
            return
        self._reactor.unwatch(self._hcd.fence_fd)
        self._reactor.unwatch(self._hcd)
        port = self._hcd.port.number
        self._hcd.close()
        self._hcd = None
        self._events.emit("detached", port=port)

    def _on_hcd(self, events: int) -> None:
        assert self._hcd is not None
        try:
            if events & WRITABLE:
                self._hcd.flush()
                self._watch_hcd()
            for pdu in self._hcd.receive():
                if isinstance(pdu, CmdUnlink):
                    self._core.unlink(pdu)
                else:
                    self._core.submit(*pdu)
        except (ProtocolError, OSError) as error:
            # Somebody has detached the port by hand, or the kernel has lost its way.
            self._drop_link(f"vhci_hcd gave up port {self._hcd.port.number}: {error}")
        self._act()

    def _watch_hcd(self) -> None:
        assert self._hcd is not None
        room = WRITABLE if self._hcd.waits_for_room else 0
        self._reactor.watch(self._hcd, READABLE | room, self._on_hcd)

    def _on_fence(self, _: int) -> None:
        if self._hcd is None:
            return
        passed = self._hcd.fences_passed()
        if not passed:
            return
        self._reactor.unwatch(self._hcd.fence_fd)
        # What the handler submitted or unlinked before it returned must be known first.
        self._on_hcd(READABLE)
        for endpoint_key, token in passed:
            self._core.fence_passed(endpoint_key, token)
        self._act()

    # The core.

    def _act(self) -> None:
        """Do what the core wants until it wants nothing more."""
        messages: list[Message] = []
        while actions := self._core.take_actions():
            for action in actions:
                match action:
                    case Send(message):
                        messages.append(message)
                    case Plug(device, speed):
                        self._plug(device, speed)
                    case Unplug():
                        self._unplug()
                    case _ if self._hcd is not None:
                        _tell(self._hcd, action)
            self._flush_hcd()
        if messages and self._peer is not None:
            self._peer.send(messages)

    def _flush_hcd(self) -> None:
        if self._hcd is None:
            return
        try:
            self._hcd.flush()
        except OSError as error:
            self._drop_link(f"vhci_hcd gave up port {self._hcd.port.number}: {error}")
            return
        if self._hcd.waits_for_room:
            self._watch_hcd()
        if self._hcd.fencing:
            # Edge-triggered, and first reported at once: what was read before is not missed.
            self._reactor.watch(self._hcd.fence_fd, WRITABLE | EDGE, self._on_fence)


def _tell(hcd: Hcd, action: GiveBack | AnswerUnlink | Fence) -> None:
    match action:
        case GiveBack(seqnum, status, actual_bytes, data):
            hcd.give_back(seqnum, status, actual_bytes, data)
        case AnswerUnlink(seqnum):
            hcd.answer_unlink(seqnum)
        case Fence(endpoint_key, token):
            hcd.fence(endpoint_key, token)


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``rig front``."""
    arguments = argparse.ArgumentParser(
        prog="rig front",
        description="Show the port that a back end serves as a USB port of this machine.",
    )
    arguments.add_argument(
        "--connect",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="HOST:PORT",
        help="of the back end",
    )
    arguments.add_argument(
        "--insecure", action="store_true", help="allow an unencrypted link beyond this machine"
    )
    arguments.add_argument("--supervised", action="store_true", help="speak JSON lines with a lab")
    return arguments


def main(argv: list[str]) -> int:
    """Run ``rig front`` until it is stopped.

    Returns:
        The exit status: 0, 2 for what the user must mend, 3 if this machine lacks something.
    """
    options = parser().parse_args(argv)
    start_logging()
    reactor = Reactor()
    events = Events(sys.stdout.buffer if options.supervised else None)
    try:
        host, number = parse_address(options.connect)
        require_private(host, insecure=options.insecure)
        vhci.read_status()
    except RigError as error:
        _log.error("%s", error)
        return 2 if isinstance(error, UserError) else 3
    service = FrontService((host, number), events, reactor)
    supervise(reactor, events, service.obey, supervised=options.supervised)
    try:
        reactor.run()
    finally:
        service.close()
        reactor.close()
    return 0
