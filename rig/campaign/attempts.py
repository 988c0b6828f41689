"""One try of a job on a place that is held: ``rig run`` as a process, and what it came to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from rig.campaign.jobs import Attempt, Job, verdict_of
from rig.campaign.places import Held
from rig.errors import UserError
from rig.lab.children import end, spawn
from rig.report.verdict import Outcome

USAGE = 2
"""`rig.cli.exits.Exit.USAGE`."""
LOOK_S = 0.2
STOP_DEADLINE_S = 60.0
"""A run gives its hosts back as it found them; that takes a while."""
DOCTOR_DEADLINE_S = 120.0
RIG = (sys.executable, "-m", "rig")


def attempt(
    job: Job,
    held: Held,
    environment: Path,
    directory: Path,
    *,
    more: Sequence[str],
    stopped: Callable[[], bool],
) -> Attempt:
    """Run a job on a place.

    Args:
        job: It.
        held: The place.
        environment: Its environment file.
        directory: The campaign's; gets a run directory and a log with the job's name.
        more: More options of ``rig run``.
        stopped: Says whether the campaign is to end.

    Raises:
        UserError: ``rig run`` refused what was asked for.
    """
    out = directory / job.name
    put_aside(out)
    argv = [*RIG, "run", "--lab", "hosts", "--lg-env", str(environment), "--out", str(out)]
    argv += ["--plan", job.plan, "--fs", job.fs, *more]
    log = directory / f"{job.name}.log"
    began = time.monotonic()
    with log.open("ab") as told:
        begin = told.tell()
        status = _watched(argv, told, lambda: bool(held.fault) or stopped())
    seconds = round(time.monotonic() - began, 1)
    if status == USAGE:
        raise UserError(_last(log, begin) or f"'rig run' refused job '{job.name}'.")
    verdict = verdict_of(out)
    outcome = verdict.verdict if verdict is not None else None
    if held.fault:
        return Attempt(held.name, outcome, held.fault, seconds, job.name)
    if stopped() and outcome in {None, Outcome.INFRASTRUCTURE}:
        return Attempt(held.name, None, "The campaign was ended.", seconds, job.name)
    if verdict is None:
        void = _last(log, begin) or f"The run ended with status {status} and said nothing."
        return Attempt(held.name, None, void, seconds, job.name)
    reason = verdict.reasons[0] if verdict.reasons else ""
    void = reason if outcome is Outcome.INFRASTRUCTURE else ""
    return Attempt(held.name, outcome, void, seconds, job.name)


def diagnose(environment: Path) -> str:
    """Return the first thing that is lacking at a place, as a sentence; "" for nothing.

    Args:
        environment: Its environment file.
    """
    argv = [*RIG, "doctor", "--lab", str(environment), "--json"]
    child = spawn(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert child.stdout
    try:
        told, _ = child.communicate(timeout=DOCTOR_DEADLINE_S)
    except subprocess.TimeoutExpired:
        end(child, 0.0)
        child.stdout.close()
        return f"'rig doctor' had not looked at its machines after {DOCTOR_DEADLINE_S:.0f} s."
    try:
        rows = json.loads(told)
    except ValueError:
        return told.decode("utf-8", "replace").strip().removeprefix("rig: ")
    for row in rows:
        if row["state"] == "lacking":
            return (
                f"Machine '{row['machine']}': {row['what']}: {row['found']} {row['mend']}".strip()
            )
    return ""


def put_aside(directory: Path) -> str:
    """Rename what an earlier try has left, so that it is not lost; return the new name."""
    if not directory.exists():
        return ""
    number = 1
    while (aside := directory.with_name(f"{directory.name}.attempt{number}")).exists():
        number += 1
    directory.rename(aside)
    return aside.name


def _watched(argv: Sequence[str], log: IO[bytes], stop: Callable[[], bool]) -> int | None:
    """Run a program until its end, or until it is to stop."""
    child = spawn(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while not stop():
        with suppress(subprocess.TimeoutExpired):
            return child.wait(LOOK_S)
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    return end(child, STOP_DEADLINE_S)


def _last(log: Path, begin: int) -> str:
    """Return the last thing that a run said on its log, from an offset on."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").splitlines()
    said = [line.removeprefix("rig: ") for line in lines if line.startswith("rig: ")]
    return said[-1] if said else ""
