"""``rig certs``: a private CA, and the machines' certificates for the link."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from rig.errors import UserError

Directory = Annotated[Path, typer.Argument(help="Where the CA lies, or is to lie.")]
Machines = Annotated[
    list[str],
    typer.Option(
        "--machine",
        metavar="NAME[=OTHER,...]",
        help="A machine, front or back, and other names or addresses of it; may be repeated.",
    ),
]
Renew = Annotated[
    bool, typer.Option("--renew", help="Replace keys and certificates that are there.")
]


def certs(directory: Directory, machine: Machines, renew: Renew = False) -> None:
    """Make a private CA, or use the one that is there, and a certificate for each machine."""
    # The library is slow to import, and 'rig --help' does not need it.
    from rig.lab.authority import CA_KEY, Authority, Machine, check  # noqa: PLC0415

    machines = [Machine.parse(text) for text in machine]
    now = datetime.now(UTC)
    try:
        check(directory, machines, renew=renew)
        authority = Authority.open_or_make(directory, now)
        places = [(one.name, authority.issue(one, now)) for one in machines]
    except OSError as error:
        raise UserError(
            f"The CA's directory '{directory}' cannot be used: {error.strerror}.",
            hint="Name a directory of your own.",
        ) from error
    if authority.is_new:
        typer.echo(f"Made a CA in {directory}; {directory / CA_KEY} stays on this machine.")
    for name, place in places:
        typer.echo(f"Copy {shlex.quote(str(place))} with its three files to the machine {name}.")
    typer.echo(
        "On the back end: rig back --certs COPY --peer FRONT; on the front end:"
        " rig front --certs COPY --back-name BACK, where COPY is the directory there, and FRONT"
        " and BACK are the machines' names in their certificates."
    )
