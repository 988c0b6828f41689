"""One run: a workload under a fault plan in a lab, from two machines that are off to a verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import msgspec

from rig import __version__
from rig.errors import MachineError, RigError
from rig.experiments.explain.recorded import FILES, URBS, Recorded
from rig.experiments.run.client import DiskUser, used_by
from rig.experiments.run.disturbance import EVENTS as MACHINE_EVENTS
from rig.experiments.run.disturbance import Disturbance
from rig.experiments.run.exercise import Exercise, Written
from rig.experiments.run.options import RunOptions
from rig.experiments.run.places import PLAN_ON_MACHINE, STORE, URBS_ON_MACHINE, setup_of
from rig.experiments.run.reach import explained, unlikely
from rig.experiments.run.sitting import Sitting
from rig.experiments.run.stalls import longest_d_state_s, stall_notes
from rig.experiments.run.trace import NAME as TRACE
from rig.experiments.run.trace import STATION, Clocks, Told, lines_of, read_events, write_trace
from rig.experiments.run.use import STEP_DEADLINE_S
from rig.experiments.run.watching import Watching, sentence
from rig.faults.rules.machine import MachineFault
from rig.integrity.filemap import FileMap
from rig.integrity.inquiry import Observations, inquire
from rig.integrity.judgement import combine
from rig.integrity.looks import FileLook
from rig.integrity.monitors.breach import Breach
from rig.lab.basis import Basis, basis
from rig.lab.daemons import Daemon
from rig.lab.hands import check_able
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.progress import Progress
from rig.report.rundir import RunDirectory
from rig.report.verdict import (
    Evidence,
    HostSide,
    Outcome,
    Verdict,
    decide,
)
from rig.splitdriver.policy import Policy

URB_LOGGERS = frozenset({"back", "front"})
"""The daemons that keep a log of URBs."""
MOST_TOLD = 20
"""So many broken rules are told as they are seen; the verdict has all."""
DISK_DEADLINE_S = 60.0
"""For the disk of a client that the lab does not wait for."""
CRASH_DEADLINE_S = 5.0
"""For a crashed kernel's last words."""


class Story:
    """Tells a run step by step.

    Args:
        options: What to run.
        directory: Where everything that is left goes.
        progress: Is told of the steps.
        sitting: Writes for as long as it wants; None: the workloads are run once.
    """

    def __init__(
        self,
        options: RunOptions,
        directory: RunDirectory,
        progress: Progress,
        sitting: Sitting | None = None,
    ) -> None:
        self._sitting = sitting
        self._options = options
        self._directory = directory
        self._progress = progress
        self._run_id = time.time_ns()
        self._durations_s: dict[str, float] = {}
        self._image: Basis | None = None
        self._accelerator = ""
        self._boot_retries = 0
        self._clocks = Clocks()
        self._host = HostSide()
        self._replaced = False
        self._notes: tuple[str, ...] = ()
        self._witnesses: list[Daemon] = []
        holds = options.recovery.policy is Policy.HOLD
        self.watching = Watching(
            directory, options.recovery.window, holds=holds, tell=self._tell_broken
        )
        self._told_broken = 0
        self._usbmon: Daemon | None = None
        self._whole_logs: list[Path] = []

    def tell(self, image: Basis, accelerator: str, lab: Lab | None = None) -> Verdict:
        """Run, and write the run directory.

        A machine that fails ends the run with the verdict ``infrastructure``, not with an error.

        Args:
            image: What the machines boot.
            accelerator: ``kvm`` or ``tcg``.
            lab: Whose machines have booted, and shall have nothing attached in the end; without
                one, one is opened for this run.

        Returns:
            The verdict, which is in ``verdict.json`` too.
        """
        started = time.monotonic()
        self._image = image
        self._accelerator = accelerator
        self._directory.write("plan.toml", self._options.plan_text)
        self._directory.write("seed", f"{self._options.plan.seed}\n")
        try:
            try:
                with self._lab(image) if lab is None else _borrowed(lab) as machines:
                    written = self._in_lab(machines)
            finally:  # now that every daemon has had its last word, by Ctrl-C too
                write_trace(self._directory.file(TRACE), lines_of(self._told(), self._clocks))
            with self._part("judge"):
                evidence = self._judge(written)
                self._directory.write(FILES, msgspec.json.encode(written.files).decode())
            outcome, reasons = decide(evidence)
        except (RigError, msgspec.MsgspecError) as error:
            # Also when what a machine told makes no sense: the run directory says so.
            evidence, outcome, reasons = Evidence({}), Outcome.INFRASTRUCTURE, (_why(error),)
        self._durations_s["total"] = round(time.monotonic() - started, 2)
        verdict = self._verdict(outcome, reasons, evidence)
        self._directory.conclude(verdict)
        return verdict

    def _lab(self, image: Basis) -> AbstractContextManager[Lab]:
        return Lab.open(
            image,
            self._directory.path,
            accelerator=self._accelerator,
            memory_mib=self._options.memory_mib,
            attachment=self._options.attachment,
            progress=self._progress,
        )

    def _in_lab(self, lab: Lab) -> Written:
        """Attach, and exercise the disk; the lab is left as that ended."""
        workload: Daemon | None = None
        try:
            for rule in self._options.plan.rules(MachineFault):
                check_able(lab.strategy.powering, rule)
            lab.setup = setup_of(self._options, self._directory.file("plan.toml"))
            with self._part("boot", shown=False):
                lab.transition("booted")
            # It starts while the daemons on the other machine do.
            workload = lab.client.start_daemon(["rig", "workload", "--supervised"], "workload")
            with self._part("attach", shown=False):
                lab.back.put(self._directory.file("plan.toml"), PLAN_ON_MACHINE)
                if self._options.taps_usbmon:
                    log = ("--urb-log", URBS_ON_MACHINE)
                    self._usbmon = lab.back.start_daemon(
                        ["rig", "usbmon", *log, "--supervised"], "usbmon"
                    )
                    self._usbmon.wait_event("ready", STEP_DEADLINE_S)
                lab.transition("attached")
            self._clocks.measure(lab.strategy.daemons)
            if self._options.notes_urbs:
                self.watching.start([lab.front, lab.back], lab.strategy.daemons.get)
            with used_by(self._options.client, lab, self._options.attachment) as user:
                written = self._exercise(lab, workload, user)
        except Exception:  # but not for Ctrl-C: who interrupts does not want to wait
            self._keep_traces(lab)
            # What ran on a machine may be missed before its kernel has told why.
            for machine in lab.strategy.machines.values():
                if machine.console is not None:
                    machine.console.check_crash(CRASH_DEADLINE_S)
            raise
        finally:
            self.watching.stop()
            self._witnesses = [*lab.strategy.crew.former, *lab.strategy.daemons.values()]
            if workload is not None:
                self._witnesses.append(workload)
                self._notes = tuple(stall_notes(workload.events))
        self._keep_traces(lab)
        # A machine may have died after it was last spoken to.
        for machine in lab.strategy.machines.values():
            machine.health.check()
        kernel_log = self._directory.file(f"{lab.strategy.client.value}/kernel.log")
        self._host = msgspec.structs.replace(
            user.told(kernel_log.read_text()),
            longest_d_state_s=longest_d_state_s(workload.events),
        )
        return written

    def _exercise(self, lab: Lab, workload: Daemon, user: DiskUser) -> Written:
        disk = lab.disk or user.find(DISK_DEADLINE_S)
        with Disturbance(lab, self._options, self._directory, self._clocks, user) as disturbance:
            exercise = Exercise(
                lab,
                self._options,
                run_id=self._run_id,
                directory=self._directory,
                disturbance=disturbance,
                part=self._part,
                sitting=self._sitting,
            )
            return exercise.run(workload, disk)

    def _judge(self, written: Written) -> Evidence:
        seen = Observations(
            host=[FileLook(one.file_id, one.runs) for one in written.host],
            medium=written.medium,
            journal=written.journal,
            look=written.look,
        )
        found = inquire(written.ledger, FileMap(written.files), self._run_id, seen)
        views = {view.value: judgement for view, judgement in found.views.items()}
        # Of what was not all written, or lasted until somebody ended it, no size tells.
        whole = self._sitting is None and not written.unproven
        return Evidence(
            views,
            tuple(written.checks),
            explained(written.faults, self._options) if whole else written.faults,
            tuple(written.unproven),
            promised=written.promised,
            recoveries=tuple(written.recoveries),
            watched=self.watching.conclude([] if self._replaced else self._whole_logs),
        )

    def _keep_traces(self, lab: Lab) -> None:
        """Measure the clocks, and save each machine's kernel log, if it can still be asked."""
        self._boot_retries = lab.boot_retries
        # Their successors' logs begin with URBs whose beginning nobody has.
        self._replaced = any(one.name in URB_LOGGERS for one in lab.strategy.crew.former)
        self._clocks.measure(lab.strategy.daemons)
        for role in ("back", "front"):
            machine = lab.strategy.machines.get(role)  # type: ignore[call-overload]
            if machine is None or machine.health.lost:
                continue
            try:
                log = machine.run("dmesg").stdout
            except MachineError as error:
                log = f"could not be read: {error}\n"
            self._directory.write(f"{role}/kernel.log", log)
            if self._options.notes_urbs:
                self._keep_urbs(machine, lab.strategy.daemons.get(role))
            elif self._usbmon is not None and machine is lab.back:
                self._keep_urbs(machine, self._usbmon)

    def _keep_urbs(self, machine: Machine, daemon: Daemon | None) -> None:
        """Save what an end of the split driver, or usbmon, has noted of URBs."""
        if daemon is None:
            return
        # One that has died has told of URBs what it had written.
        with suppress(MachineError):
            told = daemon.ask("urbs")
            if told and told["lost"]:
                what = f"usbmon has lost {told['lost']} events: chains may lack URBs."
                self._notes = (*self._notes, what)
        with suppress(MachineError):
            # Beside what has come of it, which others may follow, and in whose place it is put.
            path = self._directory.file(f"{machine.name}/{URBS}")
            whole = path.with_suffix(".whole")
            machine.get(URBS_ON_MACHINE, whole)
            whole.replace(path)
            self._whole_logs.append(path)

    def _told(self) -> list[Told]:
        """Return what each process told, those that were replaced first."""
        told = [Told(one.machine, one.name, one.events) for one in self._witnesses]
        own = read_events(self._directory.file(MACHINE_EVENTS))
        ends = ("front", "back")
        broken = [Told(role, "monitors", self.watching.events(role)) for role in ends]
        return [*told, *broken, Told(STATION, "run", own)]

    def _tell_broken(self, breach: Breach) -> None:
        self._told_broken += 1
        if self._told_broken <= MOST_TOLD:
            self._progress.note(sentence(breach))

    @property
    def _workloads(self) -> tuple[str, ...]:
        if self._sitting is not None:
            return self._sitting.workloads
        return tuple(kind.name for kind in self._options.workloads)

    @property
    def _later_policies(self) -> tuple[str, ...]:
        return self._sitting.policies if self._sitting else ()

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
        findings += [f for recovery in evidence.recoveries for f in recovery.findings]
        return Verdict(
            verdict=outcome,
            reasons=reasons,
            sectors=combine(evidence.views.values()).counts,
            views={name: judgement.counts for name, judgement in evidence.views.items()},
            findings=tuple(findings),
            checks=evidence.checks,
            faults=evidence.faults,
            durations_s=self._durations_s,
            kernel=self._image.kernel_version if self._image else self._options.kernel,
            driver=options.driver.value,
            policy=", then ".join((options.policy_words, *self._later_policies)),
            seed=options.plan.seed,
            plan=options.plan.name,
            file_systems=options.file_systems,
            attachment=options.attachment.name,
            link=options.link_words,
            accelerator=self._accelerator,
            boot_retries=self._boot_retries,
            rig_version=__version__,
            client=options.client.value,
            host=self._host,
            workloads=self._workloads,
            recoveries=evidence.recoveries,
            notes=(*self._notes, *(self._sitting.notes if self._sitting else ())),
            watched=evidence.watched,
            chains=Recorded(self._directory.path).chains(findings),
        )


@contextmanager
def _borrowed(lab: Lab) -> Iterator[Lab]:
    """Use a lab that stays, and leave none of a run's medium there."""
    lab.strategy.crew.former.clear()
    lab.back.check(f"rm -rf {STORE}", STEP_DEADLINE_S)
    for machine in (lab.back, lab.front):
        machine.check("dmesg --clear", STEP_DEADLINE_S)
    try:
        yield lab
    finally:
        lab.transition("booted")
        lab.back.check(f"rm -rf {STORE}", STEP_DEADLINE_S)


def _why(error: Exception) -> str:
    if isinstance(error, RigError):
        return str(error)
    return f"A machine's answer is not what it must be: {error}."


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
    for doubt in unlikely(options):
        progress.note(doubt)
    try:
        image, chosen = basis(options.kernel, progress)
    except BaseException:
        directory.discard()
        raise
    return directory, Story(options, directory, progress).tell(image, chosen)
