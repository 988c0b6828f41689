"""``rig campaign``: many runs, on as many labs as a labgrid coordinator has."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rig.about import about
from rig.cli.console import Screen, stderr_console
from rig.cli.run import EXITS
from rig.errors import UserError
from rig.report.verdict import Outcome

if TYPE_CHECKING:
    from rig.campaign.jobs import Job
    from rig.campaign.report import Report

_COLOURS = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.INDETERMINATE: "yellow",
    Outcome.INFRASTRUCTURE: "magenta",
}
OURS = ("--lab", "--lg-env", "--out", "--plan", "--fs", "--json")
"""Options of ``rig run`` that a campaign sets itself."""

_TAG = re.compile(r"[a-z][a-z0-9_]+=[^=]+")


def campaign(  # noqa: PLR0917 - typer names them all
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(help="Gets a run directory for each job; the same one goes on.")
    ],
    lg_env: Annotated[
        Path, typer.Option(help="labgrid environment file of all labs (docs/lab.md).")
    ],
    coordinator: Annotated[
        str, typer.Option(envvar="LG_COORDINATOR", help="labgrid's coordinator: HOST[:PORT].")
    ] = "127.0.0.1:20408",
    number: Annotated[
        int, typer.Option("-n", "--number", min=1, help="How many jobs at a time at most.")
    ] = 1,
    tag: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE that a place must have; again for more.")
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(help="Fault plan as 'rig run' takes it, or a directory of plans; again."),
    ] = None,
    fs: Annotated[
        list[str] | None, typer.Option(help="File systems of a job, as 'rig run' has it; again.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often each is done.")] = 1,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a place that others use.")
    ] = 3600.0,
    json: Annotated[bool, typer.Option("--json", help="Print campaign.json alone.")] = False,
) -> None:
    """Run plans on many labs at a time: jobs are all plans with all file systems, repeated.

    What follows -- are more options of 'rig run', the same for all jobs.
    """
    # labgrid and gRPC are slow to import, and 'rig --help' does not need them.
    from rig.campaign.campaign import Campaign  # noqa: PLC0415
    from rig.campaign.coordinator import coordinator as calling  # noqa: PLC0415
    from rig.campaign.places import kept  # noqa: PLC0415
    from rig.campaign.rendering import Pool  # noqa: PLC0415
    from rig.campaign.report import claimed, finished_before  # noqa: PLC0415
    from rig.lab.private import private_directory  # noqa: PLC0415

    tags = tags_of(tag or [])
    pool = Pool(lg_env)
    jobs = _jobs(plan or ["demo"], fs or ["ext4,vfat"], repeat, _more(context.args))
    tell = _Teller()
    with ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        stack.enter_context(claimed(out))
        desk = stack.enter_context(calling(coordinator))
        private = stack.enter_context(private_directory())
        places = stack.enter_context(kept(desk, tags, tell))
        before = finished_before(jobs, out)
        found = places.check() if len(before) < len(jobs) else 0
        tell(_plan_of(len(jobs), len(before), found, number))
        report = Campaign(
            desk,
            places,
            pool,
            jobs,
            before,
            directory=out,
            private=private,
            more=context.args,
            wait_s=wait,
            tell=tell,
        ).run(number)
    _show(report, out, json=json)
    raise typer.Exit(EXITS[report.verdict])


def tags_of(given: Sequence[str]) -> dict[str, str]:
    """Read KEY=VALUE words.

    Raises:
        UserError: One is none.
    """
    for one in given:
        if not _TAG.fullmatch(one):
            raise UserError(
                f"'{one}' is no tag.", hint="KEY=VALUE; a key has small letters, digits and _."
            )
    return dict(one.split("=", 1) for one in given)


def _more(given: Sequence[str]) -> str:
    for word in given:
        if word.partition("=")[0] in OURS:
            raise UserError(f"{word} of 'rig run' is the campaign's to set.")
    return " ".join(given)


def _jobs(plans: Sequence[str], file_systems: Sequence[str], repeat: int, more: str) -> list[Job]:
    from rig.campaign import jobs  # noqa: PLC0415
    from rig.experiments.run.options import check_wishes  # noqa: PLC0415

    texts = {
        plan: check_wishes(plan, fs, "6.12", None).plan_text
        for plan in jobs.plans(plans)
        for fs in file_systems
    }
    return jobs.listed(texts, file_systems, repeat, f"{more}\0{about().digest}")


def _plan_of(jobs: int, before: int, found: int, number: int) -> str:
    done = f", {before} of them done before" if before else ""
    word = "place fits" if found == 1 else "places fit"
    return f"{jobs} jobs{done}; {found} {word}, {number} at a time at most"


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C; those that follow must not disturb the end."""
    ending = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        del number, frame
        if not ending.is_set():
            ending.set()
            raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Teller:
    """Says a sentence on standard error; each is a line, for jobs run side by side."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        with self._lock:
            self._console.print(f"[dim]·[/] {escape(text)}")


def _show(report: Report, out: Path, *, json: bool) -> None:
    from rig.campaign.report import REPORT  # noqa: PLC0415

    if json:
        typer.echo((out / REPORT).read_text(), nl=False)
        return
    screen = Screen(highlight=False, width=None if os.isatty(1) else 160)
    table = Table("job", "verdict", "place", "tries", "time", "why", box=None)
    for one in report.done:
        taken = f"{sum(a.seconds for a in one.attempts):.0f} s" if one.attempts else "before"
        verdict = f"[{_COLOURS[one.outcome]}]{one.outcome}[/]"
        tries = str(len(one.attempts) or "")
        table.add_row(one.job.name, verdict, one.place, tries, taken, escape(one.why))
    for job in report.left:
        table.add_row(job.name, "not done", "", "", "", "")
    screen.print(table)
    for place, why in report.broken.items():
        screen.print(escape(f"Broken: {place}: {why}"))
    counts = ", ".join(f"{place} {count}" for place, count in sorted(report.places.items()))
    screen.print(f"{report.verdict}: {len(report.done)} jobs in {report.seconds:.0f} s; {counts}")
    screen.print(f"All of it is in {escape(str(out))}/")
