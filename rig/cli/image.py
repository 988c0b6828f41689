"""``rig image``: build, list and prune the guest images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rig.cli.console import ConsoleProgress, Screen
from rig.faults.shown import many
from rig.guest_images import image
from rig.guest_images.cache import STATE, Cache, Entry
from rig.guest_images.spec import DEFAULT_KERNEL

app = typer.Typer(help="Build, list and prune the guest images.")

CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="The image cache [default: $RIG_CACHE or ~/.cache/rig/images]."),
]
MirrorOption = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        envvar="RIG_MIRROR",
        help="A Debian mirror's URL, or a sources.list [default: what this machine uses].",
    ),
]
KernelOption = Annotated[str, typer.Option("--kernel", help="The guests' kernel: 6.12 or 6.1.")]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


@app.command()
def build(
    kernel: KernelOption = DEFAULT_KERNEL,
    cache: CacheOption = None,
    mirror: MirrorOption = None,
) -> None:
    """Build what is not cached of an image of this checkout."""
    built = image.ensure(kernel, ConsoleProgress(), cache, mirror)
    sizes = [layer.path.stat().st_size for layer in built.layers]
    print(f"Guest image with kernel {built.kernel_version}: {sum(sizes) / 1e6:.0f} MB of layers.")


@app.command("list")
def list_(cache: CacheOption = None) -> None:
    """List the cached parts: size, age, and whether this checkout uses them."""
    store = Cache(cache)
    used = image.used_entries()
    table = Table("part", "key", "size", "age", "used by this checkout", box=None)
    total = 0
    for entry in store.entries():
        total += entry.size_bytes
        in_use = "yes" if (entry.name, entry.key) in used else "no"
        if entry.name == STATE:
            in_use = "-"
        size = f"{entry.size_bytes / 1e6:.1f} MB"
        table.add_row(entry.name, entry.key, size, age(time.time() - entry.made_at_s), in_use)
    console = Screen()
    console.print(table)
    console.print(f"{total / 1e6:.0f} MB in {store.directory}", soft_wrap=True, highlight=False)


@app.command()
def prune(cache: CacheOption = None) -> None:
    """Remove what this checkout does not use, and what guests resume from: the next ones boot."""
    store = Cache(cache)
    used = image.used_entries()
    removed: list[tuple[Entry, int]] = []
    for entry in store.entries():
        if (entry.name, entry.key) not in used:
            removed.append((entry, entry.size_bytes))
            store.remove(entry)
    freed = sum(size for _, size in removed)
    print(f"Removed {many(len(removed), 'part')}, {freed / 1e6:.0f} MB.")


def age(seconds: float) -> str:
    """Return a time span in its largest unit, as people say it."""
    for unit, name in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
