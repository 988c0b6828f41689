"""``rig plan``: check, explain and list fault plans, and print their schema."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated

import typer

from rig.cli.exits import Exit
from rig.errors import UserError
from rig.faults.explain import explain as tell
from rig.faults.lines import Lines
from rig.faults.load import load_plan, read_plan_text, shipped_plans
from rig.faults.phases import PHASES
from rig.faults.plan import Fault, layer_of
from rig.faults.reader import parse_plan
from rig.faults.schema import plan_schema
from rig.faults.shown import many, printable
from rig.splitdriver.policy import Policy

app = typer.Typer(help="Check, explain and list fault plans.")

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Files, or names of shipped plans.")
]
File = Annotated[str, typer.Argument(metavar="FILE", help="A file, or the name of a shipped plan.")]
PolicyName = Annotated[Policy, typer.Option("--policy", help="Of both ends.")]
Seed = Annotated[int | None, typer.Option(help="Instead of the plan's own.")]


@app.command()
def schema() -> None:
    """Print the JSON schema of a plan, for editors and other programs."""
    typer.echo(json.dumps(plan_schema(), indent=2))


@app.command()
def check(files: Files) -> None:
    """Check plans: exit status 0, or 2 and one sentence that names file, line and key."""
    from rig.experiments.run.plugging import plug  # noqa: PLC0415 - 'rig --help' is to be quick

    for file in files:
        text = read_plan_text(file)  # once: it may be a pipe
        plan = parse_plan(text, file, PHASES)
        if plan.attachment is not None:
            try:
                plug(plan, None)
            except UserError as error:
                place = f"{printable(file)}, line {Lines(text, 0).of(0, 'attachment')}"
                raise UserError(f"{place}: {error.message}", hint=error.hint) from error
        layers = dict.fromkeys(layer_of(fault) for fault in plan.faults)
        told = many(len(plan.faults), "rule") + (f" ({', '.join(layers)})" if layers else "")
        typer.echo(f"{printable(file)}: {told}: valid.")


@app.command()
def explain(file: File, seed: Seed = None) -> None:
    """Tell in words what a plan does and when; with a probability, the matches of its seed."""
    typer.echo(tell(load_plan(file, seed, PHASES)))


@app.command()
def rehearse(file: File, seed: Seed = None, policy: PolicyName = Policy.HOLD) -> None:
    """Play a plan in simulation: both ends' cores, and a disk's commands, in virtual time.

    The same plan and seed give the same list.  The exit status is 1 if the split driver breaks
    Linux's promise.  Rules that the simulation has no place for are named, and so are those that
    found no match in it.
    """
    from rig.sim.promise import BrokenError  # noqa: PLC0415 - 'rig --help' does not need it
    from rig.sim.rehearsal import Rehearsal, left_out  # noqa: PLC0415

    plan = load_plan(file, seed, PHASES)
    rehearsal = Rehearsal(plan, policy)
    try:
        rehearsal.run()
    except BrokenError as error:
        typer.echo(f"Rule '{error.rule}' is broken. {error.text}")
        raise typer.Exit(Exit.FAIL) from error
    finally:
        for one in rehearsal.firings:
            typer.echo(f"{one.t_s:9.3f} s  {one.layer:<9} {one.rule:<28} match {one.match}")
    fired = many(len(rehearsal.firings), "fault")
    typer.echo(f"{fired} fired, and no rule of the split driver is broken.")
    out = left_out(plan)
    _tell_rules("Left out, for the simulation has no place for them", out)
    if out and len(out) == len(plan.faults):
        typer.echo("That is all of the plan: only 'rig run' can try it.")
    met = {one.rule for one in rehearsal.firings}
    idle = [one for one in plan.faults if one not in out and one.name not in met]
    _tell_rules("Not fired, for the simulation brought them no match", idle)


def _tell_rules(what: str, rules: Iterable[Fault]) -> None:
    """Name rules, if there are any, by layer."""
    by_layer: dict[str, list[str]] = {}
    for rule in rules:
        by_layer.setdefault(layer_of(rule), []).append(rule.name)
    told = "; ".join(f"{layer}: {', '.join(names)}" for layer, names in by_layer.items())
    if told:
        typer.echo(f"{what}: {told}.")


@app.command("list")
def list_() -> None:
    """List the plans that come with the rig, with what a run under each is to end with."""
    for name in shipped_plans():
        plan = load_plan(name)
        layers = ", ".join(dict.fromkeys(str(layer_of(fault)) for fault in plan.faults))
        expect = " ".join([plan.expect, *plan.classes[:1]])
        typer.echo(f"{name:<20} {layers or '-':<17} {expect:<17} {_heading(name)}")


def _heading(name: str) -> str:
    """The first line of a plan's comment."""
    return read_plan_text(name).partition("\n")[0].removeprefix("#").strip()
