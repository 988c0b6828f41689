"""Makes a fault plan of what was done in a session.  Pure.

What counts in a plan is what could fire: a rule that was removed or undone before it did is left
out.  What fired by the clock or by hand gets its moment, counted from the beginning of the writing
phase; what counts matches keeps its trigger.  What is no fault stands in comments at the head.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import msgspec

from rig.faults.phases import PHASES
from rig.faults.plan import DataClass, Expect, Fault, Head, Plan
from rig.faults.reader import parse_plan
from rig.faults.rules.base import NO_LIMIT
from rig.faults.shown import printable
from rig.faults.writer import text_of
from rig.integrity.workloads.table import WORKLOADS
from rig.session.snapshot import Snapshot
from rig.session.talk.doings import Doings
from rig.session.talk.journal import Deed, Entry
from rig.session.talk.kept import kept_rules

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
_TOO_LATE = (
    "A run may have written everything before the last moments come: it has room for {} MiB on each"
    " file system, and they need {}."
)


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
    kept, left_out = kept_rules(settings.plan, entries, seen.faults)
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
    too_late = [_TOO_LATE.format(settings.most_mib, mib)] if mib > settings.most_mib else []
    return Saved(text, (f"{rules} saved in {file}.", f"Replay: {line}", *too_late))


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
