"""``rig front``: the daemon that shows the back end's ports as ports of ``vhci_hcd``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial

from rig.arguments import ArgumentParser
from rig.daemon import Command, Events, start_logging
from rig.errors import MachineError, RemoteProtocolError, RigError, UserError
from rig.net.address import DEFAULT_PORT, parse_address
from rig.reactor import Reactor, supervise
from rig.splitdriver.front.front_port import FrontPort
from rig.splitdriver.front.halves import Halves
from rig.splitdriver.frontend import FrontEnd
from rig.splitdriver.lane import Ready, StaleError
from rig.splitdriver.messages import ALL_CAPABILITIES, Capability, Message, Role, ToPort, port_of
from rig.splitdriver.policy import Policy
from rig.splitdriver.tap import TappedFrontEnd
from rig.splitdriver.transport import security, virtio_port
from rig.splitdriver.transport.caller import Caller
from rig.splitdriver.transport.link import Stream
from rig.splitdriver.transport.meeting import MakeCalls
from rig.splitdriver.transport.peer import Peer
from rig.splitdriver.transport.virtio_port import PortCaller
from rig.usb import vhci
from rig.usb.urblog_file import UrbLog, flush

_stale: StaleError | None = None
try:
    from rig.splitdriver.front import lane
except ImportError as error:  # not compiled, or for another machine: slower, and the same else
    lane = None  # type: ignore[assignment]
    _stale = error if isinstance(error, StaleError) else None

_log = logging.getLogger("rig.front")


class FrontService:
    """Joins the ports with the link and the reactor.

    Args:
        calls: Makes what calls the back end.
        policy: What happens on an endpoint behind an error.
        capabilities: What this end is to make use of.
        use_lane: Let a lane forward what needs no decision, if there is one.
        events: Where to tell what happens.
        reactor: Waits.
        urb_log: Where to note every URB; then there is no lane.
    """

    def __init__(
        self,
        calls: MakeCalls,
        policy: Policy,
        capabilities: Capability,
        *,
        use_lane: bool = True,
        events: Events,
        reactor: Reactor,
        urb_log: UrbLog | None = None,
    ) -> None:
        self._urb_log = urb_log
        self._policy = policy
        self._capabilities = capabilities
        self._events = events
        self._reactor = reactor
        self._ports: dict[int, FrontPort] = {}
        self._halves = Halves(reactor)
        self._peer: Peer | None = None
        self._caller = calls(self._on_back)
        try:
            self._halves.prepare()
        except (MachineError, OSError) as error:
            _log.warning("%s", error)  # asked again when a device comes
        self._caller.call()
        if lane is not None and use_lane and urb_log is None:
            reactor.wait_by(self._wait)
        elif _stale is not None and use_lane:
            _log.warning("%s", _stale)

    def close(self) -> None:
        """Undo all: the ports are unplugged, the link closed."""
        self._caller.close()
        self._drop_link("The front end is being stopped.")
        self._halves.close()
        if self._urb_log is not None:
            self._urb_log.close()

    def obey(self, command: Command) -> object:
        """Carry out one of the lab's commands (`rig.daemon`)."""
        if command.do == "status":
            return {
                "ports": {number: port.vhci_port for number, port in self._ports.items()},
                "back": self._peer.name if self._peer else None,
            }
        if command.do == "urbs":
            flush(self._urb_log)
            return None
        raise UserError(f"'rig front' knows no command '{command.do}'.")

    def _wait(self, epoll_fd: int, timeout_s: float) -> Ready | None:
        assert lane is not None
        if self._peer is None:
            return None
        return lane.wait(epoll_fd, timeout_s, self._peer, list(self._ports.values()))

    def _on_back(self, stream: Stream) -> None:
        self._peer = Peer(
            stream,
            Role.FRONT,
            self._policy,
            self._reactor,
            greeted=lambda name: self._events.emit("back", name=name),
            received=self._on_messages,
            lost=self._on_lost,
        )
        self._peer.start()

    def _on_messages(self, messages: Sequence[Message]) -> None:
        touched = {}
        for message in messages:
            port = self._port(message)
            port.receive(message)
            touched[id(port)] = port
        for port in touched.values():
            port.act()

    def _port(self, message: Message) -> FrontPort:
        if not isinstance(message, ToPort):
            raise RemoteProtocolError(f"A back end must not send {type(message).__name__}.")
        number = port_of(message.device)
        port = self._ports.get(number)
        if port is None:
            assert self._peer is not None
            wanted = self._policy, self._capabilities & self._peer.capabilities
            core = TappedFrontEnd(self._urb_log, *wanted) if self._urb_log else FrontEnd(*wanted)
            port = self._ports[number] = FrontPort(
                core,
                self._halves,
                send=self._send,
                broke=self._drop_link,
                events=self._events,
                reactor=self._reactor,
            )
        return port

    def _send(self, messages: list[Message]) -> None:
        if self._peer is not None:
            self._peer.send(messages)

    def _on_lost(self, reason: str) -> None:
        assert self._peer is not None
        served = self._peer.name is not None
        self._peer = None
        ports, self._ports = self._ports, {}
        for port in ports.values():
            port.link_lost()
        self._events.emit("back-lost", reason=reason)
        self._caller.lost(reason, served=served)

    def _drop_link(self, reason: str) -> None:
        if self._peer is not None:
            self._peer.close(reason)


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``rig front``."""
    arguments = ArgumentParser(
        prog="rig front",
        description="Show the ports that a back end serves as USB ports of this machine.",
    )
    arguments.add_argument(
        "--connect",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="HOST:PORT",
        help="of the back end, or virtio:NAME for a port of virtio-serial",
    )
    security.add_options(arguments, Role.FRONT)
    arguments.add_argument(
        "--policy",
        type=Policy,
        choices=list(Policy),
        default=Policy.HOLD,
        help="behind an error; the back end's must be the same (default: %(default)s)",
    )
    arguments.add_argument(
        "--no-local-unlink",
        action="store_true",
        help="ask the back end about every unlink, for measurements",
    )
    arguments.add_argument(
        "--no-lane", action="store_true", help="forward all in Python, for measurements"
    )
    arguments.add_argument("--urb-log", metavar="FILE", help="note every URB for 'rig monitor'")
    arguments.add_argument("--supervised", action="store_true", help="speak JSON lines with a lab")
    return arguments


def _calls(options: argparse.Namespace, reactor: Reactor) -> MakeCalls:
    """Return how the back end of ``--connect`` is reached.

    Raises:
        UserError: The options contradict each other, or the back end cannot be reached so.
    """
    name = virtio_port.name_of(options.connect)
    if name is not None:
        security.require_none(options, Role.FRONT)
        return partial(PortCaller, virtio_port.find(name), reactor)
    host, number = parse_address(options.connect)
    wanted = security.from_options(options, Role.FRONT, host)
    return partial(Caller, (host, number), wanted, reactor)


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
        calls = _calls(options, reactor)
        vhci.read_status()
        urb_log = None if options.urb_log is None else UrbLog(options.urb_log)
    except RigError as error:
        _log.error("%s", error)
        return 2 if isinstance(error, UserError) else 3
    capabilities = ALL_CAPABILITIES
    if options.no_local_unlink:
        capabilities &= ~Capability.LOCAL_UNLINK
    service = FrontService(
        calls,
        options.policy,
        capabilities,
        use_lane=not options.no_lane,
        events=events,
        reactor=reactor,
        urb_log=urb_log,
    )
    supervise(reactor, events, service.obey, supervised=options.supervised)
    try:
        reactor.run()
    finally:
        service.close()
        reactor.close()
    return 0
