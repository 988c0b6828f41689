"""The daemon ``rig link``: a relay between a front end and a back end that lets the link fail.

It runs on either machine, or on a third one.  The front end calls ``--listen``; for each of its
calls the relay calls ``--connect``, where the back end listens.  What is encrypted stays encrypted:
the two ends prove to each other who they are, through the relay.

Events: ``listening`` with host and port; ``circuit`` when a front end has called, ``circuit-gone``;
``fault`` for every fault that was made, ``released`` for all that lasted and does no longer.
Commands: ``status``, ``release`` (end all that lasts), and those of `rig.control.commands`.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
import time
from functools import partial

import msgspec

from rig.arguments import ArgumentParser
from rig.control.commands import FaultCommands
from rig.control.server import add_option, served_by_reactor
from rig.daemon import Command, Events, start_logging
from rig.errors import RigError, UserError
from rig.faults.load import load_plan
from rig.faults.plan import NO_FAULTS
from rig.faults.rules.base import Layer
from rig.faults.rules.link import LinkEnd, LinkFault
from rig.faults.triggers import Injector, LinkInjector
from rig.link.plug import Plug
from rig.link.relay import Action, Close, Dial, Happened, Relay, Send, other
from rig.reactor import READABLE, Reactor, supervise

_log = logging.getLogger("rig.link")

Address = tuple[str, int]

MAX_BACKLOG_BYTES = 4 << 20
"""Of what an end has sent, so much waits here; the rest waits in its socket."""


class LinkService:
    """Joins the relay with sockets.

    Args:
        listener: Where front ends call; it becomes non-blocking.
        back: Where the back end listens.
        injector: Link faults, by the reactor's clock.
        events: Where to tell what happens.
        reactor: Waits.
    """

    def __init__(
        self,
        listener: socket.socket,
        back: Address,
        injector: LinkInjector,
        *,
        events: Events,
        reactor: Reactor,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._back = back
        self._faults = FaultCommands("rig link", injector, events)
        self._relay = Relay(injector)
        self._events = events
        self._reactor = reactor
        self._plugs: dict[tuple[int, LinkEnd], Plug] = {}
        self._lingering: list[Plug] = []
        reactor.watch(listener, READABLE, lambda _: self._accept())

    def close(self) -> None:
        """Close everything."""
        for plug in [*self._plugs.values(), *self._lingering]:
            plug.drop()
        self._plugs.clear()
        self._reactor.cancel("tick")
        self._reactor.unwatch(self._listener)
        self._listener.close()

    def obey(self, command: Command) -> object:
        """Carry out one of the lab's commands (`rig.daemon`)."""
        match command.do:
            case "status":
                return {"circuits": self._relay.circuits, "standing": self._relay.standing}
            case "release":
                released = self._relay.release(time.monotonic())
                self._progress()
                return {"released": released}
        result = self._faults.obey(command)
        self._tick()  # a phase has begun, or a rule is there, that may go by the clock
        return result

    # The ends.

    def _accept(self) -> None:
        try:
            stream, address = self._listener.accept()
        except OSError as error:
            _log.warning("a call came to nothing: %s", error)
            return
        number = self._relay.opened(time.monotonic())
        self._events.emit("circuit", circuit=number, front=f"{address[0]}:{address[1]}")
        self._plug(number, LinkEnd.FRONT, stream, connects=False)
        self._progress()

    def _dial(self, number: int) -> None:
        host, port = self._back
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            stream = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            _log.warning("%s cannot be called: %s", host, error)
            self._relay.ended(number, LinkEnd.BACK, time.monotonic(), reset=True)
            return
        stream.setblocking(False)
        # Whatever becomes of it, the socket becomes writable.
        stream.connect_ex(address)
        self._plug(number, LinkEnd.BACK, stream, connects=True)

    def _plug(self, number: int, end: LinkEnd, stream: socket.socket, *, connects: bool) -> None:
        self._plugs[number, end] = Plug(
            stream,
            self._reactor,
            time.monotonic,
            connected=partial(self._on_connected, number) if connects else None,
            readable=partial(self._on_readable, number, end),
            sent=self._watch,
        )

    def _on_connected(self, number: int) -> None:
        plug = self._plugs[number, LinkEnd.BACK]
        error = plug.stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._relay.ended(number, LinkEnd.BACK, time.monotonic(), reset=True)
        else:
            self._relay.reached(number, time.monotonic())
        self._progress()

    def _on_readable(self, number: int, end: LinkEnd) -> None:
        plug, reset = self._plugs[number, end], False
        try:
            count = plug.stream.recv_into(self._relay.space(number, end))
        except BlockingIOError:
            return
        except OSError:
            count, reset = 0, True
        if count:
            self._relay.received(number, end, count, time.monotonic())
        else:
            self._relay.ended(number, end, time.monotonic(), reset=reset)
        self._progress()

    # What the relay wants.

    def _tick(self) -> None:
        self._relay.tick(time.monotonic())
        self._progress()

    def _progress(self) -> None:
        """Do and tell all that there is, and set the timer."""
        relay = self._relay
        while relay.actions:
            actions = relay.actions[:]
            relay.actions.clear()
            for action in actions:
                self._do(action)
        for happened in relay.faults:
            self._tell(happened)
        relay.faults.clear()
        for released in relay.released:
            self._events.emit("released", layer=Layer.LINK, **msgspec.structs.asdict(released))
        relay.released.clear()
        self._watch()
        next_s = relay.next_s()
        if next_s is None:
            self._reactor.cancel("tick")
        else:
            self._reactor.at("tick", next_s, self._tick)

    def _do(self, action: Action) -> None:
        match action:
            case Dial():
                self._dial(action.circuit)
            case Send():
                plug = self._plugs.get((action.circuit, action.end))
                if plug is not None:
                    plug.send(action.data)
            case Close():
                plug = self._plugs.pop((action.circuit, action.end), None)
                if plug is not None:
                    plug.close(reset=action.reset)
                    self._lingering = [p for p in [*self._lingering, plug] if p.is_open]
                    self._say_goodbye(action.circuit)

    def _say_goodbye(self, number: int) -> None:
        if not any((number, end) in self._plugs for end in LinkEnd):
            self._events.emit("circuit-gone", circuit=number)

    def _watch(self) -> None:
        """Read from an end only while what it sends finds room."""
        for (number, end), plug in self._plugs.items():
            target = self._plugs.get((number, other(end)))
            waiting = self._relay.backlog_bytes(number, end)
            waiting += target.backlog_bytes if target is not None else 0
            plug.read_on(waiting < MAX_BACKLOG_BYTES)

    def _tell(self, happened: Happened) -> None:
        fired, piece = happened.fired, happened.piece
        effect = msgspec.structs.asdict(fired.effect)
        kind = effect.pop("kind")
        del effect["luck"]
        fields = {key: value for key, value in effect.items() if value is not None}
        if piece is not None:
            fields |= {
                "circuit": happened.circuit,
                "way": piece.way,
                "offset_bytes": piece.offset_bytes,
                "length_bytes": piece.length_bytes,
            }
        self._events.emit(
            "fault",
            layer=Layer.LINK,
            rule=fired.rule_name,
            match=fired.match,
            by_hand=fired.by_hand,
            effect=kind,
            **fields,
        )


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises:
        UserError: It is neither.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 0xFFFF:
        raise UserError(f"'{text}' is no address.", hint="Write HOST:PORT, such as 10.77.0.1:7205.")
    return host.strip("[]"), int(port)


def listen(address: Address) -> socket.socket:
    """Return a listening socket.

    Raises:
        UserError: The address is not this machine's, or in use.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        raise UserError(
            f"Cannot listen on {address[0]}:{address[1]}: {error.strerror}.",
            hint="Choose an address of this machine and a free port with --listen.",
        ) from error


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = ArgumentParser(
        prog="rig link",
        description="Relay between a front end and a back end, and let their link fail by a plan.",
    )
    made.add_argument("--listen", required=True, metavar="HOST:PORT", help="for the front end")
    made.add_argument("--connect", required=True, metavar="HOST:PORT", help="of the back end")
    made.add_argument("--plan", help="fault plan whose link rules apply")
    made.add_argument("--seed", type=int, help="instead of the plan's own")
    add_option(made)
    made.add_argument("--supervised", action="store_true", help="speak JSON lines with a lab")
    return made


def main(argv: list[str]) -> int:
    """Run ``rig link`` until it is stopped.

    Returns:
        The exit status: 0, or 2 for what the user must mend.
    """
    options = parser().parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer if options.supervised else None)
    reactor = Reactor()
    try:
        if options.seed is not None and options.plan is None:
            raise UserError("--seed is of no use without --plan.")
        plan = load_plan(options.plan, options.seed) if options.plan is not None else NO_FAULTS
        back = parse_address(options.connect)
        listener = listen(parse_address(options.listen))
    except RigError as error:
        _log.error("%s", error)
        return 2
    injector = Injector(plan, LinkFault, time.monotonic)
    service = LinkService(listener, back, injector, events=events, reactor=reactor)
    supervise(reactor, events, service.obey, supervised=options.supervised)
    host, port = listener.getsockname()[:2]
    events.emit("listening", host=host, port=port)
    try:
        with served_by_reactor(reactor, options.control, "link", service.obey):
            reactor.run()
    finally:
        service.close()
        reactor.close()
    return 0
