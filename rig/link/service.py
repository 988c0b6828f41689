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
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Iterator

import msgspec

from rig.arguments import ArgumentParser
from rig.control.commands import FaultCommands
from rig.control.server import add_option, is_asked_for, served_by_reactor
from rig.daemon import Command, Events, start_logging
from rig.errors import RigError, UserError
from rig.faults.load import load_plan
from rig.faults.plan import NO_FAULTS
from rig.faults.rules.base import Layer
from rig.faults.rules.link import LinkFault
from rig.faults.triggers import Injector, LinkInjector
from rig.link.actions import Happened
from rig.link.junction import Junction
from rig.link.relay import Relay
from rig.net.address import Address, listen, parse_address
from rig.reactor import Reactor, supervise

_log = logging.getLogger("rig.link")


class LinkService:
    """A relay with its sockets, its timer and its events.

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
        self._faults = FaultCommands("rig link", injector, events)
        self._relay = Relay(injector)
        self._events = events
        self._reactor = reactor
        self._busy = False
        self._junction = Junction(
            listener,
            back,
            self._relay,
            reactor,
            opened=lambda number, front: events.emit("circuit", circuit=number, front=front),
            gone=lambda number: events.emit("circuit-gone", circuit=number),
            changed=self._progress,
        )

    @property
    def address(self) -> Address:
        """Where front ends call."""
        return self._junction.address

    def close(self) -> None:
        """Close everything."""
        self._reactor.cancel("tick")
        self._junction.close()

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

    def _tick(self) -> None:
        self._relay.tick(time.monotonic())
        self._progress()

    def _progress(self) -> None:
        """Do and tell all that there is, and set the timer."""
        if self._busy:
            return  # what was done had news for the relay: what comes of it is done below
        relay, self._busy = self._relay, True
        while relay.actions:
            actions = relay.actions[:]
            relay.actions.clear()
            for action in actions:
                self._junction.do(action)
        self._busy = False
        for happened in relay.faults:
            self._events.emit("fault", layer=Layer.LINK, **fault_fields(happened))
        relay.faults.clear()
        for released in relay.released:
            self._events.emit("released", layer=Layer.LINK, **msgspec.structs.asdict(released))
        relay.released.clear()
        self._junction.watch()
        next_s = relay.next_s()
        if next_s is None:
            self._reactor.cancel("tick")
        else:
            self._reactor.at("tick", next_s, self._tick)


def fault_fields(happened: Happened) -> dict[str, object]:
    """The fields of a ``fault`` event."""
    fired, piece = happened.fired, happened.piece
    effect = msgspec.structs.asdict(fired.effect)
    kind = effect.pop("kind")
    del effect["luck"]
    fields: dict[str, object] = {
        "rule": fired.rule_name,
        "match": fired.match,
        "by_hand": fired.by_hand,
        "effect": kind,
    }
    fields |= {key: value for key, value in effect.items() if value is not None}
    if piece is not None:
        fields |= {
            "circuit": happened.circuit,
            "way": piece.way,
            "offset_bytes": piece.offset_bytes,
            "length_bytes": piece.length_bytes,
        }
    return fields


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


@contextlib.contextmanager
def _service(
    options: argparse.Namespace, events: Events, reactor: Reactor
) -> Iterator[LinkService]:
    """Have what the command line asks for, with its control socket.

    Raises:
        UserError: It cannot be had.
    """
    if options.seed is not None and options.plan is None:
        raise UserError("--seed is of no use without --plan.")
    plan = load_plan(options.plan, options.seed) if options.plan is not None else NO_FAULTS
    injector = Injector(plan, LinkFault, time.monotonic)
    back = parse_address(options.connect)
    listener = listen(parse_address(options.listen))
    service = LinkService(listener, back, injector, events=events, reactor=reactor)
    asked_for = is_asked_for(options.control)
    with (
        contextlib.closing(service),
        served_by_reactor(reactor, options.control, "link", service.obey, required=asked_for),
    ):
        yield service


def main(argv: list[str]) -> int:
    """Run ``rig link`` until it is stopped.

    Returns:
        The exit status: 0, or 2 for what the user must mend.
    """
    options = parser().parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer if options.supervised else None)
    try:
        with (
            contextlib.closing(Reactor()) as reactor,
            _service(options, events, reactor) as service,
        ):
            supervise(reactor, events, service.obey, supervised=options.supervised)
            host, port = service.address
            events.emit("listening", host=host, port=port)
            reactor.run()
    except RigError as error:
        _log.error("%s", error)
        return 2
    return 0
