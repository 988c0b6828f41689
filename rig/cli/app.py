"""The station's commands: which there are.  Each lives in its own file."""

from __future__ import annotations

from collections.abc import Callable

import typer

from rig import __version__
from rig.cli import (
    bench,
    campaign,
    compare,
    conformance,
    drivers,
    explain,
    explore,
    fidelity,
    hazard,
    monitor,
    run,
    session,
)
from rig.cli.certs import certs
from rig.cli.doctor import doctor
from rig.cli.exits import Exit
from rig.cli.image import app as image_app
from rig.cli.labs import in_lab
from rig.cli.machine import HELP, MACHINE_COMMANDS, run_machine_command
from rig.cli.plan import app as plan_app
from rig.errors import UserError

app = typer.Typer(
    name="rig",
    help="A USB split driver, and the rig that proves it keeps data where it belongs.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("run")(in_lab(run.run))
app.command("campaign", context_settings={"allow_extra_args": True})(campaign.campaign)
app.command("session")(in_lab(session.session))
app.command("conformance")(in_lab(conformance.conformance))
app.command("compare")(in_lab(compare.compare))
app.command("hazard")(in_lab(hazard.hazard))
app.command("drivers")(in_lab(drivers.drivers))
app.command("fidelity")(in_lab(fidelity.fidelity))
app.command("bench")(in_lab(bench.bench))
# So that -1 is seen as an LBA, though none that there is.
app.command("explain", context_settings={"ignore_unknown_options": True})(explain.explain)
app.command("explore")(explore.explore)
app.command("monitor")(monitor.monitor)
app.command("doctor")(doctor)
app.command("certs")(certs)
app.add_typer(image_app, name="image")
app.add_typer(plan_app, name="plan")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_version, is_eager=True
    ),
) -> None:
    """Take the options before the command."""


def _listed(name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        raise typer.Exit(run_machine_command(name, context.args))

    command.__doc__ = HELP[name]
    return command


for _name in MACHINE_COMMANDS:
    # Found by rig.cli.main before this module is imported; here they are listed by --help.
    app.command(_name, rich_help_panel="On a machine")(_listed(_name))


def call(argv: list[str]) -> int:
    """Run a station command.

    Returns:
        Its exit status.

    Raises:
        UserError: The arguments are wrong.
    """
    command = typer.main.get_command(app)
    try:
        # Not app(...): that swallows Ctrl-C and broken pipes, which are rig.cli.main's to tell.
        with command.make_context("rig", argv or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except typer.TyperException as error:
        said = error.format_message().rstrip(".")
        where = getattr(getattr(error, "ctx", None), "command_path", "rig")
        raise UserError(
            said if said.endswith("?") else f"{said}.",
            hint=f"'{where} --help' says what there is.",
        ) from error
    return Exit.PASS
