"""A run whose writing lasts until somebody ends it: what that somebody gets, and must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rig.experiments.run.disturbance import Disturbance
from rig.experiments.run.options import RunOptions
from rig.experiments.run.passes import LongUse
from rig.integrity.evidence import MediumJournal
from rig.integrity.filemap import MappedFile
from rig.integrity.scan import Run
from rig.lab.daemons import Daemon
from rig.lab.lab import Lab


class Medium(NamedTuple):
    """What the back machine saw of its medium.

    Attributes:
        runs: What it holds, by LBA, in the ranges of files.
        journal: What it was asked for.
    """

    runs: list[Run]
    journal: MediumJournal


@dataclass(frozen=True, slots=True)
class Scene:
    """A disk in use, in the phase ``write``.

    Attributes:
        lab: Attached.
        options: What is run.
        run_id: Of the stamps.
        use: Writes and reads; the file systems are made.
        disturbance: What goes wrong.
        workload: The daemon on the machine that has the disk.
        look_at_medium: Has the back machine look at where files lie; raises `MachineError`.
    """

    lab: Lab
    options: RunOptions
    run_id: int
    use: LongUse
    disturbance: Disturbance
    workload: Daemon
    look_at_medium: Callable[[Sequence[MappedFile]], Medium]


class Sitting(Protocol):
    """Writes for as long as it wants.

    Attributes:
        policies: The policies under which the run went after its first, in order, as a verdict
            names them.
        workloads: What was written, in order of the first times.
        notes: What a verdict is to tell of it.
    """

    policies: tuple[str, ...]
    workloads: tuple[str, ...]
    notes: tuple[str, ...]

    def write(self, scene: Scene) -> None:
        """Write; return when that is to end.

        Raises:
            MachineError: A machine or a daemon did not do its part.
            Hung: A call of the workload does not return.
        """
