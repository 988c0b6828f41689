"""One path's part of a conformance test: case after case, on machines that may not outlive them.

A case may end in an error, hang, or crash a kernel: each of these is its result.  After an error
the device is plugged in anew; after a hang or a crash both machines are thrown away, and the rest
of the cases runs in new ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import msgspec

from rig.errors import MachineError
from rig.experiments.conformance.report import (
    CaseResult,
    PathReport,
    Result,
    crash_words,
    trouble,
    usbtest_words,
)
from rig.lab.daemons import Daemon
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.lab.strategy import LabState, Setup
from rig.progress import Progress
from rig.usb.usbtest import CASES

CASE_DEADLINE_S = 60.0
CASE_DEADLINE_PER_TIME_S = 5.0
"""For one case, and for each multiple of its iterations.  usbtest itself gives a transfer 10 s."""

BEGIN_DEADLINE_S = 30.0
"""Until the test client on its machine is ready."""

AFTERMATH_S = 4.0
"""After a case that failed: so long a kernel may take to say that it is dying.  A connection
breaks at once; the console's report of the crash that broke it is longer."""


PREEMPTIBLE = "echo full >/sys/kernel/debug/sched/preempt"
"""To unlink an URB that vhci_hcd is about to give back, usbtest asks without end, and never lets
go of the processor (``unlink1``; ``vhci_urb_dequeue`` answers -EIDRM).  On one processor, with
Debian's voluntary preemption, the thread that has to give it back would never run again."""

NAME = "usbtest"
"""Of the client's daemon."""


class Told(msgspec.Struct):
    """What the client says of a case."""

    status: str
    duration_s: float


class PathTest:
    """Runs cases over one path, on as many pairs of machines as it takes.

    Args:
        cases: Numbers of `rig.usb.usbtest.CASES`.
        times: Multiplies each case's iterations.
        setup: What runs on the machines; it says which path.
        open_lab: Opens a new lab; its argument is the number of labs before it.
        progress: Is told of the cases.
    """

    def __init__(
        self,
        cases: Sequence[int],
        times: int,
        setup: Setup,
        open_lab: Callable[[int], AbstractContextManager[Lab]],
        progress: Progress,
    ) -> None:
        self._times = times
        self._setup = setup
        self._open_lab = open_lab
        self._progress = progress
        self._waiting = list(cases)
        self._results: list[CaseResult] = []
        self._client: Daemon | None = None
        self._deadline_s = CASE_DEADLINE_S + CASE_DEADLINE_PER_TIME_S * times

    def run(self) -> PathReport:
        """Run all cases.

        Raises:
            MachineError: New machines did not come up, or could not attach the device.
        """
        labs = 0
        while self._waiting:
            with self._open_lab(labs) as lab:
                labs += 1
                lab.transition(LabState.BOOTED)
                lab.setup = self._setup
                lab.client.check(PREEMPTIBLE)
                with _lost_together(lab):
                    self._run_in(lab)
        return PathReport(self._setup.path.value, labs, tuple(self._results))

    def _run_in(self, lab: Lab) -> None:
        """Run cases until all are done or the machines are spoilt."""
        self._plug(lab)
        while self._waiting:
            result = self._run_case(lab, self._waiting.pop(0))
            self._results.append(result)
            if result.result is Result.PASS:
                continue
            self._progress.note(f"case {result.case}: {result.told}")
            if self._waiting and (result.spoils_machines or not self._plug_again(lab)):
                self._progress.note("The rest is run on new machines.")
                return

    def _plug(self, lab: Lab) -> None:
        lab.transition(LabState.ATTACHED)
        self._client = lab.client.start_daemon(["rig", "usbtest", lab.found, "--supervised"], NAME)
        self._client.wait_event("ready", BEGIN_DEADLINE_S)

    def _plug_again(self, lab: Lab) -> bool:
        """Plug the device in anew: the failed case may have left it in any state.

        Returns:
            Whether that worked.
        """
        try:
            assert self._client is not None
            self._client.stop()
            lab.transition(LabState.BOOTED)
            self._plug(lab)
        except MachineError as error:
            self._progress.note(error.message)
            return False
        return True

    def _run_case(self, lab: Lab, number: int) -> CaseResult:
        name = CASES[number].name
        consoles = [machine.console for machine in (lab.back, lab.front) if machine.console]
        positions = [console.position for console in consoles]
        started = time.monotonic()
        with self._progress.step(f"{self._setup.path.value}: {number} {name}"):
            told = self._ask(lab, number)
        taken_s = round(time.monotonic() - started, 3)
        lines = [
            line
            for console, position in zip(consoles, positions, strict=True)
            for line in console.since(position)
        ]
        loss = _loss(lab)
        status = told.status if told else ""
        duration_s = told.duration_s if told else taken_s
        if loss:
            return CaseResult(number, name, Result.CRASH, status, duration_s, loss)
        if told is None:
            why = f"no result in {self._deadline_s:g} s"
            return CaseResult(number, name, Result.HANG, status, duration_s, why)
        if complaint := trouble(lines):
            return CaseResult(number, name, Result.WARNING, status, duration_s, complaint)
        result = Result.of(status)
        detail = "" if result is Result.PASS else _explain(lab, lines)
        return CaseResult(number, name, result, status, duration_s, detail)

    def _ask(self, lab: Lab, number: int) -> Told | None:
        """Have the client run a case.

        Returns:
            What it told, or None if it, or a machine, told nothing any more.

        Raises:
            MachineError: The client ended on machines that are well.
        """
        assert self._client is not None
        health = lab.client.health
        try:
            answer = self._client.ask("run", self._deadline_s, case=number, times=self._times)
        except MachineError:
            # A hang is a result; a client that is gone without a cause is not.
            if not health.wait_for_loss(AFTERMATH_S) and self._client.ended:
                raise
            return None
        told = msgspec.convert(answer, Told)
        if told.status != "0":
            health.wait_for_loss(AFTERMATH_S)
        return told


def _explain(lab: Lab, lines: Sequence[str]) -> str:
    """Say why a case failed: usbtest's words, and the daemons that ended by themselves."""
    ended = [name for name, daemon in lab.strategy.daemons.items() if daemon.ended]
    return "; ".join(filter(None, (usbtest_words(lines), *(f"{name} ended" for name in ended))))


def _loss(lab: Lab) -> str:
    try:
        lab.client.health.check()
    except MachineError as error:
        return crash_words(error.message, error.hint)
    return ""


@contextmanager
def _lost_together(lab: Lab) -> Iterator[None]:
    """Let the loss of either machine end every wait for the other, too."""

    def lose(one: Machine, other: Machine) -> None:
        try:
            one.health.check()
        except MachineError as error:
            other.health.lose(error)

    pairs = ((lab.back, lab.front), (lab.front, lab.back))
    unwatch = [one.health.watch(partial(lose, one, other)) for one, other in pairs]
    try:
        yield
    finally:
        for end in unwatch:
            end()
