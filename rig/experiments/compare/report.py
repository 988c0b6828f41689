"""What the comparison found: counts and durations.  No I/O."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

import msgspec

from rig.integrity.judgement import SectorClass, View
from rig.lab.paths import PathName
from rig.report.verdict import Outcome, Verdict
from rig.splitdriver.policy import Policy

_LOST = (SectorClass.LOST, SectorClass.STALE, SectorClass.ZEROED)


class Subject(msgspec.Struct, frozen=True, order=True):
    """Who carries the disk.

    Attributes:
        attachment: What the gadget is plugged into.
        driver: Who carries it from there.
        policy: Of the split driver; empty for another.
    """

    attachment: str
    driver: PathName
    policy: str = ""

    @property
    def name(self) -> str:
        """As people call it."""
        match self.driver:
            case PathName.SPLIT:
                return f"split, {self.policy}"
            case PathName.USBIP:
                return "the kernel's USB/IP"
            case PathName.DIRECT:
                return "no split driver"

    @property
    def slug(self) -> str:
        """As a directory is called."""
        return "-".join(filter(None, (self.driver, self.policy)))


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """All repetitions with one subject.

    Attributes:
        subject: Who carried the disk.
        statuses: Of the endpoint errors that were made.
        runs: Repetitions that came to a verdict about the data.
        broken: Repetitions that came to none, and why: each sentence and how often.
        fired: Repetitions in which every planned fault fired.
        verdicts: How often each verdict was given.
        wrong_runs: Repetitions in which a write arrived at an LBA where it does not belong.
        wrong_blocks: Blocks of 512 octets that did, all together.
        lost_runs: Repetitions in which an acknowledged write was not there in the end.
        resets: Of the device, by its host: median of the repetitions.
        recovery_s: From a failed command to its success: median of all; None if none was seen.
        longest_s: The longest of these.
        command: That measured the row; empty: that of the report.
        date: When; likewise.
    """

    subject: Subject
    statuses: tuple[str, ...]
    runs: int
    broken: dict[str, int]
    fired: int
    verdicts: dict[str, int]
    wrong_runs: int
    wrong_blocks: int
    lost_runs: int
    resets: float
    recovery_s: float | None = None
    longest_s: float | None = None
    command: str = ""
    date: str = ""

    @classmethod
    def of(cls, subject: Subject, statuses: tuple[str, ...], verdicts: Sequence[Verdict]) -> Row:
        """Add up the verdicts of all repetitions."""
        judged = [one for one in verdicts if one.verdict is not Outcome.INFRASTRUCTURE]
        broken = [one for one in verdicts if one.verdict is Outcome.INFRASTRUCTURE]
        wrong = [_seen(one, (View.ARRIVAL,), (SectorClass.MISDIRECTED,)) for one in judged]
        lost = [_seen(one, (View.HOST, View.MEDIUM), _LOST) for one in judged]
        recoveries = [one_s for one in judged for one_s in one.host.recoveries_s]
        return cls(
            subject=subject,
            statuses=statuses,
            runs=len(judged),
            broken=dict(Counter(" ".join(one.reasons) for one in broken)),
            fired=sum(not any(rule.missed for rule in one.faults.rules) for one in judged),
            verdicts=dict(Counter(one.verdict.value for one in judged)),
            wrong_runs=sum(map(bool, wrong)),
            wrong_blocks=sum(wrong),
            lost_runs=sum(map(bool, lost)),
            resets=statistics.median(one.host.resets for one in judged) if judged else 0,
            recovery_s=round(statistics.median(recoveries), 3) if recoveries else None,
            longest_s=max(recoveries, default=None),
        )

    @property
    def clean(self) -> bool:
        """Whether all was tried, and nothing was at a wrong LBA or lost."""
        return self.fired == self.runs > 0 and not (self.wrong_runs or self.lost_runs)


def _seen(verdict: Verdict, views: Sequence[View], classes: Sequence[SectorClass]) -> int:
    return sum(verdict.views.get(view, {}).get(one, 0) for view in views for one in classes)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``compare.json`` holds.

    Attributes:
        command: That asked for it, for the first of its rows if they are of several.
        date: When; likewise.
        plan: The plan's name.
        client: Who used the disk.
        file_systems: On it.
        delay_ms: Of the link between the machines, each way.
        kernel: The machines' kernel.
        accelerator: ``kvm`` or ``tcg``.
        repetitions: Of each row.
        rows: One a subject.
        without: Subjects that have no place where the plan's faults can be made, and why.
    """

    command: str
    date: str
    plan: str
    client: str
    file_systems: tuple[str, ...]
    delay_ms: int
    kernel: str
    accelerator: str
    repetitions: int
    rows: tuple[Row, ...] = ()
    without: dict[str, str] = {}

    @property
    def held(self) -> list[Row]:
        """The rows of policy hold."""
        return [row for row in self.rows if row.subject.policy == Policy.HOLD]
