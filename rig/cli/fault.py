"""``rig fault``: look at and change the faults of processes that run.

It runs on a machine too, so it imports little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from rig.arguments import ArgumentParser
from rig.control.client import ControlClient
from rig.control.reach import Process, lab_processes, local_processes
from rig.control.rules import free_name, table_of_words, tables_of
from rig.errors import MachineError, RigError, UserError
from rig.faults.load import MOST_BYTES, read_text
from rig.faults.phases import PHASES
from rig.faults.plan import Fault, layer_of
from rig.faults.reader import parse_rule
from rig.faults.rules.base import NO_LIMIT, Layer
from rig.faults.rules.endpoint import EndpointFault, Place
from rig.faults.writer import Table

OWNERS = {
    Layer.MEDIUM: "store",
    Layer.DEVICE: "gadget",
    Layer.LINK: "link",
    Layer.MACHINE: "run",
}
"""Which process brings the faults of a layer about; the endpoint layer has two."""
PLACES = {Place.PORT: "back", Place.CABLE: "cable"}
_MENDS = {
    "store": "It serves the disk of a 'rig gadget' on the back machine.",
    "gadget": "It is a 'rig gadget' on the back machine.",
    "back": "It is a 'rig back' on the back machine.",
    "cable": "'rig run --attachment xhci' has one; ehci and ohci, too.",
    "link": (
        "A relay joins a link when the link begins: 'rig run --plan link-ready' has one, as every"
        " plan with a link rule has; elsewhere, start 'rig link' between the two ends."
    ),
    "run": "It is a 'rig run', as long as its workload runs; name its run directory with --lab.",
}
"""Where the process is that a rule has missed."""
BY_NAME = {
    "remove": "removed",
    "arm": "armed",
    "disarm": "disarmed",
    "fire": "fires at its next match, or at once",
}
HANGING = frozenset({"store", "link", "run"})
"""What can let something wait, and release it."""


class Asked:
    """A process that was found, what it has told, and how to ask it more."""

    def __init__(self, process: Process, client: ControlClient) -> None:
        self.where = f"{process.machine}/{process.name}"
        self.name = process.name
        self.client = client
        self.told: dict[str, Any] = client.ask("list")

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The rules, with their counters."""
        rules: list[dict[str, Any]] = self.told["rules"]
        return rules

    @property
    def names(self) -> list[str]:
        """Of the rules."""
        return [rule["rule"]["name"] for rule in self.rules]

    def is_a(self, kind: str) -> bool:
        """Whether it is, say, a ``store``: its name may have a number behind."""
        return self.name == kind or self.name.startswith(f"{kind}-")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = ArgumentParser(
        prog="rig fault",
        description="List, add, remove and fire faults while a run is under way.",
        epilog="On a machine it finds the processes by itself; on the station --lab names the run.",
    )
    common = ArgumentParser(add_help=False)
    common.add_argument(
        "--lab", type=Path, metavar="RUN", help="run directory of a run that is under way"
    )
    common.add_argument("--machine", help="back, front or station; with --lab")
    common.add_argument("--process", help="back, store, gadget, cable, link or run")
    commands = made.add_subparsers(dest="do", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", parents=[common], help="rules, and what they have done")
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    adding = commands.add_parser("add", parents=[common], help="add rules, all or none")
    adding.add_argument("--disarmed", action="store_true", help="they wait for 'arm' or 'fire'")
    adding.add_argument("--file", type=Path, help="a plan, whose [[fault]] tables are taken; -")
    adding.add_argument(
        "words", nargs="*", metavar="KEY=VALUE", help="one rule; or its text in JSON or TOML"
    )
    for do, help_ in (
        ("remove", "forget rules"),
        ("arm", "let rules count and fire"),
        ("disarm", "let rules neither count nor fire"),
        ("fire", "have rules fire at their next match, or at once"),
    ):
        naming = commands.add_parser(do, parents=[common], help=help_)
        naming.add_argument("names", nargs="+", metavar="NAME", help="of a rule")
    commands.add_parser("clear", parents=[common], help="forget all rules")
    commands.add_parser("release", parents=[common], help="end what hangs")
    return made


def main(argv: Sequence[str]) -> int:
    """Run ``rig fault``.

    Returns:
        0.

    Raises:
        UserError: What is asked for cannot be; nothing has changed.
        MachineError: A process or a machine does not answer; the others did as they were told.
    """
    options = parser().parse_args(argv)
    rules = _rules(options) if options.do == "add" else []
    with ExitStack() as stack:
        asked = _ask(_processes(options), stack)
        match options.do:
            case "list":
                _list(asked.living, as_json=options.json)
            case "add":
                _add(asked, rules, armed=not options.disarmed)
            case "clear":
                asked.each(lambda one: _say(one, one.client.ask("clear"), "removed"))
            case "release":
                asked.each(_release)
            case _:
                _by_name(asked, options.do, options.names)
    asked.tell_dead()
    return 0


class Everybody:
    """All processes that were found.

    Args:
        living: Those that answer.
        dead: Why each of the others does not.
    """

    def __init__(self, living: list[Asked], dead: list[MachineError]) -> None:
        self.living = living
        self.dead = dead

    def each(self, do: Callable[[Asked], None]) -> None:
        """Do something to each; one that dies meanwhile is no reason to leave out the others."""
        for one in self.living:
            try:
                do(one)
            except MachineError as error:
                self.dead.append(error)

    def tell_dead(self) -> None:
        """Return if all live.

        Raises:
            MachineError: Some do not.
        """
        if not self.dead:
            return
        others = "The others did as they were told." if self.living else self.dead[0].hint
        raise MachineError(" ".join(error.message for error in self.dead), hint=others)

    def missing(self, error: UserError) -> RigError:
        """Return an error about what no living process has; a dead one may have it."""
        if not self.dead:
            return error
        dead = " ".join(one.message for one in self.dead)
        return MachineError(f"{error.message} {dead}", hint="Nothing has changed.")


def _ask(found: tuple[list[Process], list[MachineError]], stack: ExitStack) -> Everybody:
    processes, dead = found
    living: list[Asked] = []
    for one in processes:
        try:
            living.append(Asked(one, stack.enter_context(one.open())))
        except MachineError as error:
            where = f"'{one.machine}/{one.name}'"
            dead.append(MachineError(f"Process {where} is dead or deaf: {error.message}"))
    return Everybody(living, dead)


def _processes(options: argparse.Namespace) -> tuple[list[Process], list[MachineError]]:
    """Find those that are meant, and say what cannot be looked at."""
    lost: list[MachineError] = []
    if options.lab is not None:
        found, lost = lab_processes(options.lab, options.machine)
    elif options.machine is not None:
        raise UserError(
            "--machine is of a lab.", hint="Name its run directory with --lab, or leave it out."
        )
    else:
        found = local_processes()
    wanted = options.process
    chosen = [one for one in found if wanted in (None, one.name)]
    if chosen or lost:
        return chosen, lost
    if found:
        there = ", ".join(f"{one.machine}/{one.name}" for one in found)
        raise UserError(f"There is no process '{wanted}'.", hint=f"There are: {there}.")
    hint = "--lab names the run directory of a run that is under way." if not options.lab else ""
    raise UserError("No process that brings faults about runs here.", hint=hint)


# What is asked.


def _list(asked: list[Asked], *, as_json: bool) -> None:
    if as_json:
        told = [{"process": one.where, **one.told} for one in asked]
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
        return
    for one in asked:
        phase = f", phase {one.told['phase']}" if one.told["phase"] else ""
        nothing = "" if one.rules else ": no rules"
        print(f"{one.where} ({one.told['layer']}{phase}){nothing}")
        for rule in one.rules:
            print(f"  {_line(rule)}")


def _line(told: dict[str, Any]) -> str:
    """Say what a rule has done, and what it is about."""
    rule = parse_rule(told["rule"])
    limit = "" if told["planned"] == NO_LIMIT else f" of {told['planned']}"
    matches = "1 match" if told["matches"] == 1 else f"{told['matches']} matches"
    done = f"fired {told['fired']}{limit} at {matches}"
    state = "" if told["armed"] else ", disarmed"
    return f"{rule.name:<24} {done:<28}{state}  {rule.words()}"


# What is changed.


def _rules(options: argparse.Namespace) -> list[Fault]:
    """Read and check the rules to be added.

    Raises:
        UserError: They are bad.
    """
    tables: list[Table] = []
    words: list[str] = options.words
    if options.file is not None:
        tables += tables_of(_text(options.file))
    if len(words) == 1 and (words[0].lstrip()[:1] in ("{", "[") or "\n" in words[0]):
        tables += tables_of(words[0])
    elif words:
        tables.append(table_of_words(words))
    if not tables:
        raise UserError("There is no rule to add.", hint="Give KEY=VALUE words, or --file.")
    # Only a run tells phases, as far as is known here; on a machine somebody else may.
    phases = PHASES if options.lab is not None else None
    return [parse_rule(table, phases=phases) for table in tables]


def _text(path: Path) -> str:
    try:
        if str(path) != "-":
            return read_text(path)
        said = sys.stdin.read(MOST_BYTES + 1)  # from whatever it is: a terminal, a socket
    except (OSError, ValueError) as error:
        why = error.strerror or error if isinstance(error, OSError) else error
        raise UserError(f"'{path}' cannot be read: {why}.") from error
    if len(said) > MOST_BYTES:
        raise UserError(f"What comes by standard input has more than {MOST_BYTES >> 20} MiB.")
    return said


def _add(asked: Everybody, rules: list[Fault], *, armed: bool) -> None:
    """Bring each rule to its process; names are looked at before the first one goes."""
    taken = {name for one in asked.living for name in one.names}
    wanted: dict[Asked, list[Table]] = {}
    for rule in rules:
        name = rule.name or free_name(layer_of(rule), taken)
        if name in taken:
            raise UserError(
                f"There is a rule '{name}' already.", hint="Remove it, or name the new one."
            )
        taken.add(name)
        named = msgspec.structs.replace(rule, name=name)
        wanted.setdefault(_owner(asked, named), []).append(msgspec.to_builtins(named))
    done: list[tuple[Asked, str]] = []
    try:
        for one, tables in wanted.items():
            names = one.client.ask("add", rules=tables, armed=armed)
            done += [(one, name) for name in names]
    except RigError:
        for one, name in done:
            one.client.ask("remove", name=name)
        raise
    for one, name in done:
        print(f"{one.where}: {name} added" + ("" if armed else ", disarmed"))


def _owner(asked: Everybody, rule: Fault) -> Asked:
    """Find the one process that brings a rule about.

    Raises:
        UserError: There is none, or several.
        MachineError: There may be one among those that do not answer.
    """
    layer = layer_of(rule)
    kind = PLACES[rule.place] if isinstance(rule, EndpointFault) else OWNERS[layer]
    fitting = [one for one in asked.living if one.is_a(kind)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        there = ", ".join(one.where for one in fitting)
        raise UserError(f"Several could take rule '{rule.name}': {there}.", hint="Say --process.")
    raise asked.missing(
        UserError(
            f"Fault '{rule.name}' needs a process '{kind}', and there is none.", hint=_MENDS[kind]
        )
    )


def _by_name(asked: Everybody, do: str, names: list[str]) -> None:
    owners = {name: _owner_of_name(asked, name) for name in names}
    for name, one in owners.items():
        _say(one, one.client.ask(do, name=name), BY_NAME[do])


def _owner_of_name(asked: Everybody, name: str) -> Asked:
    having = [one for one in asked.living if name in one.names]
    if len(having) == 1:
        return having[0]
    if having:
        there = ", ".join(one.where for one in having)
        raise UserError(f"Several have a rule '{name}': {there}.", hint="Say --process.")
    known = ", ".join(rule for one in asked.living for rule in one.names) or "none"
    raise asked.missing(UserError(f"There is no rule '{name}'.", hint=f"There are: {known}."))


def _release(one: Asked) -> None:
    if any(one.is_a(kind) for kind in HANGING):
        count = one.client.ask("release")["released"]
        print(f"{one.where}: {count} released")


def _say(one: Asked, names: list[str], done: str) -> None:
    for name in names:
        print(f"{one.where}: {name} {done}")
