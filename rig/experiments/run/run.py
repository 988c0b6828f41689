"""One run: a workload under a fault plan in a lab, from two machines that are off to a verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rig import __version__
from rig.errors import CommandFailure, MachineError, RigError
from rig.experiments.run.disturbance import EVENTS as MACHINE_EVENTS
from rig.experiments.run.disturbance import Disturbance
from rig.experiments.run.options import RunOptions
from rig.experiments.run.scan_service import Access, JournalDamage, decode_lines
from rig.experiments.run.trace import NAME as TRACE
from rig.experiments.run.trace import STATION, Clocks, Told, lines_of, read_events, write_trace
from rig.guest_images.image import GuestImage, ensure
from rig.integrity.filemap import FileMap, MappedFile
from rig.integrity.filesystems import MIB
from rig.integrity.judgement import Judgement, View, combine
from rig.integrity.ledger import Ledger, decode_events
from rig.integrity.oracle import Arrival, Oracle
from rig.integrity.scan import Run
from rig.integrity.stamp import SECTOR_BYTES
from rig.lab.accelerator import accelerator
from rig.lab.daemons import Daemon
from rig.lab.environment import Link
from rig.lab.lab import Lab
from rig.lab.strategy import Setup
from rig.progress import Progress
from rig.report.rundir import RunDirectory
from rig.report.verdict import (
    CheckedFileSystem,
    Evidence,
    Faults,
    Outcome,
    Verdict,
    decide,
)

STORE = "/var/lib/rig/gadget"
PLAN_ON_MACHINE = "/var/lib/rig/plan.toml"
RANGES_ON_MACHINE = "/run/rig-ranges.json"

FILES = 2
BLOCK_BYTES = MIB
FLUSH_BYTES = 4 * MIB
"""Files on each file system, and sizes of a write call and of what one fsync confirms.

Emulated, every SCSI command costs 20 ms or more, whatever its size: smaller ones would test the
same with more waiting."""

WRITINGS = 3
READINGS = 3
"""Of one file system, if the disk goes away meanwhile; what has no disk cannot be read at all."""
BACK_BEHIND_LINK = "127.0.0.1:7206"
"""Where the back end listens if a relay is at its usual place."""

STEP_DEADLINE_S = 300.0
"""For one step of the workload.  A SCSI command that gets no answer is retried for 30 s, five
times; after that the kernel gives the disk up and the step ends with errors."""


class _FileRead(msgspec.Struct):
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
class _Written:
    """What the machines told, for the oracle."""

    ledger: Ledger = field(default_factory=Ledger)
    files: list[MappedFile] = field(default_factory=list)
    host: list[_FileRead] = field(default_factory=list)
    medium: list[Run] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    checks: list[CheckedFileSystem] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)


class Story:
    """Tells a run step by step.

    Args:
        options: What to run.
        directory: Where everything that is left goes.
        progress: Is told of the steps.
    """

    def __init__(self, options: RunOptions, directory: RunDirectory, progress: Progress) -> None:
        self._options = options
        self._directory = directory
        self._progress = progress
        self._run_id = time.time_ns()
        self._durations_s: dict[str, float] = {}
        self._kernel = self._accelerator = ""
        self._boot_retries = 0
        self._clocks = Clocks()

    def tell(self, image: GuestImage, accelerator: str) -> Verdict:
        """Run, and write the run directory.

        A machine that fails ends the run with the verdict ``infrastructure``, not with an error.

        Args:
            image: What the machines boot.
            accelerator: ``kvm`` or ``tcg``.

        Returns:
            The verdict, which is in ``verdict.json`` too.
        """
        started = time.monotonic()
        self._kernel = image.kernel_version
        self._accelerator = accelerator
        self._directory.write("plan.toml", self._options.plan_text)
        self._directory.write("seed", f"{self._options.plan.seed}\n")
        try:
            written = self._in_lab(image)
            with self._part("judge"):
                evidence = self._judge(written)
            outcome, reasons = decide(evidence)
        except (RigError, msgspec.MsgspecError) as error:
            # Also when what a machine told makes no sense: the run directory says so.
            evidence, outcome, reasons = Evidence({}), Outcome.INFRASTRUCTURE, (_why(error),)
        self._durations_s["total"] = round(time.monotonic() - started, 2)
        verdict = self._verdict(outcome, reasons, evidence)
        self._directory.conclude(verdict)
        return verdict

    def _in_lab(self, image: GuestImage) -> _Written:
        options = self._options
        with Lab.open(
            image,
            self._directory.path,
            accelerator=self._accelerator,
            memory_mib=options.memory_mib,
            attachment=options.attachment,
            progress=self._progress,
        ) as lab:
            try:
                with self._part("boot", shown=False):
                    lab.transition("booted")
                # It starts while the daemons on the other machine do.
                workload = lab.front.start_daemon(["rig", "workload", "--supervised"], "workload")
                with self._part("attach", shown=False):
                    self._put_plan(lab)
                    lab.transition("attached")
                self._clocks.measure(lab.strategy.daemons)
                disturbances = Disturbance(lab, self._options, self._directory, self._clocks)
                with disturbances as disturbance:
                    written = self._exercise(lab, workload, disturbance)
            except Exception:  # but not for Ctrl-C: who interrupts does not want to wait
                self._keep_traces(lab)
                raise
            self._keep_traces(lab)
            # A machine may have died after it was last spoken to.
            for machine in lab.strategy.machines.values():
                machine.health.check()
            return written

    def _put_plan(self, lab: Lab) -> None:
        on_station = self._directory.file("plan.toml")
        lab.back.put(on_station, PLAN_ON_MACHINE)
        plan = ("--plan", PLAN_ON_MACHINE, "--seed", str(self._options.plan.seed), "--supervised")
        size = str(self._options.lun_bytes)
        attachment = self._options.attachment
        gadget = ("--directory", STORE, "--size", size, *self._options.gadget_words)
        recovery = self._options.recovery
        address, *security = Link.TCP.options
        relayed = self._options.relayed
        listens = BACK_BEHIND_LINK if relayed else address
        relay = ("rig", "link", "--listen", address, "--connect", listens, *plan)
        back = ("--port", attachment.port, "--listen", listens, *security, *recovery.back_words())
        front = ("--connect", address, *security, *recovery.front_words())
        lab.setup = Setup(
            gadget=("rig", "gadget", *gadget, *plan),
            back=("rig", "back", *back, *plan),
            front=("rig", "front", *front, "--supervised"),
            link=relay if relayed else (),
            cable=("--plan", str(on_station), "--seed", str(self._options.plan.seed)),
        )

    def _exercise(self, lab: Lab, workload: Daemon, disturbance: Disturbance) -> _Written:
        written = _Written()
        names = self._options.file_systems
        with self._part("make file systems"):
            workload.ask(
                "prepare",
                STEP_DEADLINE_S,
                disk=lab.disk,
                file_systems=list(names),
                bytes_each=self._options.bytes_each,
            )
        disturbance.set_phase("write")
        for name in names:
            with self._part(f"write {name}"):
                self._write(workload, name, written, disturbance)
        disturbance.set_phase(None)
        with self._part("check and remount"):
            disturbance.follow(workload)
            for name in names:
                result = workload.ask("check", STEP_DEADLINE_S, fs=name)
                written.checks.append(msgspec.convert({"fs": name, **result}, CheckedFileSystem))
        if self._options.interfere is not None:
            self._options.interfere(lab, FileMap(written.files))
        disturbance.set_phase("read")
        # A file system that its checker calls damaged is a finding already, and may not be mounted.
        for name in [check.fs for check in written.checks if check.clean]:
            with self._part(f"read back {name}"):
                written.host += self._read_back(workload, name, disturbance)
        disturbance.set_phase(None)
        with self._part("unmount"):
            for name in names:
                workload.ask("unmount", STEP_DEADLINE_S, fs=name)
            if workload.stop() != 0:
                raise MachineError("The workload's daemon did not end in order.")
        written.ledger.apply_all(_ledger_events(workload))
        written.faults = disturbance.ask()
        with self._part("look at the medium"):
            self._look(lab, written)
        return written

    def _write(
        self, workload: Daemon, name: str, written: _Written, disturbance: Disturbance
    ) -> None:
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
            if not (disturbance.follow(workload) and outcome.incomplete):
                break
        if outcome.incomplete:
            why = outcome.stopped or "some blocks could not be confirmed in any attempt"
            written.unproven.append(f"The workload on {name} did not write all: {why}.")
        files = workload.ask("map", STEP_DEADLINE_S, fs=name)
        written.files += msgspec.convert(files, list[MappedFile])

    def _read_back(self, workload: Daemon, name: str, disturbance: Disturbance) -> list[_FileRead]:
        """Have the host read its files; once more if the disk had gone meanwhile."""
        for _ in range(READINGS):
            failure, told = None, None
            try:
                told = workload.ask("read_back", STEP_DEADLINE_S, fs=name)
            except CommandFailure as error:
                failure = error
            if disturbance.follow(workload):
                continue
            if failure is not None:
                raise failure
            return msgspec.convert(told, list[_FileRead])
        raise MachineError(f"The disk went away in each of {READINGS} readings of {name}.")

    def _look(self, lab: Lab, written: _Written) -> None:
        """Have the back machine look at its medium and its journal."""
        ranges = FileMap(written.files).ranges
        local = self._directory.write("ranges.json", msgspec.json.encode(ranges).decode())
        lab.back.put(local, RANGES_ON_MACHINE)
        scan = lab.back.check(
            f"rig scan medium {STORE}/medium.img --ranges {RANGES_ON_MACHINE}", STEP_DEADLINE_S
        )
        written.medium = msgspec.json.decode(scan.stdout, type=list[Run])
        journal = lab.back.check(f"rig scan journal {STORE}/journal.bin", STEP_DEADLINE_S).stdout
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

    def _judge(self, written: _Written) -> Evidence:
        oracle = Oracle(written.ledger, FileMap(written.files), self._run_id)
        host: list[Judgement] = [
            oracle.judge_host(file.file_id, file.runs) for file in written.host
        ]
        views = {
            View.HOST.value: combine(host),
            View.MEDIUM.value: oracle.judge_medium(written.medium),
            View.ARRIVAL.value: oracle.judge_arrivals(written.arrivals),
        }
        return Evidence(
            views,
            tuple(written.checks),
            written.faults,
            tuple(written.unproven),
            promised=len(self._options.file_systems) * self._options.bytes_each // SECTOR_BYTES,
        )

    def _keep_traces(self, lab: Lab) -> None:
        """Save what fired when, and each machine's kernel log, if it can still be asked."""
        self._boot_retries = lab.boot_retries
        self._clocks.measure(lab.strategy.daemons)
        write_trace(self._directory.file(TRACE), lines_of(self._told(lab), self._clocks))
        for role in ("back", "front"):
            machine = lab.strategy.machines.get(role)  # type: ignore[call-overload]
            if machine is None or machine.health.lost:
                continue
            try:
                log = machine.run("dmesg").stdout
            except MachineError as error:
                log = f"could not be read: {error}\n"
            self._directory.write(f"{role}/kernel.log", log)

    def _told(self, lab: Lab) -> list[Told]:
        """Return what each process told, those that were replaced first."""
        daemons = [*lab.strategy.crew.former, *lab.strategy.daemons.values()]
        told = [Told(one.machine, one.name, one.events) for one in daemons]
        own = read_events(self._directory.file(MACHINE_EVENTS))
        return [*told, Told(STATION, "run", own)]

    @contextmanager
    def _part(self, name: str, *, shown: bool = True) -> Iterator[None]:
        """Time one part of the run, and show it unless it shows its own steps."""
        started = time.monotonic()
        try:
            if shown:
                with self._progress.step(name):
                    yield
            else:
                yield
        finally:
            self._durations_s[name] = round(time.monotonic() - started, 2)

    def _verdict(self, outcome: Outcome, reasons: tuple[str, ...], evidence: Evidence) -> Verdict:
        options = self._options
        findings = [f for judgement in evidence.views.values() for f in judgement.findings]
        return Verdict(
            verdict=outcome,
            reasons=reasons,
            sectors=combine(evidence.views.values()).counts,
            views={name: judgement.counts for name, judgement in evidence.views.items()},
            findings=tuple(findings),
            checks=evidence.checks,
            faults=evidence.faults,
            durations_s=self._durations_s,
            kernel=self._kernel,
            policy=str(options.recovery),
            seed=options.plan.seed,
            plan=options.plan.name,
            file_systems=options.file_systems,
            attachment=options.attachment.name,
            link=options.link_words,
            accelerator=self._accelerator,
            boot_retries=self._boot_retries,
            rig_version=__version__,
        )


def _why(error: Exception) -> str:
    if isinstance(error, RigError):
        return str(error)
    return f"A machine's answer is not what it must be: {error}."


def _ledger_events(workload: Daemon) -> Iterator[Any]:
    for event in workload.events:
        if event["event"] == "ledger":
            yield from decode_events(event.get("entries"))


def run(options: RunOptions, out: Path | None, progress: Progress) -> tuple[RunDirectory, Verdict]:
    """Build what is missing, run, and leave a run directory.

    Args:
        options: What to run.
        out: The run directory; None for a new one below ``runs/``.
        progress: Is told of the steps.

    Raises:
        UserError: The run directory cannot be made.
        MachineError: The machines' image could not be built.
    """
    directory = RunDirectory.create(options.plan.name, out)
    try:
        image = ensure(options.kernel, progress)
        chosen = accelerator(image)
    except BaseException:
        directory.discard()
        raise
    return directory, Story(options, directory, progress).tell(image, chosen)
