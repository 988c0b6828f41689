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

from rig.errors import MachineError
from rig.lab.conformance_report import CaseResult, PathReport, Result, trouble, usbtest_words
from rig.lab.daemons import Daemon, Event
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.lab.strategy import LabState, Setup
from rig.progress import Progress
from rig.usb.usbtest import CASES

CASE_DEADLINE_S = 60.0
CASE_DEADLINE_PER_TIME_S = 5.0
"""For one case, and for each multiple of its iterations.  usbtest itself gives a transfer 10 s."""

BEGIN_DEADLINE_S = 30.0
"""Until the test client on its machine begins its first case."""

AFTERMATH_S = 4.0
"""After a case that failed: so long a kernel may take to say that it is dying.  A connection
breaks at once; the console's report of the crash that broke it is longer."""


class NewGuestsNeeded(Exception):  # noqa: N818 - not an error: a case's result has it already
    """The machines are of no use any more."""


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
                with _lost_together(lab):
                    self._run_in(lab)
        return PathReport(self._setup.path.value, labs, tuple(self._results))

    def _run_in(self, lab: Lab) -> None:
        """Run cases until all are done or the machines are spoilt."""
        self._plug(lab)
        try:
            while self._waiting:
                result = self._run_case(lab, self._waiting[0])
                self._results.append(result)
                del self._waiting[0]
                if result.spoils_machines:
                    raise NewGuestsNeeded
                if result.result is not Result.PASS and self._waiting:
                    self._plug_again(lab)
        except NewGuestsNeeded:
            self._progress.note(f"{self._results[-1].told}; the rest goes on in new machines")

    def _plug(self, lab: Lab) -> None:
        lab.transition(LabState.ATTACHED)
        cases = ",".join(map(str, self._waiting))
        argv = ["rig", "usbtest", lab.found, "--case", cases, "--times", str(self._times)]
        self._client = lab.client.start_daemon(argv, "usbtest")

    def _plug_again(self, lab: Lab) -> None:
        """Plug the device in anew: the failed case may have left it in any state."""
        try:
            assert self._client is not None
            lab.client.check(f"kill -9 {self._client.pid()} 2>/dev/null || true")
            self._client.stop()
            lab.transition(LabState.BOOTED)
            self._plug(lab)
        except MachineError as error:
            raise NewGuestsNeeded from error

    def _run_case(self, lab: Lab, number: int) -> CaseResult:
        case = CASES[number]
        positions = {m.name: m.console.position for m in (lab.back, lab.front) if m.console}
        started = time.monotonic()
        with self._progress.step(f"{self._setup.path.value}: {number} {case.name}"):
            event, loss = self._wait_result(lab, number)
        lines = [
            line
            for machine in (lab.back, lab.front)
            if machine.console
            for line in machine.console.since(positions[machine.name])
        ]
        if loss:
            result, detail = Result.CRASH, loss
        elif event is None:
            result, detail = Result.HANG, f"no result in {self._deadline_s:g} s"
        else:
            result = Result.of(event["status"])
            detail = "" if result is Result.PASS else usbtest_words(lines)
            if warning := trouble(lines):
                result, detail = Result.WARNING, warning
        return CaseResult(
            case=number,
            name=case.name,
            result=result,
            status=event["status"] if event else "",
            duration_s=event["duration_s"] if event else round(time.monotonic() - started, 3),
            detail=detail,
        )

    def _wait_result(self, lab: Lab, number: int) -> tuple[Event | None, str]:
        """Wait for the end of a case.

        Returns:
            The client's event, or None if none came; and why a machine was lost, or "".

        Raises:
            MachineError: The client ended or did not begin, on machines that are well.
        """
        assert self._client is not None
        health = lab.client.health
        try:
            self._client.wait_event("case", BEGIN_DEADLINE_S, case=number)
            event = self._client.wait_event("result", self._deadline_s, case=number)
        except MachineError:
            # A hang is a result; a client that is gone without a cause is not.
            hangs = _begun(self._client, number) and not self._client.ended
            if not health.wait_for_loss(AFTERMATH_S) and not hangs:
                raise
            return None, _loss(lab)
        if event["status"] != "0":
            health.wait_for_loss(AFTERMATH_S)
        return event, _loss(lab)


def _begun(client: Daemon, number: int) -> bool:
    return any(e.get("event") == "case" and e.get("case") == number for e in client.events)


def _loss(lab: Lab) -> str:
    try:
        lab.client.health.check()
    except MachineError as error:
        return error.message
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
