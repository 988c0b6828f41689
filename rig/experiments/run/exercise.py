"""What a run does with an attached disk, and what the machines told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import msgspec

from rig.errors import MachineError
from rig.experiments.run.disturbance import Disturbance
from rig.experiments.run.growing_journal import GrowingJournal
from rig.experiments.run.observing import Hung
from rig.experiments.run.options import RunOptions
from rig.experiments.run.passes import LongUse
from rig.experiments.run.places import RANGES_ON_MACHINE, STORE, WISH_ON_MACHINE
from rig.experiments.run.recovered import model_of
from rig.experiments.run.scan_service import Access, JournalDamage, Line, decode_lines
from rig.experiments.run.sitting import Medium, Scene, Sitting
from rig.experiments.run.use import STEP_DEADLINE_S, Use
from rig.integrity.evidence import MediumJournal, Served
from rig.integrity.filemap import FileMap, MappedFile
from rig.integrity.judgement import combine
from rig.integrity.looks import FileLook, SecondLook, Wish
from rig.integrity.model import Model
from rig.integrity.oracle import Arrival, Oracle
from rig.integrity.reread import wanted
from rig.integrity.scan import Run
from rig.lab.daemons import Daemon
from rig.lab.lab import Lab
from rig.report.rundir import RunDirectory
from rig.report.verdict import CheckedFileSystem, Faults, Recovery


@dataclass(slots=True)
class Written:
    """What the machines told, for the oracle."""

    ledger: Model = field(default_factory=Model)
    files: list[MappedFile] = field(default_factory=list)
    host: list[FileLook] = field(default_factory=list)
    medium: list[Run] = field(default_factory=list)
    journal: MediumJournal = field(default_factory=MediumJournal)
    look: SecondLook | None = None
    checks: list[CheckedFileSystem] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    promised: int = 0
    """Stamped sectors that every view must show."""
    faults: Faults = field(default_factory=Faults)


class Exercise:
    """Exercises a disk.

    Args:
        lab: Attached.
        options: What to run.
        run_id: For the stamps.
        directory: Of the run.
        disturbance: What goes wrong meanwhile.
        part: Times and shows a part of the run.
        sitting: Writes for as long as it wants; None: the workloads are run once.
    """

    def __init__(
        self,
        lab: Lab,
        options: RunOptions,
        *,
        run_id: int,
        directory: RunDirectory,
        disturbance: Disturbance,
        part: Callable[[str], AbstractContextManager[None]],
        sitting: Sitting | None = None,
    ) -> None:
        self._sitting = sitting
        self._journal = None if sitting is None else GrowingJournal(directory)
        self._lab = lab
        self._options = options
        self._run_id = run_id
        self._directory = directory
        self._disturbance = disturbance
        self._part = part

    def run(self, workload: Daemon, disk: str) -> Written:
        """Exercise it, from file systems to be made to the disk unmounted.

        Args:
            workload: The daemon on the machine that has the disk; it is stopped.
            disk: The disk's node there.

        Raises:
            MachineError: A machine or a daemon did not do its part.
        """
        kind = Use if self._sitting is None else LongUse
        use = kind(
            workload, self._options, self._run_id, disturbance=self._disturbance, part=self._part
        )
        look = None
        try:
            model, look = self._use(use, workload, disk)
        except Hung as hang:
            # Nothing more can be asked of the host; what the medium holds can be judged still.
            use.give_up_all(hang.sentence)
            self._disturbance.set_phase(None)
            workload.stop()
            model = model_of(workload.events, use.unmapped)
        written = Written(
            ledger=model,
            files=use.files,
            host=use.read,
            look=look,
            checks=use.checks,
            unproven=[*use.unproven, *use.given_up_words()],
            recoveries=use.recoveries,
            promised=sum(
                count for name, count in use.promised_sectors.items() if name not in use.given_up
            ),
            faults=self._disturbance.ask(),
        )
        with self._part("look at the medium"):
            written.medium, written.journal = self._look(written.files)
        return written

    def _use(self, use: Use, workload: Daemon, disk: str) -> tuple[Model, SecondLook | None]:
        with self._part("make file systems"):
            use.prepare(disk)
        self._disturbance.set_phase("write")
        if isinstance(use, LongUse):
            self._sit(use, workload)
        else:
            for name in use.names:
                with self._part(f"write {name}"):
                    use.write(name)
        self._disturbance.set_phase(None)
        with self._part("check and remount"):
            use.check()
        if self._options.interfere is not None:
            self._options.interfere(self._lab, FileMap(use.files))
        self._disturbance.set_phase("read")
        # A file system that its checker calls damaged is a finding already, and may not be mounted.
        for name in use.sound_names:
            with self._part(f"read back {name}"):
                use.read_back(name)
        self._disturbance.set_phase(None)
        model = model_of(workload.events, use.unmapped)  # nothing is promised or lost behind this
        look = self._second_look(use, model, disk)
        with self._part("unmount"):
            use.unmount()
        return model, look

    def _sit(self, use: LongUse, workload: Daemon) -> None:
        assert self._sitting is not None
        scene = Scene(
            self._lab, self._options, self._run_id, use, self._disturbance, workload, self._look
        )
        with self._part("write"):
            self._sitting.write(scene)
            use.end_passes()

    def _second_look(self, use: Use, model: Model, disk: str) -> SecondLook | None:
        """Have the host read again, by two paths, what it saw wrong; None if that was nothing."""
        oracle = Oracle(model, FileMap(use.files), self._run_id)
        again = wanted(combine(oracle.judge_host(one.file_id, one.runs) for one in use.read))
        if not again:
            return None
        with self._part("read again"):
            wish = msgspec.json.encode(Wish(disk, again)).decode()
            local = self._directory.write("reread.json", wish)
            self._lab.client.put(local, WISH_ON_MACHINE)
            told = self._lab.client.run(f"rig reread < {WISH_ON_MACHINE}", STEP_DEADLINE_S)
        # A disk that is gone says nothing more: then the first reading counts alone.
        return msgspec.json.decode(told.stdout, type=SecondLook) if told.status == 0 else None

    def _look(self, files: Sequence[MappedFile]) -> Medium:
        """Have the back machine look at its medium and its journal."""
        ranges = FileMap(files).ranges
        local = self._directory.write("ranges.json", msgspec.json.encode(ranges).decode())
        self._lab.back.put(local, RANGES_ON_MACHINE)
        scan = self._lab.back.check(
            f"rig scan medium {STORE}/medium.img --ranges {RANGES_ON_MACHINE}", STEP_DEADLINE_S
        )
        medium = msgspec.json.decode(scan.stdout, type=list[Run])
        if self._journal is not None:
            return Medium(medium, journal_of(self._journal.look(self._lab.back)))
        journal = self._lab.back.check(
            f"rig scan journal {STORE}/journal.bin", STEP_DEADLINE_S
        ).stdout
        self._directory.write("journal.jsonl", journal)
        return Medium(medium, journal_of(decode_lines(journal)))


def journal_of(lines: Iterable[Line]) -> MediumJournal:
    """Turn what ``rig scan journal`` wrote into what the inquiry wants.

    Raises:
        MachineError: The journal is damaged, or not whole.
    """
    accesses: list[Access] = []
    for number, line in enumerate(lines):
        if isinstance(line, JournalDamage):
            raise MachineError(
                f"The store's journal is damaged at octet {line.position}: {line.damage}"
            )
        if line.sequence != number:
            raise MachineError(f"The store's journal has no record {number}.")
        accesses.append(line)

    def those(op: str) -> list[Access]:
        return [one for one in accesses if one.op == op]

    return MediumJournal(
        [Arrival(one.sequence, one.error, one.runs, one.injected) for one in those("write")],
        [Served(r.sequence, r.lba, r.blocks, r.error, r.injected) for r in those("read")],
        [one.sequence for one in those("flush") if not one.error],
        volatile=any(one.volatile for one in accesses),
        power_cuts=[one.sequence for one in those("power_cut")],
    )
