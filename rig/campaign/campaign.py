"""A campaign: jobs from a list, on places as they come, until all is done or nothing is left."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import msgspec

from rig.campaign.attempts import attempt, diagnose, put_aside
from rig.campaign.desk import Desk
from rig.campaign.jobs import Attempt, Done, Job, verdict_of
from rig.campaign.places import Held, Places
from rig.campaign.rendering import Pool
from rig.campaign.report import Report, made, write
from rig.errors import MachineError, RigError, UserError
from rig.report.verdict import Outcome

TRIES = 3
"""A job under which three places fail is what makes them fail."""
UNEXPLAINED = 2
"""How often a run may fail on places at which nothing is found lacking."""


class Campaign:
    """See `run`.

    Args:
        desk: The coordinator.
        places: The places that fit.
        pool: Their environment file.
        jobs: All jobs.
        done: Those that were done before, by name.
        directory: Gets a run directory for each.
        private: Gets the places' environment files; others cannot look into it.
        more: More options of ``rig run``.
        wait_s: How long a worker waits for a place.
        tell: Is told of each event, a sentence; from any thread.
    """

    def __init__(
        self,
        desk: Desk,
        places: Places,
        pool: Pool,
        jobs: Sequence[Job],
        done: dict[str, Done],
        *,
        directory: Path,
        private: Path,
        more: Sequence[str],
        wait_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self._desk, self._places, self._pool = desk, places, pool
        self._jobs, self._done = jobs, done
        self._directory, self._private = directory, private
        self._more, self._wait_s, self._tell = tuple(more), wait_s, tell
        self._pending = deque(job for job in jobs if job.name not in done)
        self._tries: dict[str, list[Attempt]] = {}
        self._running = 0
        self._change = threading.Condition()
        self._stop = threading.Event()
        self._trouble: RigError | None = None
        self.broken: dict[str, str] = {}
        self._began = time.monotonic()

    def run(self, workers: int) -> Report:
        """Do the jobs; return what came of them.

        Ctrl-C, or any exception in this thread, ends the runs in order before it goes on.

        Args:
            workers: How many at a time at most.

        Raises:
            UserError: ``rig run`` refuses a job.
        """
        count = min(workers, len(self._pending))
        # Not threads to be joined: a join that Ctrl-C breaks off takes a thread that runs for ended
        # (CPython before 3.13), and what that holds would never be given back.
        threads = ThreadPoolExecutor(max(1, count), "worker")
        try:
            work = [threads.submit(self._work) for _ in range(count)]
            wait(work)
        finally:
            self._stop.set()
            threads.shutdown()
            report = self.report()
            write(report, self._directory)
        for done in work:
            done.result()
        if isinstance(self._trouble, UserError):
            raise self._trouble
        if self._trouble is not None:
            self._tell(str(self._trouble))
        return report

    def report(self) -> Report:
        """Return what has come of the jobs until now."""
        return made(self._jobs, self._done, self.broken, time.monotonic() - self._began)

    def _work(self) -> None:
        """Do jobs until there are none; errors end the campaign, in its own thread."""
        try:
            while self._await_pending():
                held = self._places.take(self._is_wanted, self._wait_s)
                if held is not None:
                    self._use(held)
                elif not self._places.fitting():
                    raise MachineError(
                        "No place is left that could be used.",
                        hint="When one is mended: labgrid-client -p PLACE set-tags rig=lab; the"
                        " same command then goes on.",
                    )
        except RigError as error:
            with self._change:
                # The first error of a user's says more than the places that end with it.
                if self._trouble is None or isinstance(error, UserError):
                    self._trouble = error
                if isinstance(error, UserError):
                    self._stop.set()
                self._change.notify_all()

    def _await_pending(self) -> bool:
        """Wait for a job that is to be done; return whether there is one."""
        with self._change:
            while not self._pending and self._running and not self._stop.is_set():
                self._change.wait(1.0)
            return self._is_wanted()

    def _is_wanted(self) -> bool:
        if self._places.gone:
            raise MachineError(
                self._places.gone, hint="Jobs that are done stay done: the same command goes on."
            )
        return bool(self._pending) and not self._stop.is_set()

    def _use(self, held: Held) -> None:
        """Do a job on a place, and give that back."""
        try:
            with self._change:
                if not self._pending:
                    return
                job = self._pending.popleft()
                self._running += 1
            try:
                self._do(job, held)
            finally:
                with self._change:
                    self._running -= 1
                    self._change.notify_all()
        finally:
            self._places.release(held)

    def _do(self, job: Job, held: Held) -> None:
        self._tell(f"{job.name} begins on {held.name}")
        try:
            view = self._desk.places()[held.name]
            resources = self._desk.resources(held.name)
            file = self._pool.write(self._private, held.name, view.tags, resources)
        except (MachineError, KeyError) as error:
            self._judge(job, Attempt(held.name, None, f"{error}", 0.0), None, held)
            return
        try:
            stopped = self._stop.is_set
            tried = attempt(job, held, file, self._directory, more=self._more, stopped=stopped)
            self._judge(job, tried, file, held)
        finally:
            file.unlink(missing_ok=True)

    def _judge(self, job: Job, tried: Attempt, file: Path | None, held: Held) -> None:
        """Say whether an attempt counts, whose fault it was if not, and what follows."""
        if self._stop.is_set() and tried.void:
            return
        fault = held.fault or ("" if file is not None else tried.void)
        if not fault and file is not None and (tried.void or tried.outcome is Outcome.FAIL):
            fault = diagnose(file)
        if fault:
            self._blame(held, fault)
            tried = msgspec.structs.replace(tried, void=fault, is_places_fault=True)
        with self._change:
            tries = self._tries.setdefault(job.name, [])
            tries.append(tried)
            unexplained = sum(not one.is_places_fault for one in tries)
            if not tried.void or len(tries) >= TRIES or unexplained >= UNEXPLAINED:
                self._conclude(job, tries)
            else:
                self._again(job, tries)

    def _blame(self, held: Held, fault: str) -> None:
        """Have nobody use a place any more; one that others have now is theirs to judge."""
        if held.is_ours:
            self.broken[held.name] = fault
            self._places.mark_broken(held.name, fault)

    def _again(self, job: Job, tries: list[Attempt]) -> None:
        """Have a job done elsewhere, before those that nobody has tried."""
        aside = put_aside(self._directory / job.name)
        tries[-1] = msgspec.structs.replace(tries[-1], directory=aside)
        self._pending.appendleft(job)
        self._change.notify_all()
        self._tell(f"{job.name} is to be done again: {tries[-1].void}")

    def _conclude(self, job: Job, tries: list[Attempt]) -> None:
        """Note what has become of a job, so that it is not lost if all ends now."""
        last = tries[-1]
        verdict = verdict_of(self._directory / job.name)
        outcome, why = Outcome.INFRASTRUCTURE, last.void
        if not last.void and verdict is not None:
            outcome, why = verdict.verdict, next(iter(verdict.reasons), "")
        self._done[job.name] = Done(job, outcome, why, tuple(tries))
        write(self.report(), self._directory)
        count = f"{len(self._done)} of {len(self._jobs)}"
        self._tell(f"{job.name}: {outcome} on {last.place}, {last.seconds:.0f} s ({count})")
