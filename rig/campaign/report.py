"""What a campaign leaves: ``campaign.json``, a table, and what to go on from."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rig.campaign.jobs import GRAVEST, Done, Job, verdict_of
from rig.errors import UserError
from rig.report.record import leave
from rig.report.verdict import Outcome

REPORT = "campaign.json"
LOCK = ".lock"


class Report(msgspec.Struct, frozen=True):
    """All of a campaign.

    Attributes:
        verdict: The worst of all.
        done: What has become of each job, in the order of the list.
        broken: Why each place that was marked as broken was.
        left: Jobs of which nothing can be said, as no place was left or the end came first.
        seconds: How long it took, this time.
        places: How many jobs each place did, this time.
    """

    verdict: Outcome
    done: tuple[Done, ...]
    broken: dict[str, str]
    left: tuple[Job, ...]
    seconds: float
    places: dict[str, int]


def made(
    jobs: Sequence[Job], done: dict[str, Done], broken: dict[str, str], seconds: float
) -> Report:
    """Return the report of what is done until now."""
    finished = tuple(done[job.name] for job in jobs if job.name in done)
    left = tuple(job for job in jobs if job.name not in done)
    outcomes = {one.outcome for one in finished} | ({Outcome.INFRASTRUCTURE} if left else set())
    worst = next((one for one in GRAVEST if one in outcomes), Outcome.PASS)
    places: dict[str, int] = {}
    for one in finished:
        if one.place:
            places[one.place] = places.get(one.place, 0) + 1
    return Report(worst, finished, dict(broken), left, round(seconds, 1), places)


def write(report: Report, directory: Path) -> None:
    """Leave it as ``campaign.json``; whoever reads sees the old one or the new one."""
    draft = directory / f"{REPORT}.new"
    leave(report, draft)
    draft.replace(directory / REPORT)


def finished_before(jobs: Sequence[Job], directory: Path) -> dict[str, Done]:
    """Return which jobs an interrupted campaign has done, by name.

    Those whose infrastructure failed are to be done again, and those that were another job then.
    """
    try:
        before = msgspec.json.decode((directory / REPORT).read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError):
        return {}
    digests = {job.name: job.digest for job in jobs}
    return {
        one.job.name: one
        for one in before.done
        if digests.get(one.job.name) == one.job.digest
        if one.outcome is not Outcome.INFRASTRUCTURE
        if verdict_of(directory / one.job.name) is not None
    }


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Have a campaign's directory for oneself; it is made if need be.

    Raises:
        UserError: Another campaign has it, it is something else's, or it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()) and not (directory / LOCK).exists():
            raise UserError(
                f"The directory '{directory}' is not empty, and no campaign's.",
                hint="Name another with --out.",
            )
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"The directory '{directory}' cannot be used: {error.strerror}.",
            hint="Name another with --out.",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UserError(
            f"Another campaign is at work in '{directory}'.", hint="Name another with --out."
        ) from error
    finally:
        os.close(lock)
