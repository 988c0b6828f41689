"""Whether a run brings enough data for the faults of its plan; and what to give if not.

How many transfers and accesses a run makes nobody knows beforehand: file systems write of their
own.  So there is an estimate of those that carry stamped data, and only what is far beyond it is
called unlikely.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec

from rig.experiments.run.options import RunOptions
from rig.experiments.run.room import most_mib
from rig.faults.phases import Phase
from rig.faults.plan import Fault
from rig.faults.rules.base import Rule
from rig.faults.rules.endpoint import EndpointFault
from rig.faults.rules.medium import MediumFault, MediumOp
from rig.integrity.filesystems import MIB, RAW
from rig.report.verdict import Faults
from rig.usb.bot import CBW_BYTES
from rig.usb.urb import Direction

PIECE_BYTES = 16 * 1024
"""Of an access of the medium, and of a transfer of data at least: ``f_mass_storage`` has buffers of
this size (FSG_BUFLEN, ``storage_common.h``)."""
LEEWAY = {Phase.WRITE: (2.0, 32), Phase.READ: (1.25, 16)}
"""A run may make so many times what is estimated, and so many more for each file system: journals,
tables of blocks, directories."""


def unlikely(options: RunOptions) -> Iterator[str]:
    """Say which faults of the plan will hardly fire, and what to give instead; a sentence each."""
    for rule in options.plan.faults:
        phase = phase_of(rule)
        if phase is None or (needed := _needed(rule)) is None:
            continue
        times, more = LEEWAY[phase]
        comes = _comes(options, phase, _piece_bytes(rule))
        if needed > comes * times + more * len(options.file_systems):
            often = f" {rule.times} times" if rule.times > 1 else ""
            yield (
                f"Fault '{rule.name}' will hardly fire{often}: that takes {needed} matches, and"
                f" {options.bytes_each / MIB:g} MiB bring about {comes}. {_mend(options, rule)}"
            )


def explained(faults: Faults, options: RunOptions) -> Faults:
    """Return what came of the faults, with why some fired less often than planned.

    Args:
        faults: As they were told.
        options: Of the run, which has written all that it was to write.
    """
    rules = {rule.name: rule for rule in options.plan.faults}
    told = [
        msgspec.structs.replace(one, why=_why(rules[one.rule], options))
        if one.missed and one.rule in rules
        else one
        for one in faults.rules
    ]
    return msgspec.structs.replace(faults, rules=tuple(told))


def phase_of(rule: Fault) -> Phase | None:
    """Return in which phase stamped data bring a rule its matches; None if nobody knows."""
    match rule:
        case MediumFault(op=MediumOp.WRITE) | EndpointFault(direction=Direction.OUT):
            phase = Phase.WRITE
        case MediumFault(op=MediumOp.READ) | EndpointFault(direction=Direction.IN):
            phase = Phase.READ
        case _:
            return None
    if isinstance(rule, EndpointFault) and (rule.stage or rule.min_bytes <= CBW_BYTES):
        return None  # how many commands there are is up to the host
    return phase if rule.phase == phase and rule.max_bytes is None else None


def _needed(rule: Rule[Any, Any]) -> int | None:
    """How many matches it takes until a rule has fired as often as planned; None if chance says."""
    count = rule.nth or rule.every
    if count is None:
        return None
    times = max(rule.times, 1)
    passed = rule.space // _piece_bytes(rule)
    return passed + (count + times - 1 if rule.nth else count * times)


def _piece_bytes(rule: Rule[Any, Any]) -> int:
    return max(PIECE_BYTES, getattr(rule, "min_bytes", None) or 0)


def _comes(options: RunOptions, phase: Phase, piece_bytes: int) -> int:
    """Estimate how many transfers, or accesses, of stamped data a phase has."""
    total = 0.0
    for kind in options.workloads:
        share = 1 + (kind.passes - 1) / kind.again if phase is Phase.WRITE else 1
        for name in options.file_systems:
            total += share * kind.sizes(options.bytes_each, raw=name == RAW.name)["bytes_total"]
    return int(total / piece_bytes)


def _why(rule: Fault, options: RunOptions) -> str:
    """Say why a rule fired less often than planned, and the mend; empty if nobody knows."""
    if rule.at_s is not None:
        then = "its phase was shorter" if rule.at_once else "no match came then"
        return f"it waits for {rule.at_s:g} s, and {then}. {_mend(options, rule)}"
    if rule.probability is not None:
        return f"each match had a chance of {rule.probability:g} only. {_mend(options, rule)}"
    behind = f" behind {rule.space} bytes" if rule.space else ""
    if rule.every is not None:
        waits = f"for every {rule.every}th match"
        waits += f", {rule.times} times" if rule.times > 1 else ""
    else:
        last = (rule.nth or 1) + max(rule.times, 1) - 1
        waits = f"for match {rule.nth}" + (f" and those up to {last}" if last != rule.nth else "")
    return f"it waits {waits}{behind}, and fewer came. {_mend(options, rule)}"


def _mend(options: RunOptions, rule: Fault) -> str:
    """Return a sentence that says which --mib brings enough."""
    most = most_mib(len(options.file_systems), options.workloads)
    larger = range(options.bytes_each // MIB + 1, most + 1)
    mib = next((mib for mib in larger if _suffices(options, rule, mib)), None)
    if mib is None:
        return "No --mib brings enough: let the rule wait for less."
    return f"Give --mib {mib} or more, or let the rule wait for less."


def _suffices(options: RunOptions, rule: Fault, mib: int) -> bool:
    phase, needed = phase_of(rule), _needed(rule)
    if phase is None or needed is None or _comes(options, phase, _piece_bytes(rule)) >= needed:
        return mib * MIB >= 2 * options.bytes_each  # no estimate, or a wrong one: twice as much
    larger = dataclasses.replace(options, bytes_each=mib * MIB)
    return _comes(larger, phase, _piece_bytes(rule)) >= needed
