"""``rig bench``: how fast a disk is over each path, measured in turn on the same two machines.

What else a station does changes its speed by half from minute to minute.  So no figure stands for
itself: the paths are measured in turn, sample by sample, and compared within each round.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rig.errors import UserError
from rig.experiments.bench.paths import SPEEDS, Bench, Disk
from rig.experiments.bench.plan import LONG, QUICK, Part, Row
from rig.experiments.bench.report import Report, RowReport, Sample, row_report
from rig.guest_images.spec import kernel_package
from rig.lab.basis import basis
from rig.lab.environment import Link
from rig.lab.lab import Lab
from rig.lab.netem import set_delay
from rig.lab.paths import PathName
from rig.progress import Progress
from rig.report.record import leave
from rig.splitdriver.policy import Policy

SAMPLE_DEADLINE_S = 300.0
"""For one sample; a SCSI command alone may take 30 s, and is repeated, before the disk fails."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to measure.

    Attributes:
        parts: One after the other.
        speed: A key of `rig.experiments.bench.paths.SPEEDS`.
        kernel: ``6.12`` or ``6.1``.
        policy: The split driver's; None for its own default.
        link: What joins the split driver's two ends.
        lane: Whether they may forward in C what needs no decision.
        memory_mib: Of each machine.
    """

    parts: tuple[Part, ...]
    speed: str
    kernel: str
    policy: str | None = None
    link: Link = Link.VIRTIO
    lane: bool = True
    memory_mib: int = 512


def check_wishes(
    speed: str,
    kernel: str,
    policy: str | None,
    rounds: int | None,
    *,
    quick: bool,
    link: str = Link.VIRTIO,
    lane: bool = True,
) -> Wishes:
    """Return what to measure.

    Args:
        speed: Of the device.
        kernel: ``6.12`` or ``6.1``.
        policy: The split driver's; None for its own default.
        rounds: Of each part; None for the usual number.
        quick: Less, and without a slow link.
        link: ``tcp`` or ``virtio``.  Rows with a slow link are of TCP's alone: that is slowed down.
        lane: Whether the split driver may forward in C.

    Raises:
        UserError: Any of them is not known.
    """
    kernel_package(kernel)
    if speed not in SPEEDS:
        raise UserError(f"There is no speed '{speed}'.", hint=f"Known are: {', '.join(SPEEDS)}.")
    if policy is not None and policy not in list(Policy):
        raise UserError(f"There is no policy '{policy}'.", hint=f"Known are: {', '.join(Policy)}.")
    if link not in list(Link):
        raise UserError(f"There is no link '{link}'.", hint=f"Known are: {', '.join(Link)}.")
    parts: tuple[Part, ...] = QUICK if quick else LONG
    if link == Link.VIRTIO:
        parts = tuple(part for part in parts if not part.delay_ms)
    if rounds is not None:
        parts = tuple(Part(part.rows, rounds) for part in parts)
    return Wishes(parts, speed, kernel, policy, Link(link), lane)


def run(wishes: Wishes, directory: Path, progress: Progress) -> Report:
    """Build what is missing, boot two machines, and measure.

    Args:
        wishes: What to measure.
        directory: Gets the machines' logs, and ``bench.json``.
        progress: Is told of the steps.

    Raises:
        MachineError: The image could not be built, or machines did not do their part.
    """
    image, chosen = basis(wishes.kernel, progress)
    options = ["--policy", wishes.policy] if wishes.policy else []
    options += [] if wishes.lane else ["--no-lane"]
    with Lab.open(
        image, directory, accelerator=chosen, memory_mib=wishes.memory_mib, progress=progress
    ) as lab:
        lab.transition("booted")
        bench = Bench(lab, wishes.speed, wishes.link, options, progress)
        disks = bench.attach()
        rows: list[RowReport] = []
        for part in wishes.parts:
            set_delay(lab, part.delay_ms)
            rows += measure(part, disks, progress)
    report = Report(
        kernel=image.kernel_version,
        accelerator=chosen,
        speed=wishes.speed,
        policy=wishes.policy or "default",
        link=wishes.link if wishes.lane else f"{wishes.link}, without lane",
        rows=tuple(rows),
    )
    leave(report, directory / "bench.json")
    return report


def measure(part: Part, disks: Mapping[PathName, Disk], progress: Progress) -> list[RowReport]:
    """Measure a part.

    Args:
        part: What.
        disks: Of each path.
        progress: Is told of each round.

    Raises:
        MachineError: A disk failed, or a machine did.
    """
    title = f"link +{part.delay_ms} ms, " if part.delay_ms else ""
    with progress.step(f"{title}warm up"):
        for row in part.rows:
            for path in row.paths:
                _sample(row, disks[path], 0)
    samples: dict[Row, dict[PathName, list[Sample]]]
    samples = {row: defaultdict(list) for row in part.rows}
    for number in range(part.rounds):
        with progress.step(f"{title}round {number + 1} of {part.rounds}"):
            for row, path in part.turns(number):
                samples[row][path].append(_sample(row, disks[path], number))
    return [row_report(row, taken) for row, taken in samples.items()]


def _sample(row: Row, disk: Disk, number: int) -> Sample:
    told = disk.agent.ask(
        "time",
        SAMPLE_DEADLINE_S,
        node=disk.node,
        write=row.write,
        request_bytes=row.request_bytes,
        offsets=row.offsets(disk.size_bytes, number),
    )
    return msgspec.convert(told, Sample)
