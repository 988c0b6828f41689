"""``rig hazard``: the hazard of forwarded URBs, made visible; and that a policy keeps it away.

A client on the front machine writes 64 KiB by one SCSI command, its data in four URBs that are
queued at once (`rig.integrity.continuation`).  The first of them is made to fail, the client's
kernel unlinks the others in its completion handler, and the client recovers.  Linux promises that
none of the others has run.  Every block says by its stamp where it belongs, and the medium's
journal where it went, so that what ran nevertheless is seen.

The errors are made by the back end, between its queue and usbfs (`rig.splitdriver.porthook`), or
on the cable, below the driver of the back machine's host controller.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from rig.errors import MachineError
from rig.experiments.hazard.report import Report, Row, Stand
from rig.experiments.hazard.wishes import FIRST_LBA, PLAN_ON_MACHINE, Wishes, phase
from rig.experiments.run.places import STORE
from rig.experiments.run.scan_service import Access, JournalDamage, decode_lines
from rig.integrity.continuation import Outcome, Task
from rig.integrity.scan import Run
from rig.integrity.stamp import SectorKind
from rig.lab.basis import basis
from rig.lab.cable import NAME as CABLE
from rig.lab.daemons import Daemon
from rig.lab.lab import Lab
from rig.lab.netem import delayed
from rig.lab.strategy import LabState
from rig.progress import Progress
from rig.report.record import leave
from rig.splitdriver.policy import Policy

WRITE_DEADLINE_S = 60.0


@dataclass(slots=True)
class _Story:
    """What happened under one policy, by delay."""

    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    stood: dict[int, list[Stand]] = field(default_factory=dict)
    fired: dict[int, int] = field(default_factory=dict)
    resets: dict[int, int] = field(default_factory=dict)


class Hazard:
    """Tries all that was wished in one lab.

    Args:
        lab: In the state ``booted``.
        wishes: What to try.
        progress: Is told of the steps.
    """

    def __init__(self, lab: Lab, wishes: Wishes, progress: Progress) -> None:
        self._lab = lab
        self._wishes = wishes
        self._progress = progress
        self._run_id = time.time_ns()
        self._plan = lab.directory / "plan.toml"
        self._failing = CABLE if wishes.attachment.has_cable else "back"

    def run(self) -> tuple[Row, ...]:
        """Try.

        Returns:
            A row for each policy and delay.

        Raises:
            MachineError: A machine, or the client on it, did not do its part.
        """
        # The machine may have loaded it for a disk; here the client is to have the device alone.
        self._lab.front.check("! [ -d /sys/module/usb_storage ] || modprobe -r usb_storage")
        self._plan.write_text(self._wishes.plan())
        self._lab.back.put(self._plan, PLAN_ON_MACHINE)
        rows: list[Row] = []
        for policy in self._wishes.policies:
            rows += self._under(policy)
        return tuple(rows)

    def _under(self, policy: Policy) -> Iterator[Row]:
        lab, wishes = self._lab, self._wishes
        store = f"{STORE}-{policy}"
        lab.setup = wishes.setup(policy, store, self._plan)
        lab.transition(LabState.ATTACHED)
        client = lab.front.start_daemon(["rig", "continuation"], "continuation")
        client.wait_event("ready", WRITE_DEADLINE_S)
        story = _Story()
        for delay_ms in wishes.delays_ms:
            with (
                self._progress.step(f"{policy}, {delay_ms} ms: {wishes.repetitions} times"),
                delayed(lab, delay_ms),
            ):
                self._repeat(client, delay_ms, story)
        client.stop()
        lab.transition(LabState.BOOTED)
        journal = lab.back.check(f"rig scan journal {store}/journal.bin", WRITE_DEADLINE_S)
        arrivals = self._arrivals(journal.stdout)
        return (
            Row.of(
                policy.value,
                delay_ms,
                outcomes=story.outcomes[delay_ms],
                arrivals=[arrivals[self._number(delay_ms, n)] for n in range(wishes.repetitions)],
                stood=story.stood[delay_ms],
                fired=story.fired[delay_ms],
                resets=story.resets[delay_ms],
            )
            for delay_ms in wishes.delays_ms
        )

    def _repeat(self, client: Daemon, delay_ms: int, story: _Story) -> None:
        back, failing = (self._lab.strategy.daemons[name] for name in ("back", self._failing))
        seen, fired = len(back.events), _fired(failing)
        outcomes = story.outcomes[delay_ms] = []
        for number in range(self._wishes.repetitions):
            failing.ask("phase", name=phase(delay_ms, number))
            task = self._task(self._number(delay_ms, number))
            told = client.ask("write", WRITE_DEADLINE_S, **msgspec.structs.asdict(task))
            outcomes.append(msgspec.convert(told, Outcome))
        failing.ask("phase", name=None)
        story.fired[delay_ms] = _fired(failing) - fired
        events = back.events[seen:]
        story.resets[delay_ms] = sum(1 for event in events if event["event"] == "reset")
        story.stood[delay_ms] = [
            Stand(event["endpoint"], event["stood_s"])
            for event in events
            if event["event"] == "went-on"
        ]

    def _number(self, delay_ms: int, number: int) -> int:
        """Number a repetition, from 1, over all delays: stamps name it."""
        return self._wishes.delays_ms.index(delay_ms) * self._wishes.repetitions + number + 1

    def _task(self, repetition: int) -> Task:
        wishes = self._wishes
        lba = FIRST_LBA + (repetition - 1) * wishes.blocks
        return Task(self._run_id, repetition, lba, wishes.urbs, wishes.urb_bytes, wishes.recovery)

    def _arrivals(self, journal: str) -> dict[int, Counter[str]]:
        """Count, for each repetition, the blocks that reached the medium, right and wrong.

        Raises:
            MachineError: The journal is damaged.
        """
        found: dict[int, Counter[str]] = {}
        for line in decode_lines(journal):
            if isinstance(line, JournalDamage):
                raise MachineError(f"The store's journal is damaged at octet {line.position}.")
            if isinstance(line, Access) and line.op == "write":
                self._count(line.runs, found)
        return _Always(found)

    def _count(self, runs: Iterable[Run], found: dict[int, Counter[str]]) -> None:
        for run in runs:
            if run.kind is SectorKind.STAMP and run.stamp is not None:
                if run.stamp.run_id == self._run_id:
                    kind = "right" if run.stamp.lba == run.sector else "wrong"
                    found.setdefault(run.stamp.generation, Counter())[kind] += run.count
            elif run.kind is not SectorKind.ZERO:
                # No whole stamp: a range belongs to the repetition that was to write there.
                repetition = (run.sector - FIRST_LBA) // self._wishes.blocks + 1
                found.setdefault(repetition, Counter())["wrong"] += run.count


class _Always(dict[int, Counter[str]]):
    """Knows of what never arrived that nothing of it did."""

    def __missing__(self, key: int) -> Counter[str]:
        return Counter()


def _fired(failing: Daemon) -> int:
    return sum(failing.ask("faults")["fired"].values())


def run(wishes: Wishes, directory: Path, progress: Progress) -> Report:
    """Build what is missing, boot two machines, try, and leave ``hazard.json``.

    Args:
        wishes: What to try.
        directory: Gets the machines' logs and the report.
        progress: Is told of the steps.

    Raises:
        MachineError: The image could not be built, or machines did not do their part.
    """
    image, chosen = basis(wishes.kernel, progress)
    with Lab.open(
        image,
        directory,
        accelerator=chosen,
        memory_mib=wishes.memory_mib,
        processors=wishes.processors,
        attachment=wishes.attachment,
        progress=progress,
    ) as lab:
        lab.transition(LabState.BOOTED)
        rows = Hazard(lab, wishes, progress).run()
    report = Report(
        kernel=image.kernel_version,
        accelerator=chosen,
        processors=wishes.processors,
        urbs=wishes.urbs,
        urb_bytes=wishes.urb_bytes,
        when=wishes.when.value,
        recovery=wishes.recovery.value,
        aca_status=wishes.aca_status,
        rows=rows,
    )
    leave(report, directory / "hazard.json")
    return report
