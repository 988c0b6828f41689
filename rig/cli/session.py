"""``rig session``: a person, or a script, at a live rig."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TextIO

import typer

from rig.cli import run
from rig.cli.console import ConsoleProgress
from rig.cli.exits import Exit
from rig.errors import UserError
from rig.report.verdict import Outcome

Plan = Annotated[
    str,
    typer.Option(help="Rules that are there from the beginning: a file, or a shipped plan's name."),
]
FileSystems = Annotated[str, typer.Option(help="File systems, separated by commas.")]
Workload = Annotated[str, typer.Option(help="The first workload; 'workload' changes it.")]
Mib = Annotated[
    int | None,
    typer.Option(min=1, max=1 << 20, help="MiB of stamped data of a pass on each file system."),
]
Plain = Annotated[
    bool,
    typer.Option(
        "--plain", help="Line by line: for scripts and screen readers; also where no terminal is."
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="The first command that fails ends the session.")
]
Commands = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="Commands, a line each; -: from standard input."),
]


def session(  # noqa: PLR0917 - typer names them all
    commands: Commands = None,
    plan: Plan = "calm",
    fs: FileSystems = "ext4",
    workload: Workload = "usual",
    lun_mib: run.LunMib = None,
    mib: Mib = None,
    kernel: run.Kernel = "6.12",
    seed: run.Seed = None,
    driver: run.Driver = "split",
    client: run.Client = "usb-storage",
    policy: run.Policy = None,
    aca_status: run.AcaStatus = None,
    window: run.Window = None,
    attachment: run.Attachment = None,
    out: run.Out = None,
    plain: Plain = False,
    strict: Strict = False,
) -> None:
    """Boot two machines with a live workload, and break things by hand; leave the report of a run.

    docs/manual.md tells what can be done; 'help' in the session, too.
    """
    # The lab's libraries are slow to import, and 'rig --help' does not need them.
    from rig.experiments.run.options import check_recovery  # noqa: PLC0415
    from rig.session.holding import forget_output, hold_on_screen, hold_plainly  # noqa: PLC0415
    from rig.session.live.start import session_options  # noqa: PLC0415

    recovery = None
    if (policy, aca_status, window) != (None, None, None):
        recovery = check_recovery(policy or "hold", aca_status, window or 1)
    options = session_options(
        plan,
        fs,
        kernel,
        seed,
        recovery,
        driver=driver,
        client=client,
        attachment=attachment,
        bytes_each=None if mib is None else mib << 20,
        workload=workload,
        lun_mib=lun_mib,
    )
    by_hand = commands is None and all(map(_is_terminal, (sys.stdin, sys.stdout)))
    if by_hand and not (plain or strict):
        held = hold_on_screen(options, out, ConsoleProgress())
    else:
        held = hold_plainly(options, out, None if by_hand else _lines(commands), strict=strict)
    if held.ended.lost:
        forget_output()
    typer.echo("\n" + held.directory.file("summary.txt").read_text())
    # Said again: the summary may be longer than the terminal is high.
    said = held.verdict.verdict.upper()
    typer.echo(f"Verdict: {said}. All of it is in {held.directory.path}/")
    status = run.EXITS[held.verdict.verdict]
    if strict and held.ended.failed and held.verdict.verdict is Outcome.PASS:
        status = Exit.USAGE
    raise typer.Exit(status)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()  # None: it was closed before we began


def _lines(path: Path | None) -> Iterable[str]:
    if path is None or str(path) == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="backslashreplace")  # a bad octet costs its line alone
        return sys.stdin or ()
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"'{path}' cannot be read: {why}.") from error
