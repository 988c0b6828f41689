"""Makes snapshots of what the sitting does and the watch has seen."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from rig.experiments.run.options import RunOptions
from rig.experiments.run.watching import Watching
from rig.faults.rules.base import BLOCK_BYTES
from rig.report.rundir import RunDirectory
from rig.report.verdict import Verdict
from rig.session.live.findings import Verified, so_far
from rig.session.live.sitting import Sitting
from rig.session.live.watch import Watch
from rig.session.snapshot import (
    MOUNTED,
    UP,
    FileSystemRow,
    Mode,
    Snapshot,
    WorkloadRow,
)

MACHINES = ("back", "front")
SHORTEST_S = 0.1
"""Of an absence that is seen just now."""


class View:
    """Sees a session.

    Args:
        options: What is run.
        directory: Of the run.
        sitting: Does it.

    Attributes:
        watch: Sees the rig; None: there is none yet.
        verified: What came of the last reading of everything.
        verdict: What the run came to; None while it lasts.
        watching: Judges the URBs; None: nobody does.
        step: What is done while there is nothing to watch yet.
    """

    def __init__(self, options: RunOptions, directory: RunDirectory, sitting: Sitting) -> None:
        self.watch: Watch | None = None
        self.verified = Verified()
        self.verdict: Verdict | None = None
        self.watching: Watching | None = None
        self.step = ""
        self._away_since_s: float | None = None
        self._options = options
        self._directory = directory
        self._sitting = sitting

    def snapshot(self, at_s: float) -> Snapshot:
        """Return how things are.

        Args:
            at_s: The moment, in seconds since the session began.
        """
        watch, sitting = self.watch, self._sitting
        words = sitting.words
        if self.step and sitting.mode in (Mode.STARTING, Mode.ENDING):
            words = f"{words.rstrip('.')}: {self.step}."
        seen = Snapshot(
            at_s=at_s,
            mode=sitting.mode,
            words=words,
            away=sitting.away,
            looked_s=self._looked_s(at_s),
            directory=str(self._directory.path),
            policy=sitting.policies[-1] if sitting.policies else self._options.policy_words,
            disk_blocks=self._options.lun_bytes // BLOCK_BYTES,
            file_systems=self._file_systems(),
            workload=self._workload(),
            verdict=self._verdict_words(),
            findings=self._findings(),
        )
        return self._with_absence(seen if watch is None else _with(seen, watch))

    def _looked_s(self, at_s: float) -> float | None:
        scene = self._sitting.scene
        looked_s = scene.use.looked_s if scene is not None else None
        return None if looked_s is None else at_s - (time.monotonic() - looked_s)

    def _with_absence(self, seen: Snapshot) -> Snapshot:
        """Say for how long the disk has been away, and that its file systems are of no use."""
        writes = seen.mode in (Mode.LIVE, Mode.PAUSED, Mode.VERIFYING)
        if not (writes and (seen.away or disk_is_away(seen))):
            self._away_since_s = None
            return seen
        if self._away_since_s is None:
            self._away_since_s = seen.at_s
        away_s = max(seen.at_s - self._away_since_s, SHORTEST_S)
        rows = tuple(_unusable(row, away_s) for row in seen.file_systems)
        return msgspec.structs.replace(seen, away_s=away_s, file_systems=rows)

    def _workload(self) -> WorkloadRow:
        sitting = self._sitting
        use = sitting.scene.use if sitting.scene is not None else None
        return WorkloadRow(
            sitting.kind.name,
            sitting.file_system,
            sitting.passes,
            0 if use is None else use.octets,
            "" if self.watch is None else self.watch.step,
        )

    def _file_systems(self) -> tuple[FileSystemRow, ...]:
        sitting = self._sitting
        given_up = sitting.scene.use.given_up if sitting.scene is not None else {}
        return tuple(
            FileSystemRow(
                one.fs,
                one.node,
                one.start_lba,
                one.count,
                f"given up: {given_up[one.fs]}" if one.fs in given_up else MOUNTED,
            )
            for one in list(sitting.places)
        )

    def _findings(self) -> tuple[str, ...]:
        if self.verdict is not None:
            return tuple(finding.sentence for finding in self.verdict.findings)
        return (*self._broken(), *self._recovered(), *self.verified.findings)

    def _broken(self) -> tuple[str, ...]:
        """The rules that URBs have broken, as the monitors see them on line."""
        if self.watching is None:
            return ()
        events = [event for end in MACHINES for event in self.watching.events(end)]
        return tuple(f"URBs, rule {e['broken']} is broken: {e['text']}" for e in events)

    def _recovered(self) -> tuple[str, ...]:
        """What was wrong after the disk had come back, before anything was written again."""
        scene = self._sitting.scene
        recoveries = list(scene.use.recoveries) if scene is not None else []
        return tuple(finding.sentence for one in recoveries for finding in one.findings)

    def _verdict_words(self) -> str:
        if self.verdict is not None:
            reasons: Sequence[str] = self.verdict.reasons
            return f"{self.verdict.verdict}: {reasons[0]}" if reasons else str(self.verdict.verdict)
        sitting = self._sitting
        broken = sitting.words if sitting.mode is Mode.BROKEN else ""
        use = sitting.scene.use if sitting.scene is not None else None
        given_up = [] if use is None else list(use.given_up_words())
        return so_far(self._findings(), given_up, broken)


def disk_is_away(seen: Snapshot) -> bool:
    """Whether machines and ports show that there can be no disk now."""
    gone = any(row.device is None or not row.linked for row in seen.ports)
    return gone or any(row.state != UP for row in seen.machines)


def _unusable(row: FileSystemRow, away_s: float) -> FileSystemRow:
    if row.state != MOUNTED:
        return row
    state = f"unusable: the disk has been away for {away_s:.0f} s"
    return msgspec.structs.replace(row, state=state)


def _with(seen: Snapshot, watch: Watch) -> Snapshot:
    return msgspec.structs.replace(
        seen,
        machines=watch.machines,
        ports=watch.ports,
        samples=tuple(watch.samples),
        urbs=watch.urbs(),
        faults=watch.faults,
        log=tuple(watch.log),
        told=tuple(watch.told),
    )
