"""``rig run``: one run in the QEMU lab."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from rig.cli.console import ConsoleProgress
from rig.cli.exits import Exit
from rig.report.expected import surprise
from rig.report.verdict import Outcome

EXITS = {
    Outcome.PASS: Exit.PASS,
    Outcome.FAIL: Exit.FAIL,
    Outcome.INFRASTRUCTURE: Exit.INFRASTRUCTURE,
    Outcome.INDETERMINATE: Exit.INDETERMINATE,
}

Plan = Annotated[str, typer.Option(help="Fault plan: a file, or the name of a shipped one.")]
FileSystems = Annotated[
    str, typer.Option(help="File systems, separated by commas; raw: the disk without any.")
]
Workload = Annotated[
    str, typer.Option(help="What to write, separated by commas; list: say what there is, and end.")
]
LunMib = Annotated[
    int | None,
    typer.Option(min=1, max=1 << 20, help="Size of the LUN in MiB; default: what is needed."),
]
Mib = Annotated[
    int | None,
    typer.Option(
        min=1, max=1 << 20, help="MiB of stamped data on each file system; default: what is quick."
    ),
]
Kernel = Annotated[str, typer.Option(help="The machines' kernel: 6.12 or 6.1.")]
Seed = Annotated[int | None, typer.Option(help="Instead of the plan's own.")]
Driver = Annotated[
    str,
    typer.Option(
        help="Who carries the disk to the workload: split; usbip, the kernel's; or direct, nobody."
    ),
]
Client = Annotated[
    str,
    typer.Option(
        help="Who uses it there: usb-storage; or deep-queue, with many URBs in flight at once."
    ),
]
Policy = Annotated[
    str | None, typer.Option(help="The split driver's: hold (the usual), aca or naive.")
]
AcaStatus = Annotated[
    str | None,
    typer.Option(help="What aca fails URBs with: EPROTO, ECONNRESET, EAGAIN, ESHUTDOWN."),
]
Window = Annotated[
    int | None,
    typer.Option(min=1, max=64, help="URBs of an endpoint in the controller; hold alone."),
]
Attachment = Annotated[
    str | None,
    typer.Option(
        help="Host controller below: dummy, xhci, xhci-raw, ehci, ohci, udc:NAME."
        " Default: the plan's, or dummy."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: runs/<time>-<plan>.")]
Urbs = Annotated[
    bool | None,
    typer.Option(
        "--urbs/--no-urbs",
        help="Whether both ends of the split driver note every URB; default: with faults.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print verdict.json alone.")]


def run(  # noqa: PLR0917 - typer names them all
    plan: Plan = "demo",
    fs: FileSystems = "ext4,vfat",
    workload: Workload = "usual",
    lun_mib: LunMib = None,
    mib: Mib = None,
    kernel: Kernel = "6.12",
    seed: Seed = None,
    driver: Driver = "split",
    client: Client = "usb-storage",
    policy: Policy = None,
    aca_status: AcaStatus = None,
    window: Window = None,
    attachment: Attachment = None,
    out: Out = None,
    urbs: Urbs = None,
    json: Json = False,
) -> None:
    """Boot two machines, write through the split driver while endpoints fail, give a verdict."""
    # The lab's libraries are slow to import, and 'rig --help' does not need them.
    from rig.experiments.run.options import (  # noqa: PLC0415
        LIST,
        check_recovery,
        check_wishes,
        list_workloads,
    )
    from rig.experiments.run.run import run as run_in_lab  # noqa: PLC0415

    if workload == LIST:
        typer.echo(list_workloads())
        return
    recovery = None
    if (policy, aca_status, window) != (None, None, None):
        recovery = check_recovery(policy or "hold", aca_status, window or 1)
    options = check_wishes(
        plan,
        fs,
        kernel,
        seed,
        recovery,
        driver=driver,
        client=client,
        attachment=attachment,
        bytes_each=None if mib is None else mib << 20,
        workloads=workload,
        lun_mib=lun_mib,
    )
    options = dataclasses.replace(options, urbs=urbs)
    directory, verdict = run_in_lab(options, out, ConsoleProgress())
    if json:
        typer.echo(directory.file("verdict.json").read_text(), nl=False)
    else:
        typer.echo("\n" + directory.file("summary.txt").read_text())
        typer.echo(surprise(options.plan, verdict) or "This is what the plan expects.")
        typer.echo(f"All of it is in {directory.path}/")
    raise typer.Exit(EXITS[verdict.verdict])
