"""What a campaign does: a list of jobs, each a ``rig run``, and what has become of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from rig.errors import UserError
from rig.report.verdict import Outcome, Verdict

VERDICT = "verdict.json"
GRAVEST = (Outcome.FAIL, Outcome.INFRASTRUCTURE, Outcome.INDETERMINATE, Outcome.PASS)
"""The worst first."""


class Job(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        name: Its own in the campaign; of its directory.
        plan: As ``rig run --plan`` takes it.
        fs: As ``rig run --fs`` takes it.
        repetition: From 1 on.
        digest: Of all that makes the run what it is: the plan's text, the options, the rig.
    """

    name: str
    plan: str
    fs: str
    repetition: int
    digest: str


class Attempt(msgspec.Struct, frozen=True):
    """One try of a job, on one place.

    Attributes:
        place: Where.
        outcome: What it said; None if it said nothing.
        void: Why that does not count; "" if it does.
        seconds: How long it took.
        directory: Its run directory, in the campaign's; "" if there is none.
        is_places_fault: Whether the place was found to be broken.
    """

    place: str
    outcome: Outcome | None
    void: str
    seconds: float
    directory: str = ""
    is_places_fault: bool = False


class Done(msgspec.Struct, frozen=True):
    """What has become of a job.

    Attributes:
        job: It.
        outcome: What is said.
        why: Its first reason; "" for a pass.
        attempts: All tries, in order; none if it was done in an earlier campaign.
    """

    job: Job
    outcome: Outcome
    why: str
    attempts: tuple[Attempt, ...] = ()

    @property
    def place(self) -> str:
        """Where it was done; "" if nobody knows."""
        return self.attempts[-1].place if self.attempts else ""


def plans(given: Sequence[str]) -> list[str]:
    """Return plans, in place of directories those in them.

    Raises:
        UserError: A directory has none.
    """
    found: list[str] = []
    for one in given:
        path = Path(one)
        if not path.is_dir():
            found.append(one)
            continue
        inside = sorted(str(file) for file in path.glob("*.toml"))
        if not inside:
            raise UserError(f"The directory '{one}' has no fault plans (*.toml).")
        found += inside
    return found


def listed(
    texts: Mapping[str, str], file_systems: Sequence[str], repeat: int, rest: str
) -> list[Job]:
    """Return the jobs: every plan with every file system, all of that again and again.

    A repetition comes after all first ones, so that a campaign that is cut short has seen each.

    Args:
        texts: Of each plan, as ``--plan`` takes it.
        file_systems: As ``--fs`` takes them.
        repeat: How often.
        rest: All else that makes a run what it is.

    Raises:
        UserError: Two plans have one name.
    """
    jobs = [
        Job(f"{_plain(plan)}-{_plain(fs)}-{number}", plan, fs, number, _digest(text, fs, rest))
        for number in range(1, repeat + 1)
        for plan, text in texts.items()
        for fs in file_systems
    ]
    names = [job.name for job in jobs]
    for job in jobs:
        if names.count(job.name) > 1:
            raise UserError(
                f"Two jobs have the name '{job.name}'.", hint="Give plans different file names."
            )
    return jobs


def _plain(word: str) -> str:
    stem = Path(word).stem if word.endswith(".toml") else word
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "plan"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def verdict_of(directory: Path) -> Verdict | None:
    """Return the verdict of a run directory; None if there is none that can be read."""
    try:
        return msgspec.json.decode((directory / VERDICT).read_bytes(), type=Verdict)
    except (OSError, msgspec.DecodeError):
        return None
