"""Makes a fault plan of what was done in a session.  Pure.

What counts in a plan is what could fire: a rule that was removed or undone before it did is left
out.  What fired by the clock or by hand gets its moment, counted from the beginning of the writing
phase; what counts matches keeps its trigger.  What is no fault stands in comments at the head.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from rig.faults.phases import PHASES, Phase
from rig.faults.plan import DataClass, Expect, Fault, Head, Plan
from rig.faults.reader import parse_plan
from rig.faults.rules.base import NO_LIMIT, TRIGGERS
from rig.faults.rules.device import DeviceFault, DeviceKind
from rig.faults.shown import printable
from rig.faults.writer import text_of
from rig.integrity.workloads.table import WORKLOADS
from rig.session.doings import Doings
from rig.session.journal import Deed, Entry
from rig.session.making import unused
from rig.session.snapshot import FaultRow, Snapshot

MIB = 1 << 20
LEAST_MIB = 4
"""What a pass of a session writes on each file system if nothing else is said."""
MARK = "# Saved from a manual session: "
"""How the file of such a plan begins."""
LEEWAY_S = 5.0
LEAST_BPS = 2_000_000
"""A machine without KVM writes so quickly when nothing else keeps it busy."""
QUICKER = 1.5
"""A run does not rest between two passes: it writes more in the same time."""
OCTETS_A_MATCH = 128 << 10
"""usb-storage moves no more than 120 KiB by a command."""
SOON = frozenset({DataClass.LOST, DataClass.STALE, DataClass.FOREIGN, DataClass.ZEROED})
"""Which of these it is depends on what was there before."""
_CLASSES = re.compile(rf"\b({'|'.join(DataClass)}): ")
_OLD_DATA = "old data: "
_KEY = re.compile(r"'(\w+)'")


class Settings(msgspec.Struct, frozen=True):
    """What a session began with.

    Attributes:
        plan: Its plan.
        words: Options of ``rig run`` that make the same surroundings, but for the plan, the
            workload, the policy and the size.
        file_systems: How many are written to.
        split: Whether the split driver is there, and with it a policy.
        workload: The first one's name.
        most_mib: How much a run can write on each file system.
    """

    plan: Plan
    words: tuple[str, ...] = ()
    file_systems: int = 1
    split: bool = True
    workload: str = "usual"
    most_mib: int = 256


class Saved(NamedTuple):
    """A plan.

    Attributes:
        text: Of its file.
        sentences: What the person is told.
    """

    text: str
    sentences: tuple[str, ...]


class _Rule:
    """What became of a rule."""

    def __init__(self, rule: Fault) -> None:
        self.rule = rule
        self.hands: list[float] = []
        self.fired = 0
        self.gone = False


def plan_text(settings: Settings, doings: Doings, seen: Snapshot, file: str) -> Saved:
    """Make the plan.

    Args:
        settings: What the session began with.
        doings: What was done.
        seen: How things are.
        file: What it will be called, for the command line that replays it.

    Raises:
        UserError: What comes out is no plan: our own mistake, told with its place.
    """
    entries = [
        entry
        for number, entry in enumerate(doings.journal.entries)
        if not doings.journal.is_struck(number) and entry.undoes < 0
    ]
    told = _told(settings.plan, entries, seen.faults)
    kept, left_out = _kept(told)
    head = _head(settings.plan, seen)
    plan = Plan(**msgspec.structs.asdict(head), faults=tuple(kept))
    changed = [entry.line.split()[1] for entry in entries if entry.line.startswith("workload ")]
    workloads = list(dict.fromkeys([settings.workload, *changed]))
    mib = replay_mib(kept, seen, settings.file_systems, workloads)
    line = shlex.join(_replay(settings, workloads, seen, min(mib, settings.most_mib), file))
    comments = [
        f"Replay: {printable(line)}",
        *(
            f"{entry.at_s:.1f} s: {printable(entry.line)}"
            for entry in entries
            if _is_comment(entry)
        ),
        *(f"Not here, for it never fired: {printable(name)}" for name in left_out),
    ]
    begin = f"{MARK}{printable(seen.verdict) or 'no verdict yet'}\n"
    text = begin + "".join(f"# {comment}\n" for comment in comments) + text_of(plan)
    parse_plan(text, file, PHASES)
    rules = "1 rule is" if len(kept) == 1 else f"{len(kept)} rules are"
    said = [f"{rules} saved in {file}.", f"Replay: {line}"]
    if mib > settings.most_mib:
        said.append(
            "A run may have written everything before the last moments come: it has room for"
            f" {settings.most_mib} MiB on each file system, and they need {mib}."
        )
    return Saved(text, tuple(said))


def _told(plan: Plan, entries: Iterable[Entry], rows: Iterable[FaultRow]) -> list[_Rule]:
    """Say what became of each rule, in the order in which they came."""
    all_rules = [_Rule(rule) for rule in plan.faults]
    living = {one.rule.name: one for one in all_rules}
    for entry in entries:
        if entry.deed is Deed.ADDED:
            added = [_Rule(_from(rule, entry.at_s)) for rule in entry.rules]
            all_rules += added
            living |= {one.rule.name: one for one in added}
        known = [living[name] for name in entry.names if name in living]
        for one in known:
            if entry.deed is Deed.FIRED:
                one.hands.append(entry.at_s)
            if entry.deed is Deed.ARMED:
                one.rule = _from(one.rule, entry.at_s)
        if entry.deed is Deed.REMOVED:
            for one, fired in zip(known, entry.fired, strict=False):
                one.gone, one.fired = True, fired
                del living[one.rule.name]
    there = {row.name: row for row in rows}
    for name, one in living.items():
        row = there.get(name)
        # A rule that nobody has any more, and nobody removed, was used up before its process ended.
        one.fired = row.fired if row is not None else 1
        one.gone = row is not None and not row.armed
    return all_rules


def _from(rule: Fault, at_s: float) -> Fault:
    """Return a rule that goes by the clock from when it was armed on."""
    if rule.at_s is None or rule.phase not in (None, Phase.WRITE):
        return rule
    return msgspec.structs.replace(rule, at_s=max(rule.at_s, round(at_s, 1)))


def _kept(told: Sequence[_Rule]) -> tuple[list[Fault], list[str]]:
    """Return the rules of the plan, and the names of those that are left out."""
    kept: list[Fault] = []
    left_out: list[str] = []
    names: set[str] = set()
    for one in _plugged(told):
        rules = [_by_clock(one.rule, at_s) for at_s in one.hands]
        if one.fired > len(one.hands) or not (one.hands or one.gone):
            rules.insert(0, one.rule)
        if not rules:
            left_out.append(one.rule.name)
        for rule in rules:
            name = unused(rule.name, names)
            names.add(name)
            kept.append(msgspec.structs.replace(rule, name=name, phase=rule.phase or Phase.WRITE))
    return kept, left_out


def _plugged(told: Iterable[_Rule]) -> list[_Rule]:
    """Join an unplugging for ever with the plugging behind it: one rule that lasts so long."""
    joined: list[_Rule] = []
    away: _Rule | None = None
    for one in told:
        rule = one.rule
        if (
            isinstance(rule, DeviceFault)
            and rule.kind is DeviceKind.SOFT_DISCONNECT
            and rule.at_once
        ):
            if rule.for_s == 0:
                if away is not None:
                    for_s = round((rule.at_s or 0.0) - (away.rule.at_s or 0.0), 1)
                    away.rule = msgspec.structs.replace(
                        rule, name=away.rule.name, at_s=away.rule.at_s, for_s=for_s
                    )
                away = None
                continue
            away = one if rule.for_s is None else None
        joined.append(one)
    return joined


def _by_clock(rule: Fault, at_s: float) -> Fault:
    """Return a rule that fires at a moment what another one has fired by hand."""
    changes: dict[str, Any] = dict.fromkeys(TRIGGERS) | {
        "at_s": round(at_s, 1),
        "phase": Phase.WRITE,
    }
    changed = msgspec.structs.replace(rule, **changes, times=1, interval=1, space=0)
    usual = {field.name: field.default for field in msgspec.structs.fields(rule)}
    # What is about events is of no use in a rule that goes by the clock alone.
    while (found := _KEY.search(changed.contradiction())) and found[1] in usual:
        key = found[1]
        if getattr(changed, key) == usual[key]:
            break
        changed = msgspec.structs.replace(changed, **{key: usual[key]})
    return changed


def _head(plan: Plan, seen: Snapshot) -> Head:
    """Return the plan's head: what is expected is what has come out so far."""
    expect, classes = Expect.PASS, _classes(seen.findings)
    if seen.verdict.startswith(Expect.INDETERMINATE):
        expect = Expect.INDETERMINATE
    elif seen.verdict.startswith(Expect.FAIL) and classes:
        expect = Expect.FAIL
    return Head(
        name=f"{plan.name[:50]}-session",
        seed=plan.seed,
        expect=expect,
        classes=classes if expect is Expect.FAIL else (),
        attachment=plan.attachment,
    )


def _classes(findings: Iterable[str]) -> tuple[DataClass, ...]:
    found = {DataClass(name) for finding in findings for name in _CLASSES.findall(finding)}
    if any(_OLD_DATA in finding for finding in findings):
        found.add(DataClass.STALE)
    if found & SOON:
        found |= SOON
    return tuple(one for one in DataClass if one in found)


def _replay(
    settings: Settings, workloads: Iterable[str], seen: Snapshot, mib: int, file: str
) -> list[str]:
    policy = ["--policy", seen.policy.split()[0]] if settings.split and seen.policy else []
    return [
        *("rig", "run", "--plan", file, *settings.words),
        *("--workload", ",".join(workloads), *policy, "--mib", str(mib)),
    ]


def replay_mib(
    kept: Iterable[Fault], seen: Snapshot, file_systems: int, workloads: Iterable[str]
) -> int:
    """Return how much a run must write on each file system so that all rules' turn comes.

    Args:
        kept: The rules.
        seen: Tells how quick the disk was.
        file_systems: How many are written to, one after the other.
        workloads: What is written, one after the other.
    """
    rules = list(kept)
    last_s = max((rule.at_s + LEEWAY_S for rule in rules if rule.at_s is not None), default=0.0)
    counted = (
        max(rule.nth or 0, rule.every or 0, rule.interval) * max(1, rule.times)
        for rule in rules
        if rule.at_s is None and rule.times != NO_LIMIT
    )
    quick = max((sample.written_bps for sample in seen.samples), default=0.0)
    quick = max(quick, LEAST_BPS)
    octets = max(chain([last_s * quick * QUICKER], (n * OCTETS_A_MATCH for n in counted)))
    share = sum(1 / WORKLOADS[name].divisor for name in workloads)
    return max(LEAST_MIB, int(-(-octets // (MIB * file_systems * share))))


def _is_comment(entry: Entry) -> bool:
    return entry.deed in (Deed.OTHER, Deed.DISARMED, Deed.ARMED, Deed.REMOVED)
