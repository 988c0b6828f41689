"""``summary.txt``: a run on one page, for people.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rig.report.verdict import FaultRule, Outcome, Verdict

_MOST_FINDINGS = 20


def summarize(verdict: Verdict) -> str:
    """Return the page."""
    return "\n".join(_lines(verdict)) + "\n"


def _lines(verdict: Verdict) -> Iterator[str]:
    yield f"Verdict: {verdict.verdict.upper()}"
    for reason in verdict.reasons[:_MOST_FINDINGS]:
        yield f"  {reason}"
    if (more := len(verdict.reasons) - _MOST_FINDINGS) > 0:
        yield f"  ... and {more} more; verdict.json has them all."
    yield ""
    yield (
        f"Plan {verdict.plan}, seed {verdict.seed}, kernel {verdict.kernel}, {verdict.accelerator}"
    )
    yield ", ".join(
        f"{what} {which}"
        for what, which in (
            ("Driver", verdict.driver),
            ("policy", verdict.policy),
            ("client", verdict.client),
            ("attachment", verdict.attachment),
            ("link", verdict.link),
        )
        if which
    )
    if verdict.verdict is not Outcome.INFRASTRUCTURE:
        yield from _findings_tables(verdict)
    if verdict.notes:
        yield ""
        yield from verdict.notes
    yield ""
    yield "Durations (s)"
    for part, seconds in verdict.durations_s.items():
        yield f"  {part:<28}{seconds:8.1f}"


def _findings_tables(verdict: Verdict) -> Iterator[str]:
    yield ""
    views = list(verdict.views)
    yield f"{'Sectors of 512 bytes':<22}" + "".join(f"{view:>12}" for view in views)
    for sector_class, total in verdict.sectors.items():
        if total or sector_class == "ok":
            counts = "".join(f"{verdict.views[view].get(sector_class, 0):12}" for view in views)
            yield f"  {sector_class:<20}{counts}"
    yield ""
    yield f"Faults: {verdict.faults.fired} fired of {verdict.faults.planned} planned"
    for rule in verdict.faults.rules:
        yield _rule(rule)
    for recovery in verdict.recoveries:
        counts = ", ".join(f"{name} {count}" for name, count in recovery.sectors.items())
        yield f"After the disk had come back, {recovery.fs} had: {counts or 'nothing promised'}"
    if verdict.watched is not None:
        broken = Counter(breach.rule.value for breach in verdict.watched.breaches)
        told = ", ".join(f"rule {rule} broken {count} times" for rule, count in broken.items())
        yield f"URBs: {verdict.watched.urbs} watched, {told or 'no rule broken'}"
    for check in verdict.checks:
        yield f"File system {check.fs}: {'clean' if check.clean else 'DAMAGED'} by its own checker"


def _rule(rule: FaultRule) -> str:
    planned = "any" if rule.planned < 0 else str(rule.planned)
    return f"  {rule.layer:<10}{rule.rule:<28}{rule.fired:4} of {planned}"
