"""What a line that is being typed may become.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from rig.faults.phases import PHASES
from rig.faults.plan import FAULT_TYPES
from rig.faults.wants import choices
from rig.integrity.workloads.table import WORKLOADS
from rig.session.snapshot import Snapshot
from rig.session.talk.commands import COMMANDS, STATUS_TOPICS, WAITS, find
from rig.session.talk.making import DAEMON_MACHINES
from rig.session.talk.recipes import RECIPES
from rig.splitdriver.policy import Policy

MACHINES = ("back", "front")
NUMBER = 0x0F
OPCODES = ("0x28", "0x2A", "0x35")
"""READ(10), WRITE(10), SYNCHRONIZE CACHE(10): what a disk is asked for."""
_FIXED: dict[str, Sequence[str]] = {
    "help": tuple(COMMANDS),
    "status": STATUS_TOPICS,
    "workload": tuple(WORKLOADS),
    "policy": tuple(Policy),
    "shell": MACHINES,
    "log": MACHINES,
    "wait": WAITS,
    "power-cycle": ("back",),
}


def complete(text: str, seen: Snapshot) -> list[str]:
    """Return the lines that a line may become: what it says, and one word more of it.

    Args:
        text: The line up to the cursor.
        seen: Tells which rules, endpoints and file systems there are.
    """
    before, last = _cut(text)
    words = before.split()
    found = [word for word in _offers(words, last, seen) if word.startswith(last)]
    return [before + word for word in dict.fromkeys(found)]


def _cut(text: str) -> tuple[str, str]:
    """Cut a line before its last word."""
    last = text.rsplit(" ", maxsplit=1)[-1]
    return text[: len(text) - len(last)], last


def _offers(words: Sequence[str], last: str, seen: Snapshot) -> Iterable[str]:
    if not words:
        return [f"{name} " if row.most else name for name, row in COMMANDS.items()]
    known = [row for row in COMMANDS.values() if row.name.startswith(words[0])]
    if words[0] not in COMMANDS and len(known) != 1:
        return []
    name, behind = find(words[0]).name, words[1:]
    if name == "arm":
        return _rule_words(behind, last, seen)
    if name == "recipe" and behind:
        recipe = RECIPES.get(behind[0])
        return _rule_words([*recipe.words.split(), *behind[1:]], last, seen) if recipe else ()
    return _names(name, behind, seen)


def _names(name: str, behind: Sequence[str], seen: Snapshot) -> Iterable[str]:
    match name, *behind:
        case ("fire" | "disarm" | "rearm" | "remove",) | ("wait", "fired"):
            return [row.name for row in seen.faults]
        case ("kill" | "stop" | "restart",):
            return DAEMON_MACHINES
        case ("recipe",):
            return RECIPES
    return () if behind else _FIXED.get(name, ())


def _rule_words(words: Iterable[str], last: str, seen: Snapshot) -> Iterable[str]:
    """Offer keys of a rule, or values of a key."""
    given = dict(word.partition("=")[::2] for word in words)
    kind = FAULT_TYPES.get(given.get("layer", ""))
    key, equals, _ = last.partition("=")
    if equals:
        return [f"{key}={value}" for value in _values(kind, key, seen)]
    if kind is None:
        return ["layer="]
    fields = (field.encode_name for field in msgspec.structs.fields(kind))
    return [f"{field}=" for field in fields if field not in given]


def _values(kind: type[msgspec.Struct] | None, key: str, seen: Snapshot) -> Iterable[str]:
    rows = [row for port in seen.ports for row in port.endpoints]
    places = [(row.first_lba, row.first_lba + row.blocks - 1) for row in seen.file_systems]
    known: dict[str, Iterable[str]] = {
        "layer": FAULT_TYPES,
        "phase": PHASES,
        "endpoint": sorted({str(row.address & NUMBER) for row in rows if row.address & NUMBER}),
        "opcode": OPCODES,
        "lba": [f"[{first},{last}]" for first, last in places],
    }
    return known.get(key, () if kind is None else choices(kind, key))
