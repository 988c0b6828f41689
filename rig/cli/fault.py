"""``rig fault``: look at and change the faults of processes that run.

It runs on a machine too, so it imports little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from rig.arguments import ArgumentParser
from rig.control.everybody import Asked, Everybody, release
from rig.control.reach import Process, lab_processes, local_processes
from rig.control.rules import table_of_words, tables_of
from rig.errors import MachineError, UserError
from rig.faults.load import MOST_BYTES, read_text
from rig.faults.phases import PHASES
from rig.faults.plan import Fault
from rig.faults.reader import parse_rule
from rig.faults.rules.base import NO_LIMIT
from rig.faults.writer import Table

BY_NAME = {
    "remove": "removed",
    "arm": "armed",
    "disarm": "disarmed",
    "fire": "fires at its next match, or at once",
}


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
        asked = Everybody.of(*_processes(options), stack)
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
    for one, name in asked.add(rules, armed=armed):
        print(f"{one.where}: {name} added" + ("" if armed else ", disarmed"))


def _by_name(asked: Everybody, do: str, names: list[str]) -> None:
    owners = {name: asked.owner_of_name(name) for name in names}
    for name, one in owners.items():
        _say(one, one.client.ask(do, name=name), BY_NAME[do])


def _release(one: Asked) -> None:
    count = release(one)
    if count is not None:
        print(f"{one.where}: {count} released")


def _say(one: Asked, names: list[str], done: str) -> None:
    for name in names:
        print(f"{one.where}: {name} {done}")
