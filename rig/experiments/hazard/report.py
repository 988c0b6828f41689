"""What the hazard experiment found: counts and durations.  No I/O."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

import msgspec

from rig.integrity.continuation import Outcome
from rig.usb.urb import DIRECTION_IN


class Stand(msgspec.Struct, frozen=True):
    """An endpoint of the back end has stopped, and has gone on.

    Attributes:
        endpoint: Its address.
        stood_s: So long did nothing start there.
    """

    endpoint: int
    stood_s: float


class Spread(msgspec.Struct, frozen=True):
    """Durations in s.

    Attributes:
        count: How many.
        median_s: Half are shorter.
        worst_s: The longest.
    """

    count: int
    median_s: float
    worst_s: float

    @classmethod
    def of(cls, durations_s: Sequence[float]) -> Spread:
        """Describe durations; none gives zeros."""
        if not durations_s:
            return cls(0, 0.0, 0.0)
        return cls(len(durations_s), round(statistics.median(durations_s), 6), max(durations_s))


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """All repetitions of one policy and delay.

    Attributes:
        policy: The policy.
        delay_ms: Of the link, each way.
        runs: Repetitions.
        fired: Errors that were made; one in each repetition.
        runs_wrong: Repetitions with a block at a wrong LBA.
        blocks_wrong: Blocks of 512 octets at a wrong LBA, as they reached the medium.
        resets: Port resets that reached the device.
        ran_behind: Repetitions in which a piece behind the failed one has moved data.
        statuses: How often the pieces ended in which statuses, the first piece's first.
        stopped: How long the data endpoint stood still (policies with a stop).
        failed: From the first submit until the client had all pieces back.
        recovered: From then until the device took commands again, the reset included.
    """

    policy: str
    delay_ms: int
    runs: int
    fired: int
    runs_wrong: int
    blocks_wrong: int
    resets: int
    ran_behind: int
    statuses: dict[str, int]
    stopped: Spread
    failed: Spread
    recovered: Spread

    @classmethod
    def of(
        cls,
        policy: str,
        delay_ms: int,
        *,
        outcomes: Sequence[Outcome],
        arrivals: Sequence[Counter[str]],
        stood: Sequence[Stand],
        fired: int,
        resets: int,
    ) -> Row:
        """Add up what the repetitions told and what arrived of each."""
        out = [
            stand.stood_s for stand in stood if stand.endpoint and not stand.endpoint & DIRECTION_IN
        ]
        return cls(
            policy=policy,
            delay_ms=delay_ms,
            runs=len(outcomes),
            fired=fired,
            runs_wrong=sum(1 for one in arrivals if one["wrong"]),
            blocks_wrong=sum(one["wrong"] for one in arrivals),
            resets=resets,
            ran_behind=sum(1 for one in outcomes if any(one.moved_bytes[1:])),
            statuses=dict(Counter(" ".join(one.statuses) for one in outcomes).most_common()),
            stopped=Spread.of(out),
            failed=Spread.of([one.failed_after_s for one in outcomes]),
            recovered=Spread.of([one.ready_after_s for one in outcomes]),
        )

    @property
    def clean(self) -> bool:
        """Whether every repetition had its error, and none had a block at a wrong LBA."""
        return self.fired == self.runs > 0 and self.runs_wrong == 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``hazard.json`` holds.

    Attributes:
        kernel: The machines' kernel.
        accelerator: ``kvm`` or ``tcg``.
        processors: Of each machine.
        urbs: Pieces of data in flight.
        urb_bytes: Of each.
        when: When the first one failed.
        recovery: What the client did then.
        aca_status: What policy `aca` failed URBs with.
        rows: A row for each policy and delay.
    """

    kernel: str
    accelerator: str
    processors: int
    urbs: int
    urb_bytes: int
    when: str
    recovery: str
    aca_status: str
    rows: tuple[Row, ...]
