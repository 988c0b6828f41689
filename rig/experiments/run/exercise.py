"""What a run does with an attached disk: write, check, read back, look at what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rig.errors import CommandFailure, MachineError
from rig.experiments.run.disturbance import Disturbance
from rig.experiments.run.options import RunOptions
from rig.experiments.run.places import RANGES_ON_MACHINE, STORE, WISH_ON_MACHINE
from rig.experiments.run.scan_service import Access, JournalDamage, Line, decode_lines
from rig.integrity.evidence import MediumJournal, Served
from rig.integrity.filemap import FileMap, MappedFile
from rig.integrity.filesystems import MIB
from rig.integrity.judgement import combine
from rig.integrity.ledger import decode_events
from rig.integrity.looks import SecondLook, Wish
from rig.integrity.model import Model
from rig.integrity.oracle import Arrival, Oracle
from rig.integrity.reread import wanted
from rig.integrity.scan import Run
from rig.lab.daemons import Daemon
from rig.lab.lab import Lab
from rig.report.rundir import RunDirectory
from rig.report.verdict import CheckedFileSystem, Faults

FILES = 2
BLOCK_BYTES = MIB
FLUSH_BYTES = 4 * MIB
"""Files on each file system, and sizes of a write call and of what one fsync confirms.

Emulated, every SCSI command costs 20 ms or more, whatever its size: smaller ones would test the
same with more waiting."""

WRITINGS = 3
READINGS = 3
"""Of one file system, if the disk goes away meanwhile; what has no disk cannot be read at all."""

STEP_DEADLINE_S = 300.0
"""For one step of the workload.  A SCSI command that gets no answer is retried for 30 s, five
times; after that the kernel gives the disk up and the step ends with errors."""


class FileRead(msgspec.Struct):
    """What the host read of one file."""

    file_id: int
    runs: list[Run]


class _WriteOutcome(msgspec.Struct):
    """How the workload went, as far as the verdict depends on it."""

    stopped: str
    given_up_blocks: int

    @property
    def incomplete(self) -> bool:
        """Whether something of it is not confirmed."""
        return bool(self.stopped or self.given_up_blocks)


@dataclass(slots=True)
class Written:
    """What the machines told, for the oracle."""

    ledger: Model = field(default_factory=Model)
    files: list[MappedFile] = field(default_factory=list)
    host: list[FileRead] = field(default_factory=list)
    medium: list[Run] = field(default_factory=list)
    journal: MediumJournal = field(default_factory=MediumJournal)
    look: SecondLook | None = None
    checks: list[CheckedFileSystem] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
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
    ) -> None:
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
        written = Written()
        names = self._options.file_systems
        with self._part("make file systems"):
            workload.ask(
                "prepare",
                STEP_DEADLINE_S,
                disk=disk,
                file_systems=list(names),
                bytes_each=self._options.bytes_each,
            )
        self._disturbance.set_phase("write")
        for name in names:
            with self._part(f"write {name}"):
                self._write(workload, name, written)
        self._disturbance.set_phase(None)
        with self._part("check and remount"):
            self._disturbance.follow(workload)
            for name in names:
                result = workload.ask("check", STEP_DEADLINE_S, fs=name)
                written.checks.append(msgspec.convert({"fs": name, **result}, CheckedFileSystem))
        if self._options.interfere is not None:
            self._options.interfere(self._lab, FileMap(written.files))
        self._disturbance.set_phase("read")
        # A file system that its checker calls damaged is a finding already, and may not be mounted.
        for name in [check.fs for check in written.checks if check.clean]:
            with self._part(f"read back {name}"):
                written.host += self._read_back(workload, name)
        self._disturbance.set_phase(None)
        written.ledger.apply_all(_ledger_events(workload))
        written.look = self._second_look(disk, written)
        with self._part("unmount"):
            for name in names:
                workload.ask("unmount", STEP_DEADLINE_S, fs=name)
            if workload.stop() != 0:
                raise MachineError("The workload's daemon did not end in order.")
        written.faults = self._disturbance.ask()
        with self._part("look at the medium"):
            self._look(written)
        return written

    def _write(self, workload: Daemon, name: str, written: Written) -> None:
        settings: dict[str, object] = {
            "run_id": self._run_id,
            "seed": self._options.plan.seed,
            "bytes_total": self._options.bytes_each,
            "files": FILES,
            "block_bytes": min(BLOCK_BYTES, self._options.bytes_each // 16),
            "flush_bytes": FLUSH_BYTES,
        }
        for attempt in range(WRITINGS):
            command, more = ("write_again", {}) if attempt else ("write", settings)
            told = workload.ask(command, STEP_DEADLINE_S, fs=name, **more)
            outcome = msgspec.convert(told, _WriteOutcome)
            if not (self._disturbance.follow(workload) and outcome.incomplete):
                break
        if outcome.incomplete:
            why = outcome.stopped or "some blocks could not be confirmed in any attempt"
            written.unproven.append(f"The workload on {name} did not write all: {why}.")
        files = workload.ask("map", STEP_DEADLINE_S, fs=name)
        written.files += msgspec.convert(files, list[MappedFile])

    def _read_back(self, workload: Daemon, name: str) -> list[FileRead]:
        """Have the host read its files; once more if the disk had gone meanwhile."""
        for _ in range(READINGS):
            failure, told = None, None
            try:
                told = workload.ask("read_back", STEP_DEADLINE_S, fs=name)
            except CommandFailure as error:
                failure = error
            if self._disturbance.follow(workload):
                continue
            if failure is not None:
                raise failure
            return msgspec.convert(told, list[FileRead])
        raise MachineError(f"The disk went away in each of {READINGS} readings of {name}.")

    def _second_look(self, disk: str, written: Written) -> SecondLook | None:
        """Have the host read again, by two paths, what it saw wrong; None if that was nothing."""
        oracle = Oracle(written.ledger, FileMap(written.files), self._run_id)
        host = combine(oracle.judge_host(one.file_id, one.runs) for one in written.host)
        again = wanted(host)
        if not again:
            return None
        with self._part("read again"):
            wish = msgspec.json.encode(Wish(disk, again)).decode()
            local = self._directory.write("reread.json", wish)
            self._lab.client.put(local, WISH_ON_MACHINE)
            told = self._lab.client.run(f"rig reread < {WISH_ON_MACHINE}", STEP_DEADLINE_S)
        # A disk that is gone says nothing more: then the first reading counts alone.
        return msgspec.json.decode(told.stdout, type=SecondLook) if told.status == 0 else None

    def _look(self, written: Written) -> None:
        """Have the back machine look at its medium and its journal."""
        ranges = FileMap(written.files).ranges
        local = self._directory.write("ranges.json", msgspec.json.encode(ranges).decode())
        self._lab.back.put(local, RANGES_ON_MACHINE)
        scan = self._lab.back.check(
            f"rig scan medium {STORE}/medium.img --ranges {RANGES_ON_MACHINE}", STEP_DEADLINE_S
        )
        written.medium = msgspec.json.decode(scan.stdout, type=list[Run])
        journal = self._lab.back.check(
            f"rig scan journal {STORE}/journal.bin", STEP_DEADLINE_S
        ).stdout
        self._directory.write("journal.jsonl", journal)
        written.journal = journal_of(decode_lines(journal))


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


def _ledger_events(workload: Daemon) -> Iterator[Any]:
    for event in workload.events:
        if event["event"] == "ledger":
            yield from decode_events(event.get("entries"))
