"""``rig back``: the daemon that owns a port and serves one front end at a time."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Sequence

from rig.control.commands import FaultCommands
from rig.control.rules import check_place
from rig.control.server import is_asked_for, served_by_reactor
from rig.daemon import Command, Events, start_logging
from rig.errors import RemoteProtocolError, RigError, UserError
from rig.faults.load import load_plan
from rig.faults.plan import NO_FAULTS
from rig.faults.rules.base import Rule
from rig.faults.rules.endpoint import EndpointEffect, EndpointFault, EndpointTransfer, Place
from rig.faults.triggers import EndpointInjector, Injector
from rig.reactor import READABLE, Reactor, supervise
from rig.splitdriver.back.back_port import BackPort
from rig.splitdriver.back.options import NO_FAULTS_IN_A_WINDOW, Rules, door_of, parser, rules_of
from rig.splitdriver.back.port import Port
from rig.splitdriver.backend import BackEnd, capabilities
from rig.splitdriver.lane import Ready, StaleError
from rig.splitdriver.messages import Message, Role, ToPort, port_of
from rig.splitdriver.tap import TappedBackEnd
from rig.splitdriver.transport.link import Stream, refuse
from rig.splitdriver.transport.meeting import Door, MakeDoor
from rig.splitdriver.transport.peer import Peer
from rig.usb import sysfs, uevent
from rig.usb.urblog_file import UrbLog, flush

_stale: StaleError | None = None
try:
    from rig.splitdriver.back import lane
except ImportError as error:  # not compiled, or for another machine: slower, and the same else
    lane = None  # type: ignore[assignment]
    _stale = error if isinstance(error, StaleError) else None

_log = logging.getLogger("rig.back")

EXACT_DRIVERS = frozenset({"dummy_hcd", "ohci-pci", "ohci-platform", "uhci_hcd"})
"""Host controllers whose drivers run an URB's completion handler before the queue goes on, so that
the kernel's BULK_CONTINUATION takes back what stands behind it (they lack ``HCD_BH``)."""


class BackService:
    """Joins the ports with the link and the reactor.

    Args:
        names: The ports to map, in the order of their places on the link.
        rules: What happens on an endpoint behind an error.
        door: Makes the place where front ends come.
        injector: Endpoint faults; None: none so far.
        events: Where to tell what happens.
        reactor: Waits.
        urb_log: Where to note every URB; then there is no lane.

    Raises:
        UserError: A port is not there, or claimed by somebody else, or not fit for the window.
    """

    def __init__(
        self,
        names: Sequence[str],
        rules: Rules,
        door: MakeDoor,
        *,
        injector: EndpointInjector | None,
        events: Events,
        reactor: Reactor,
        urb_log: UrbLog | None = None,
    ) -> None:
        self._urb_log = urb_log
        self._window = rules.window
        self._policy = rules.policy
        self._events = events
        self._reactor = reactor
        self._injector = injector or Injector(NO_FAULTS, EndpointFault, time.monotonic)
        self._faults = FaultCommands("rig back", self._injector, events, accept=self._accept)
        self._front: Peer | None = None
        self._door: Door | None = None
        # Before the first look, so that no change can fall between the two.
        self._uevents = uevent.open_socket()
        self._ports: list[BackPort] = []
        try:
            for number, name in enumerate(names):
                self._ports.append(self._map(number, name, rules))
            self._door = door(self._on_front, self._on_rejected)
        except UserError:
            self.close()
            raise
        reactor.watch(self._uevents, READABLE, self._on_uevents)
        self._look()
        if lane is not None and rules.lane and urb_log is None:
            reactor.wait_by(self._wait)
        elif _stale is not None and rules.lane:
            _log.warning("%s", _stale)

    def close(self) -> None:
        """Undo all."""
        if self._door is not None:
            self._door.close()
        if self._front is not None:
            self._front.close("The back end is being stopped.")
        for port in self._ports:
            port.close()
        self._reactor.unwatch(self._uevents)
        self._uevents.close()
        if self._urb_log is not None:
            self._urb_log.close()

    @property
    def place(self) -> dict[str, object]:
        """Where front ends come."""
        return self._door.place if self._door is not None else {}

    def obey(self, command: Command) -> object:
        """Carry out one of the lab's commands (`rig.daemon`)."""
        match command.do:
            case "status":
                return {
                    "ports": [port.status() for port in self._ports],
                    "front": self._front.name if self._front else None,
                }
            case "urbs":
                flush(self._urb_log)
                return None
        return self._faults.obey(command)

    def _accept(self, rule: Rule[EndpointTransfer, EndpointEffect]) -> None:
        """Refuse a rule that cannot be brought about here.

        Raises:
            UserError: It is the cable's, or the window is too large for it.
        """
        check_place(rule, Place.PORT)
        if self._window > 1:
            raise UserError(NO_FAULTS_IN_A_WINDOW)

    # The ports.

    def _map(self, number: int, name: str, rules: Rules) -> BackPort:
        location = sysfs.locate(name)
        same = next((p.port.name for p in self._ports if location in p.port.locations), None)
        if same is not None:
            raise UserError(
                f"Port '{name}' is the same connector as port '{same}'.",
                hint="Give each connector once; one of USB 3 has two ports, and both are mapped.",
            )
        port = Port(name)
        if rules.window > 1 and port.driver not in EXACT_DRIVERS:
            port.close()
            raise UserError(
                f"Port '{name}' is {port.driver}'s, where a window of {rules.window} is not exact.",
                hint="Leave --window out: a window of 1 is exact on every host controller.",
            )
        wanted = (rules.policy, rules.window, rules.aca_status, number)
        core = TappedBackEnd(self._urb_log, *wanted) if self._urb_log else BackEnd(*wanted)
        return BackPort(
            core,
            port,
            self._injector,
            send=self._send,
            events=self._events,
            reactor=self._reactor,
            time_stops=rules.time_stops,
        )

    def _on_uevents(self, _: int) -> None:
        for event in uevent.drain(self._uevents):
            if event.get("SUBSYSTEM") == "usb" and event.get("DEVTYPE") == "usb_device":
                self._look()

    def _look(self) -> None:
        for port in self._ports:
            port.look()

    # The link.

    def _wait(self, epoll_fd: int, timeout_s: float) -> Ready | None:
        assert lane is not None
        return lane.wait(epoll_fd, timeout_s, self._front, self._ports) if self._front else None

    def _on_front(self, stream: Stream, who: str) -> None:
        if self._front is not None:
            _log.warning("refused %s: another front end is being served", who)
            refuse(stream, "Another front end is using this back end.")
            return
        self._front = Peer(
            stream,
            Role.BACK,
            self._policy,
            self._reactor,
            greeted=self._on_greeting,
            received=self._on_messages,
            lost=self._on_lost,
            capabilities=capabilities(self._policy, self._window),
        )
        self._front.start()

    def _on_rejected(self, address: str, reason: str) -> None:
        self._events.emit("front-rejected", address=address, reason=reason)

    def _on_greeting(self, name: str) -> None:
        self._events.emit("front", name=name)
        for port in self._ports:
            port.core.linked()
            port.act()

    def _on_messages(self, messages: Sequence[Message]) -> None:
        touched = {}
        for message in messages:
            if not isinstance(message, ToPort):
                raise RemoteProtocolError(f"A front end must not send {type(message).__name__}.")
            number = port_of(message.device)
            if number >= len(self._ports):
                raise RemoteProtocolError(f"There is no port {number} on this link.")
            self._ports[number].core.receive(message)
            touched[number] = self._ports[number]
        for port in touched.values():
            port.act()

    def _send(self, messages: list[Message]) -> None:
        if self._front is not None:
            self._front.send(messages)

    def _on_lost(self, reason: str) -> None:
        _log.info("the link ends: %s", reason)
        self._front = None
        for port in self._ports:
            port.core.link_lost()
            port.act()
        self._events.emit("front-lost", reason=reason)
        if self._door is not None:
            self._door.lost(reason)


def main(argv: list[str]) -> int:
    """Run ``rig back`` until it is stopped.

    Returns:
        The exit status: 0, 2 for what the user must mend, 3 if this machine lacks something.
    """
    options = parser().parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer if options.supervised else None)
    with contextlib.closing(Reactor()) as reactor, contextlib.ExitStack() as undo:
        try:
            _start(options, reactor, events, undo)
        except RigError as error:
            _log.error("%s", error)
            return 2 if isinstance(error, UserError) else 3
        reactor.run()
    return 0


def _start(
    options: argparse.Namespace, reactor: Reactor, events: Events, undo: contextlib.ExitStack
) -> None:
    """Have the back end, its control socket and its lab served by a reactor.

    Raises:
        RigError: One of them cannot be had.
    """
    rules = rules_of(options)
    injector = None
    if options.plan is not None:
        plan = load_plan(options.plan, options.seed).at(Place.PORT)
        injector = Injector(plan, EndpointFault, time.monotonic)
    service = BackService(
        options.port,
        rules,
        door_of(options, reactor),
        injector=injector,
        events=events,
        reactor=reactor,
        urb_log=None if options.urb_log is None else UrbLog(options.urb_log),
    )
    undo.callback(service.close)
    asked_for = is_asked_for(options.control)
    undo.enter_context(
        served_by_reactor(reactor, options.control, "back", service.obey, required=asked_for)
    )
    supervise(reactor, events, service.obey, supervised=options.supervised)
    events.emit("listening", **service.place)
