"""Makes the rules that a session's commands ask for.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count

import msgspec

from rig.control.rules import free_name, table_of_words, tables_of
from rig.errors import UserError
from rig.faults.phases import PHASES
from rig.faults.plan import Fault, layer_of
from rig.faults.reader import parse_rule
from rig.faults.rules.base import Layer
from rig.faults.rules.device import DeviceKind
from rig.faults.rules.machine import DAEMONS, MachineKind, MachineRole
from rig.faults.writer import Table
from rig.session.talk.commands import split
from rig.session.talk.recipes import find, rule_of

MOMENT = {"at_s": 0}
DAEMON_MACHINES = {name.value: role for role, names in DAEMONS.items() for name in names}


def armed_rules(said: str, taken: Collection[str]) -> list[Fault]:
    """Make the rules that ``arm`` asks for.

    Args:
        said: ``KEY=VALUE`` words, or a rule in JSON, or an array of them.
        taken: Names of rules that there are.

    Raises:
        UserError: One is bad.
    """
    text = said.strip()
    tables = tables_of(text) if text[:1] in ("{", "[") else [table_of_words(split(text))]
    names, rules = set(taken), []
    for table in tables:
        rule = parse_rule(table, phases=PHASES)
        if not rule.name:
            rule = msgspec.structs.replace(rule, name=free_name(layer_of(rule), names))
        names.add(rule.name)
        rules.append(rule)
    return rules


def recipe_rule(words: Sequence[str], taken: Collection[str]) -> Fault:
    """Make the rule of a recipe.

    Args:
        words: Its name, and ``KEY=VALUE`` words that change it.
        taken: Names of rules that there are.

    Raises:
        UserError: There is no such recipe, or the changes are bad.
    """
    name, *changes = words
    return rule_of(find(name), table_of_words(changes), unused(name, taken))


def unplug_rule(for_s: float | None, taken: Collection[str]) -> Fault:
    """Make a rule that unplugs the device now; for ever if no time is given."""
    return _now(Layer.DEVICE, "unplug", taken, effect=DeviceKind.SOFT_DISCONNECT, for_s=for_s)


def plug_rule(taken: Collection[str]) -> Fault:
    """Make a rule that plugs in what was unplugged: it happens again, for no time."""
    return _now(Layer.DEVICE, "plug", taken, effect=DeviceKind.SOFT_DISCONNECT, for_s=0)


def power_rule(machine: str, taken: Collection[str]) -> Fault:
    """Make a rule that takes a machine's power away now."""
    kind = MachineKind.POWER_CYCLE
    return _now(Layer.MACHINE, "power-cycle", taken, effect=kind, machine=machine)


def daemon_rule(do: str, daemon: str, for_s: float | None, taken: Collection[str]) -> Fault:
    """Make a rule that kills, stops or restarts a daemon now.

    Args:
        do: ``kill``, ``stop`` or ``restart``.
        daemon: Its name.
        for_s: For how long; None: for as long as is usual.
        taken: Names of rules that there are.

    Raises:
        UserError: There is no such daemon.
    """
    if daemon not in DAEMON_MACHINES:
        known = ", ".join(DAEMON_MACHINES)
        raise UserError(f"There is no daemon '{daemon}'.", hint=f"There are: {known}.")
    kind = MachineKind.STOP_DAEMON if do == "stop" else MachineKind.KILL_DAEMON
    return _now(
        Layer.MACHINE,
        f"{do}-{daemon}",
        taken,
        effect=kind,
        machine=MachineRole(DAEMON_MACHINES[daemon]),
        daemon=daemon,
        for_s=0 if do == "restart" else for_s,
    )


def from_now(rule: Fault, now_s: float) -> Fault:
    """Return the rule as its processes must have it: their clocks began with the workload.

    A rule without a phase counts ``at_s`` from the moment at which it is given; 0 stays, and is at
    once.

    Args:
        rule: As it was asked for.
        now_s: Since the writing phase began.
    """
    if not rule.at_s or rule.phase is not None:
        return rule
    return msgspec.structs.replace(rule, at_s=round(now_s + rule.at_s, 1))


def seconds(word: str) -> float:
    """Read a number of seconds.

    Raises:
        UserError: It is none.
    """
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:  # a day, as in a rule; shuts out infinity and NaN
        raise UserError(f"'{word}' is no number of seconds.", hint="Give 0 to 86400.")
    return value


def whole(word: str) -> int:
    """Read a number of lines or rows.

    Raises:
        UserError: It is none.
    """
    if not (word.isascii() and word.isdigit() and int(word[:9]) > 0 and len(word) < 9):
        raise UserError(f"'{word}' is no number of lines.", hint="Give a whole number from 1 on.")
    return int(word)


def unused(name: str, taken: Collection[str]) -> str:
    """Return a name that nobody has: the wish, or the wish with a number."""
    if name not in taken:
        return name
    return next(f"{name}-{number}" for number in count(2) if f"{name}-{number}" not in taken)


def _now(layer: Layer, name: str, taken: Collection[str], **keys: object) -> Fault:
    table: Table = {"layer": str(layer), "name": unused(name, taken), **MOMENT}
    given = {key: value for key, value in keys.items() if value is not None}
    return parse_rule(table | {key: _plain(value) for key, value in given.items()})


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value
