"""``rig explore``: the split driver's cores on thousands of schedules, in simulation."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from rig.cli.console import ConsoleProgress, stderr_console
from rig.cli.exits import Exit
from rig.errors import UserError
from rig.splitdriver.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rig.sim.explorer import Explored, Finding, Rules

MAX_STORY_LINES = 60
SCHEDULES, SEED = 100_000, 2005

PolicyName = Annotated[Policy, typer.Option("--policy", help="Of both ends.")]
Schedules = Annotated[
    int | None, typer.Option(min=1, help="How many are played.", show_default="100000")
]
Seed = Annotated[int | None, typer.Option(help="Chooses the schedules.", show_default="2005")]
Window = Annotated[int, typer.Option(min=1, max=64, help="Of the back end, under policy hold.")]
Clients = Annotated[
    list[str],
    typer.Option(
        "--client",
        help="What a client does about an error: unlink, retry or nothing; default: all.",
    ),
]
KeepGoing = Annotated[bool, typer.Option(help="Do not end with the first rule that is broken.")]
Replay = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEDULE",
        help="Play alone what 'rig explore' printed, or SEED:NUMBER, and tell what happens.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def explore(  # noqa: PLR0917 - typer names them all
    policy: PolicyName = Policy.HOLD,
    schedules: Schedules = None,
    seed: Seed = None,
    window: Window = 1,
    client: Clients = [],  # noqa: B006 - typer only reads it
    keep_going: KeepGoing = False,
    replay: Replay = None,
    json: Json = False,
) -> None:
    """Look for schedules on which the split driver breaks Linux's promise.

    The real cores of both ends run between models of their surroundings; what is found is told in
    the shortest schedule that can be made of it.  The exit status is 1 if a rule was broken.
    """
    from rig.sim.explorer import Rules  # noqa: PLC0415 - 'rig --help' does not need it
    from rig.sim.scenario import Handler  # noqa: PLC0415

    if window != 1 and policy is not Policy.HOLD:
        raise UserError(f"A window is for policy hold, not for {policy}.", hint="Leave it out.")
    known = {handler.name.lower(): handler for handler in Handler}
    for name in client:
        if name not in known:
            raise UserError(f"No client does '{name}'.", hint=f"There are: {', '.join(known)}.")
    rules = Rules(policy, window, tuple(known[name] for name in client) or tuple(Handler))
    if replay is not None:
        if schedules is not None or seed is not None or keep_going:
            raise UserError(
                "--replay plays the one schedule that it names.",
                hint="Leave out --schedules, --seed and --keep-going; SEED:NUMBER names a seed.",
            )
        raise typer.Exit(_replay(rules, replay, json=json))
    seed = SEED if seed is None else seed
    explored = _explore(rules, seed, schedules or SCHEDULES, keep_going=keep_going, json=json)
    raise typer.Exit(explored)


def _explore(rules: Rules, seed: int, schedules: int, *, keep_going: bool, json: bool) -> Exit:
    from rig.sim import explorer  # noqa: PLC0415

    start_s = time.process_time()
    with _bar(f"explore {rules.policy}, seed {seed}", schedules) as played:
        explored = explorer.explore(
            rules, seed, range(schedules), keep_going=keep_going, played=played
        )
    rate = explored.schedules / max(time.process_time() - start_s, 1e-6)
    if explored.findings:
        with _bar("make it short", None) as tried:
            explored.findings = [
                explorer.shortened(rules, seed, each, tried) for each in explored.findings
            ]
    if json:
        told = {"seed": seed, "schedules_per_s": round(rate), **msgspec.to_builtins(explored)}
        typer.echo(_as_json(rules, told))
    else:
        for finding in explored.findings:
            _print_finding(rules, finding)
        _print_sum(rules, seed, explored, rate)
    return Exit.FAIL if explored.findings else Exit.PASS


def _replay(rules: Rules, word: str, *, json: bool) -> Exit:
    from rig.sim.explorer import play  # noqa: PLC0415
    from rig.sim.story import Story  # noqa: PLC0415

    story = Story()
    schedule = _schedule(rules, word)
    end = play(rules, schedule, story)
    if json:
        told = {"schedule": schedule.hex(), "rule": end.rule, "text": end.text}
        typer.echo(_as_json(rules, {**told, "story": story.lines}))
        return Exit.FAIL if end.rule else Exit.PASS
    _print_story(story.lines)
    typer.echo(f"Rule '{end.rule}' is broken. {end.text}" if end.rule else "No rule is broken.")
    return Exit.FAIL if end.rule else Exit.PASS


def _schedule(rules: Rules, word: str) -> bytes:
    """Read a schedule: hexadecimal, or SEED:NUMBER."""
    from rig.sim.scenario import generate  # noqa: PLC0415

    if found := re.fullmatch(r"(\d+):(\d+)", word):
        return generate(int(found[1]), int(found[2]), rules.handlers)
    if re.fullmatch(r"([0-9A-Fa-f]{2})+", word):
        return bytes.fromhex(word)
    raise UserError(
        f"'{word}' is no schedule.", hint="Give what 'rig explore' printed, or SEED:NUMBER."
    )


def _print_finding(rules: Rules, finding: Finding) -> None:
    _print_story(finding.story)
    typer.echo(f"\nRule '{finding.rule}' is broken. {finding.text}")
    again = f"--policy {rules.policy} --window {rules.window} --replay {finding.schedule}"
    typer.echo(f"Made short from schedule {finding.number}. Again: rig explore {again}\n")


def _print_story(lines: list[str]) -> None:
    typer.echo("move  where           what")
    for line in lines[:MAX_STORY_LINES]:
        typer.echo(line)
    if len(lines) > MAX_STORY_LINES:
        typer.echo(f"      … and {len(lines) - MAX_STORY_LINES} more")


def _print_sum(rules: Rules, seed: int, explored: Explored, rate: float) -> None:
    played = f"{explored.schedules} schedules of seed {seed}, {explored.moves} moves"
    typer.echo(f"Policy {rules.policy}, window {rules.window}: {played}, {rate:.0f} a second.")
    for rule, count in sorted(explored.broken.items()):
        typer.echo(f"  {rule}: broken in {count}")
    if not explored.broken:
        typer.echo("  No rule was broken.")
    if explored.failed_for_nothing:
        typer.echo(f"  {explored.failed_for_nothing} URBs failed to which nothing had happened.")


def _as_json(rules: Rules, told: Mapping[str, object]) -> str:
    everything = {
        "policy": rules.policy,
        "window": rules.window,
        "clients": [handler.name.lower() for handler in rules.handlers],
        **told,
    }
    return msgspec.json.format(msgspec.json.encode(everything), indent=2).decode()


@contextmanager
def _bar(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, and the beginning and the end of the work elsewhere."""
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = stderr_console()
    with (
        ConsoleProgress(console).step(name)
        if not console.is_terminal
        else Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        ) as bar
    ):
        if bar is None:
            yield lambda _: None
        else:
            task = bar.add_task(name, total=total)
            yield lambda count: bar.update(task, completed=count)
