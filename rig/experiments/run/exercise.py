"""What a run does with an attached disk: write, check, read back, look at what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rig.errors import CommandFailure, MachineError
from rig.experiments.run.disturbance import Disturbance
from rig.experiments.run.options import RunOptions
from rig.experiments.run.places import RANGES_ON_MACHINE, STORE
from rig.experiments.run.scan_service import Access, JournalDamage, decode_lines
from rig.integrity.filemap import FileMap, MappedFile
from rig.integrity.filesystems import MIB
from rig.integrity.ledger import decode_events
from rig.integrity.model import Model
from rig.integrity.oracle import Arrival
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
    arrivals: list[Arrival] = field(default_factory=list)
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
        with self._part("unmount"):
            for name in names:
                workload.ask("unmount", STEP_DEADLINE_S, fs=name)
            if workload.stop() != 0:
                raise MachineError("The workload's daemon did not end in order.")
        written.ledger.apply_all(_ledger_events(workload))
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
        for number, line in enumerate(decode_lines(journal)):
            match line:
                case JournalDamage():
                    raise MachineError(
                        f"The store's journal is damaged at octet {line.position}: {line.damage}"
                    )
                case Access(sequence=sequence) if sequence != number:
                    raise MachineError(f"The store's journal has no record {number}.")
                case Access(op="write"):
                    written.arrivals.append(Arrival(line.sequence, line.error, line.runs))


def _ledger_events(workload: Daemon) -> Iterator[Any]:
    for event in workload.events:
        if event["event"] == "ledger":
            yield from decode_events(event.get("entries"))
