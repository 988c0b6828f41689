"""The verdict of a run: what is said, and why.  Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rig.integrity.judgement import Finding, Judgement, SectorClass, combine
from rig.integrity.monitors.breach import Breach
from rig.report.chain import Chain
from rig.report.reasons import wrong_data


class Outcome(StrEnum):
    """What a run says."""

    PASS = "pass"  # noqa: S105
    """Every acknowledged sector holds what it must, in every view."""
    FAIL = "fail"
    """Data is not where it belongs, or a file system is damaged."""
    INDETERMINATE = "indeterminate"
    """Nothing is wrong, but the run did not prove what it was to prove."""
    INFRASTRUCTURE = "infrastructure"
    """A machine or a program did not do its part; nothing is said about the data."""


class FaultRule(msgspec.Struct, frozen=True):
    """One rule of the plan, and how often it fired.

    Attributes:
        rule: Its name.
        layer: Where it applies.
        planned: How often it was to fire; -1 for no limit.
        fired: How often it did.
        why: Why that was less often, and the mend, in sentences; empty if nobody knows.
    """

    rule: str
    layer: str
    planned: int
    fired: int
    why: str = ""

    @property
    def missed(self) -> bool:
        """Whether it fired less often than planned; without a limit, once will do."""
        return self.fired < (1 if self.planned < 0 else self.planned)


class Faults(msgspec.Struct, frozen=True):
    """All faults of a run.

    Attributes:
        planned: Firings that the rules with a limit allow.
        fired: Firings.
        rules: Each rule.
    """

    planned: int = 0
    fired: int = 0
    rules: tuple[FaultRule, ...] = ()

    @classmethod
    def of(cls, rules: tuple[FaultRule, ...]) -> Faults:
        """Add up rules."""
        planned = sum(max(rule.planned, 0) for rule in rules)
        return cls(planned, sum(rule.fired for rule in rules), rules)


class CheckedFileSystem(msgspec.Struct, frozen=True):
    """What the file system's own checker said."""

    fs: str
    clean: bool
    status: int
    output: str


class Recovery(msgspec.Struct, frozen=True):
    """What the host read of a file system after its disk had come back, before it wrote again.

    Attributes:
        fs: Which.
        sectors: Of each class that occurred; ``ok`` were promised by fsync before.
        findings: What of it is not as it must be.
    """

    fs: str
    sectors: dict[SectorClass, int]
    findings: tuple[Finding, ...] = ()


class Watched(msgspec.Struct, frozen=True):
    """What the monitors (`rig.integrity.monitors`) made of both ends' logs of URBs.

    Attributes:
        urbs: How many there were.
        breaches: Rules that were broken, in order.
    """

    urbs: int
    breaches: tuple[Breach, ...] = ()


class Evidence(msgspec.Struct, frozen=True):
    """All that a verdict rests on.

    Attributes:
        views: A judgement a view: ``host``, ``medium``, ``arrival``.
        checks: Of each file system, after unmounting.
        faults: What was planned, and fired.
        unproven: Sentences that say what else the run did not do that it was to do.
        promised: Stamped sectors that every view must show.
        recoveries: What was there after each time that the disk came back.
        watched: What the monitors saw of the split driver's URBs; None: there is no log of them.
    """

    views: dict[str, Judgement]
    checks: tuple[CheckedFileSystem, ...] = ()
    faults: Faults = Faults()
    unproven: tuple[str, ...] = ()
    promised: int = 0
    recoveries: tuple[Recovery, ...] = ()
    watched: Watched | None = None


class HostSide(msgspec.Struct, frozen=True):
    """What the host with the workload had to do behind errors.

    Attributes:
        resets: Of the device, by its driver.
        recoveries_s: From a command that failed to its success, each; of a client that tells.
        longest_d_state_s: The longest that any of its tasks was seen in state D, at least.
    """

    resets: int = 0
    recoveries_s: tuple[float, ...] = ()
    longest_d_state_s: float = 0.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What ``verdict.json`` holds.

    Attributes:
        verdict: What is said.
        reasons: Why, a sentence each; empty for a pass.
        sectors: Sectors of each class, all views together.
        views: The same a view.
        findings: Each thing that is wrong.
        checks: The file systems' checkers.
        faults: Planned and fired.
        durations_s: Of each part of the run, and ``total``.
        kernel: The machines' kernel.
        policy: The split driver's recovery policy; empty for another driver.
        seed: Of the plan and the workload.
        plan: The plan's name.
        file_systems: In the order of their partitions.
        attachment: What the gadget was plugged into, as ``--attachment`` names it; empty in
            what a rig wrote that did not tell.
        driver: Who carried the device to the workload: split, usbip or direct; likewise.
        client: Who used it there: usb-storage or deep-queue; likewise.
        link: What joined the two ends of the split driver; likewise.
        accelerator: ``kvm`` or ``tcg``.
        boot_retries: Boots that had to be tried again.
        rig_version: Of this rig.
        host: What the host had to do.
        workloads: What was written, in this order, on each file system.
        recoveries: What the host read after its disk had come back, before it wrote again.
        notes: Sentences about what else was seen; they change nothing.
        watched: What the monitors saw of the split driver's URBs, if there is a log of them.
        chains: How the first wrong writes came about.
    """

    verdict: Outcome
    reasons: tuple[str, ...]
    sectors: dict[SectorClass, int]
    views: dict[str, dict[SectorClass, int]]
    findings: tuple[Finding, ...]
    checks: tuple[CheckedFileSystem, ...]
    faults: Faults
    durations_s: dict[str, float]
    kernel: str
    policy: str
    seed: int
    plan: str
    file_systems: tuple[str, ...]
    accelerator: str
    boot_retries: int
    rig_version: str
    driver: str = ""
    client: str = ""
    attachment: str = ""
    link: str = ""
    host: HostSide = HostSide()
    workloads: tuple[str, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    notes: tuple[str, ...] = ()
    watched: Watched | None = None
    chains: tuple[Chain, ...] = ()


def decide(evidence: Evidence) -> tuple[Outcome, tuple[str, ...]]:
    """Return what the evidence says, and why.

    Wrong data comes before everything; then what the run failed to prove.  Planned faults that did
    not fire make a run indeterminate: it did not test what it was to test.
    """
    wrong = wrong_data(evidence.views.values())
    wrong += [
        f"After the disk had come back: {finding.sentence}"
        for recovery in evidence.recoveries
        for finding in recovery.findings
    ]
    wrong += [f"{c.fs} is damaged: {_last_line(c.output)}" for c in evidence.checks if not c.clean]
    if evidence.watched is not None:
        wrong += [f"URBs, rule {b.rule} is broken: {b.text}" for b in evidence.watched.breaches]
    if wrong:
        return Outcome.FAIL, tuple(wrong)
    unproven = list(evidence.unproven)
    open_sectors = combine(evidence.views.values()).counts[SectorClass.INDETERMINATE]
    if open_sectors:
        unproven.append(
            f"{open_sectors} sectors were never confirmed by fsync: old and new are both legal."
        )
    for view, judgement in evidence.views.items():
        seen = judgement.counts[SectorClass.OK] + judgement.counts[SectorClass.INDETERMINATE]
        if seen < evidence.promised:
            unproven.append(f"The {view} view shows {seen} of {evidence.promised} stamped sectors.")
    unproven += [_missed(rule) for rule in evidence.faults.rules if rule.missed]
    return (Outcome.INDETERMINATE if unproven else Outcome.PASS), tuple(unproven)


def _missed(rule: FaultRule) -> str:
    fired = "never fired" if rule.planned < 0 else f"fired {rule.fired} times of {rule.planned}"
    return f"Fault '{rule.rule}' {fired}" + (f": {rule.why}" if rule.why else ".")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "its checker said nothing"
