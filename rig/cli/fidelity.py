"""``rig fidelity``: what the client's driver is told of each endpoint error, as a table."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rig.cli.console import ConsoleProgress
from rig.cli.exits import Exit
from rig.errors import UserError

if TYPE_CHECKING:
    from rig.experiments.fidelity.report import Report

Attachments = Annotated[
    list[str],
    typer.Option("--attachment", help="dummy, xhci, xhci-raw, ehci, ohci; default: all."),
]
Paths = Annotated[list[str], typer.Option("--path", help="split, usbip, direct; default: all.")]
Statuses = Annotated[list[str], typer.Option("--status", help="EPROTO, ...; default: all.")]
Directions = Annotated[list[str], typer.Option("--direction", help="out, in; default: both.")]
Moments = Annotated[
    list[str], typer.Option("--when", help="before, middle, after (the data); default: all.")
]
Kernel = Annotated[str, typer.Option(help="The machines' kernel: 6.12 or 6.1.")]
Write = Annotated[
    Path | None, typer.Option("--write", help="Write the page there, such as docs/fidelity.md.")
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Of this fidelity.json; nothing is tried anew."),
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: runs/<time>-fidelity.")]
Json = Annotated[bool, typer.Option("--json", help="Print fidelity.json alone.")]


def fidelity(  # noqa: PLR0917 - typer names them all
    attachment: Attachments = [],  # noqa: B006 - typer only reads it
    path: Paths = [],  # noqa: B006
    status: Statuses = [],  # noqa: B006
    direction: Directions = [],  # noqa: B006
    when: Moments = [],  # noqa: B006
    kernel: Kernel = "6.12",
    write: Write = None,
    source: From = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Make each endpoint error on each path, and see what the client's driver is told of it.

    All of it takes about a quarter of an hour on two cores without KVM.

    The exit status is 0 if over the split driver each error came through as it was and no data are
    wrong, 1 if not, 4 if an error did not come, or was not seen.
    """
    # The lab's libraries are slow to import, and 'rig --help' does not need them.
    from rig.experiments.fidelity.document import document  # noqa: PLC0415
    from rig.experiments.fidelity.fidelity import run  # noqa: PLC0415
    from rig.experiments.fidelity.wishes import read_wishes  # noqa: PLC0415
    from rig.report.record import encode  # noqa: PLC0415
    from rig.report.rundir import RunDirectory  # noqa: PLC0415

    wanted = {
        "attachments": attachment,
        "paths": path,
        "statuses": status,
        "directions": direction,
        "moments": when,
    }
    if source is not None:
        report = _read(source)
    else:
        wishes = read_wishes(**wanted, kernel=kernel)
        directory = RunDirectory.create("fidelity", out)
        command = _command(wanted, kernel, write)
        report = run(wishes, command, directory.path, ConsoleProgress())
    if write is not None:
        _write(write, document(report))
    if json:
        typer.echo(encode(report))
    elif write is None:
        typer.echo(document(report))
    raise typer.Exit(_exit(report))


def _command(wanted: dict[str, list[str]], kernel: str, write: Path | None) -> str:
    """Return the command as a page tells it."""
    names = {
        "attachments": "--attachment",
        "paths": "--path",
        "statuses": "--status",
        "directions": "--direction",
        "moments": "--when",
    }
    words = [word for key, given in wanted.items() for one in given for word in (names[key], one)]
    words += [] if kernel == "6.12" else ["--kernel", kernel]
    words += [] if write is None else ["--write", str(write)]
    return shlex.join(("rig", "fidelity", *words))


def _read(path: Path) -> Report:
    """Read a report.

    Raises:
        UserError: There is none.
    """
    import msgspec  # noqa: PLC0415

    from rig.experiments.fidelity.report import Report  # noqa: PLC0415

    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(
            f"'{path}' is no report of rig fidelity: {error}.",
            hint="Give the fidelity.json of a run directory.",
        ) from error


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {error.strerror}.") from error


def _exit(report: Report) -> Exit:
    if report.unfaithful:
        return Exit.FAIL
    return Exit.INDETERMINATE if report.incomplete else Exit.PASS
