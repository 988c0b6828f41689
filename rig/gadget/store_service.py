"""The process that serves the LUN's medium: ``rig store``.

`rig.gadget.service` starts it and talks to it as the lab talks to a daemon (`rig.daemon`).
It is a process of its own because who serves a FUSE mount must never touch it, and setting the
LUN's backing file does.

Events: ``mounted``; ``fault`` for every injected fault; ``released`` for every hang that ended.
Commands: ``status``, ``release {close}`` (answer all that waits; with ``close``, a word of
`ReleasedBy`, let nothing wait any more, for this reason), ``open`` (let it again), ``power_cut``
(lose what was not flushed), and those of `rig.control.commands`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import msgspec

from rig.arguments import ArgumentParser
from rig.control.commands import FaultCommands
from rig.control.server import add_option, control_socket, is_asked_for
from rig.daemon import Command, CommandLines, Events, start_logging
from rig.errors import RemoteProtocolError, RigError, UserError
from rig.faults.load import load_plan
from rig.faults.plan import NO_FAULTS, Plan
from rig.faults.release import ReleasedBy
from rig.faults.rules.base import MOST_DISK_BYTES, Layer, Rule, check_disk
from rig.faults.rules.medium import MediumAccess, MediumEffect, MediumFault
from rig.faults.shown import shown
from rig.faults.triggers import Injector
from rig.gadget.answers import FaultReport
from rig.gadget.holds import Holds
from rig.gadget.store import Store, needs_cache

log = logging.getLogger("rig.gadget.store")


class StoreCommands:
    """Answers the commands of a store.

    Args:
        store: Asked and told.
        holds: The store's answers that wait.
        events: Where replies go.
    """

    def __init__(self, store: Store, holds: Holds, events: Events) -> None:
        self._store = store
        self._holds = holds
        self._events = events
        self._faults = FaultCommands(
            "rig store",
            store.injector,
            events,
            accept=lambda rule: check_disk([rule], store.size_bytes),
            added=self._added,
        )
        self._lines = CommandLines()

    def feed(self, data: bytes) -> None:
        """Take bytes of standard input; answer the commands that are complete."""
        try:
            for command in self._lines.feed(data):
                self._events.answer(command, self.obey)
        except RemoteProtocolError as error:
            self._events.emit("error", error=str(error))

    def obey(self, command: Command) -> object:
        """Carry out a command.

        Raises:
            UserError: It is unknown, or cannot be carried out.
        """
        match command.do:
            case "status":
                return {**store_status(self._store), "waiting": len(self._holds)}
            case "release":
                return {"released": self._holds.release(close=_reason(command))}
            case "open":
                self._holds.open()
                return None
            case "power_cut":
                if self._store.cached_bytes is None:
                    raise UserError(
                        "This medium has no volatile cache: a power cut costs it nothing.",
                        hint="Start it with --volatile-cache.",
                    )
                return {"lost_bytes": self._store.power_cut()}
        return self._faults.obey(command)

    def _added(self, rule: Rule[MediumAccess, MediumEffect]) -> None:
        if needs_cache(rule):
            self._store.use_cache()


def _reason(command: Command) -> ReleasedBy | None:
    """Read why nothing is to wait any more.

    Raises:
        UserError: It is none.
    """
    try:
        return msgspec.convert(command.args.get("close"), ReleasedBy | None)
    except msgspec.ValidationError as error:
        raise UserError(f"Command 'release' is not understood: {error}.") from error


def store_status(store: Store) -> dict[str, object]:
    """Counts of a store, as JSON carries them."""
    return {
        "accesses": {op.name.lower(): count for op, count in store.accesses.items()},
        "sequence": store.sequence,
        "phase": store.injector.phase,
        "cached_bytes": store.cached_bytes,
        "journal_damage": [damage.reason for damage in store.journal_damage],
    }


def fault_fields(report: FaultReport) -> dict[str, object]:
    """The fields of a ``fault`` event; a fault that befell no access names none."""
    access = report.access
    return {
        "layer": Layer.MEDIUM,
        "rule": report.fired.rule_name,
        "match": report.fired.match,
        "by_hand": report.fired.by_hand,
        "effect": report.fired.effect.kind,
        "value": report.deed.value,
        "errno": report.deed.error,
        "op": access and access.op,
        "lba": access and access.lba,
        "blocks": access and access.blocks,
        "sequence": report.sequence,
    }


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="rig store", description="Serve a medium by FUSE.")
    parser.add_argument("--medium", type=Path, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--mount", type=Path, required=True)
    parser.add_argument("--size-bytes", type=int, required=True)
    parser.add_argument("--plan", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--volatile-cache",
        action="store_true",
        help="lose at a power cut what was not flushed (rules that need it ask for it themselves)",
    )
    add_option(parser)
    parser.add_argument("--supervised", action="store_true")
    return parser


def _check_size(size_bytes: int, plan: Plan) -> None:
    """Refuse a medium that no command could reach the end of, and rules beyond its end.

    Raises:
        UserError: It is so.
    """
    if size_bytes > MOST_DISK_BYTES:
        raise UserError(
            f"A medium of {shown(size_bytes)} bytes cannot be made.",
            hint=f"The most is {MOST_DISK_BYTES}.",
        )
    check_disk(plan.rules(MediumFault), size_bytes)


def main(argv: list[str] | None = None) -> int:
    """Run the store until its input ends.

    Returns:
        0 after an orderly end, 2 if what was asked cannot be, 3 after a failure.
    """
    options = _parser().parse_args(argv)
    # Here, so that who wants to know the options, or has mistaken one, needs no FUSE.
    from rig.gadget.fusefs import serve  # noqa: PLC0415

    start_logging()
    events = Events(sys.stdout.buffer if options.supervised else None)
    try:
        plan: Plan = load_plan(options.plan, options.seed) if options.plan else NO_FAULTS
        _check_size(options.size_bytes, plan)
        store = Store(
            options.medium,
            options.journal,
            options.size_bytes,
            Injector(plan, MediumFault, time.monotonic),
            on_fault=lambda report: events.emit("fault", **fault_fields(report)),
            volatile_cache=options.volatile_cache,
        )
        holds = Holds(
            lambda end: events.emit("released", layer=Layer.MEDIUM, **msgspec.structs.asdict(end))
        )
        for damage in store.journal_damage:
            log.warning("the journal is damaged at byte %d: %s", damage.position, damage.reason)
        commands = StoreCommands(store, holds, events)
        asked_for = is_asked_for(options.control)
        with control_socket(options.control, "store", commands.obey, required=asked_for) as control:
            serve(
                store,
                options.mount,
                holds,
                input_fd=sys.stdin.fileno() if options.supervised else None,
                on_mounted=lambda: events.emit("mounted", mount=str(options.mount)),
                on_input=commands.feed,
                control=control,
            )
        store.close()
    except (RigError, OSError, RuntimeError) as error:
        if options.supervised:  # else the event is a line of the log as well
            events.emit("error", error=str(error))
        log.error("%s", error)
        return 2 if isinstance(error, UserError) else 3
    return 0
