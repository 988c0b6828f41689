"""What this machine has, and lacks, for the rig to run on it: looks only, and installs nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from rig.errors import RigError
from rig.guest_images import image as images
from rig.guest_images.cache import Cache
from rig.guest_images.tools import search_path
from rig.lab.accelerator import DEVICE, accelerator, probe, remembered

__all__ = ["Row", "State", "accelerator", "can_run", "examine"]

MEMORY_BYTES = 3 << 30
"""Two guests of 512 MiB, QEMU's own needs, and page cache for the image."""
DISK_BYTES = 3 << 30
"""Image, virtual environment and the scratch drives of a run."""
PYTHON = (3, 11)
QEMU_MAJOR = 7
PROGRAM_S = 10.0

_MAKE_RUN = "'make run' installs it."


class State(StrEnum):
    """How a row bears on the rig."""

    OK = "ok"
    NOTE = "note"
    """Good to know; the rig runs all the same."""
    LACKING = "lacking"
    """The rig cannot run."""


class Row(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        what: The thing.
        state: Whether it is in order.
        found: What was found.
        mend: One sentence that tells what to do; empty if nothing is to be done.
    """

    what: str
    state: State
    found: str
    mend: str = ""


def can_run(rows: Sequence[Row]) -> bool:
    """Say whether ``make run`` can work on the machine that these rows tell of."""
    return all(row.state is not State.LACKING for row in rows)


def examine(cache: Path | None = None) -> list[Row]:
    """Look at this machine.

    Args:
        cache: The image cache; None takes the usual one.
    """
    store = Cache(cache)
    return [
        _architecture(),
        _python(),
        *_versions(),
        _qemu(),
        *(_program(name) for name in ("mmdebstrap", "mkfs.erofs", "depmod", "zstd", "ssh")),
        _lane(),
        _image(store),
        _kvm(store),
        _fuse(),
        _cores(),
        _memory(),
        _disk(store),
    ]


def _row(what: str, good: bool, found: str, mend: str, *, needed: bool = True) -> Row:
    if good:
        return Row(what, State.OK, found)
    return Row(what, State.LACKING if needed else State.NOTE, found, mend)


def _architecture() -> Row:
    machine = f"{platform.system()} {platform.machine()}"
    return _row("architecture", machine == "Linux x86_64", machine, "Use a Linux x86_64 machine.")


def _python() -> Row:
    good = sys.version_info[:2] >= PYTHON
    return _row("python", good, platform.python_version(), "Install Python 3.11 or newer.")


def _versions() -> Iterator[Row]:
    for name in ("rig", "labgrid"):
        try:
            yield Row(name, State.OK, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Row(name, State.LACKING, "not installed", _MAKE_RUN)


def _qemu() -> Row:
    program = shutil.which("qemu-system-x86_64", path=search_path())
    if program is None:
        return Row("qemu", State.LACKING, "not installed", _MAKE_RUN)
    told = _first_line([program, "--version"])
    version = next((word for word in told.split() if word[:1].isdigit()), "")
    good = version.partition(".")[0].isdigit() and int(version.partition(".")[0]) >= QEMU_MAJOR
    return _row("qemu", good, version or told, f"Install QEMU {QEMU_MAJOR} or newer.")


def _first_line(command: list[str]) -> str:
    try:
        told = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PROGRAM_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (told.stdout or told.stderr).partition("\n")[0]


def _program(name: str) -> Row:
    path = shutil.which(name, path=search_path())
    return _row(name, path is not None, path or "not installed", _MAKE_RUN)


def _lane() -> Row:
    there = importlib.util.find_spec("rig.splitdriver.lane._lane") is not None
    found = "compiled" if there else "not compiled: the split driver is three times as slow"
    return _row("lane", there, found, f"{_MAKE_RUN} It needs gcc and python3-dev.", needed=False)


def _image(store: Cache) -> Row:
    try:
        missing = images.missing(cache=store.directory)
    except RigError as error:
        return Row("guest image", State.LACKING, error.message, error.hint)
    if missing:
        found = f"to be built: {', '.join(missing)}"
        return Row("guest image", State.NOTE, found, "'make run' or 'rig image build' builds it.")
    return Row("guest image", State.OK, "built")


def _kvm(store: Cache) -> Row:
    found = remembered(store.directory)
    try:
        if found is None and not images.missing(cache=store.directory):
            found = probe(images.ensure(cache=store.directory), store.directory)
    except RigError as error:
        return Row("kvm", State.NOTE, error.message, error.hint)
    if found is None:
        text = f"{DEVICE} exists; whether it boots a kernel is not known yet"
        return Row("kvm", State.NOTE, text, "It is tried when the guest image is built.")
    slow = "Guests are emulated (TCG): slower, and enough."
    return _row("kvm", found.accelerator == "kvm", found.why, slow, needed=False)


def _fuse() -> Row:
    there = Path("/dev/fuse").exists()
    found = "/dev/fuse exists" if there else "no /dev/fuse"
    mend = "Only a gadget on this very machine needs it: modprobe fuse."
    return _row("fuse", there, found, mend, needed=False)


def _cores() -> Row:
    cores = len(os.sched_getaffinity(0))
    mend = "The two guests share it: expect twice the time."
    return _row("cores", cores > 1, str(cores), mend, needed=False)


def _memory() -> Row:
    fields = dict(_meminfo(Path("/proc/meminfo").read_text()))
    free = fields.get("MemAvailable", 0)
    found = f"{free >> 20} MiB available"
    return _row("memory", free >= MEMORY_BYTES, found, "Free some: the guests need 3 GiB.")


def _meminfo(text: str) -> Iterator[tuple[str, int]]:
    """Read /proc/meminfo: names, and sizes in bytes."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            yield name, int(words[0]) << 10


def _disk(store: Cache) -> Row:
    free = store.free_bytes()
    found = f"{free >> 20} MiB free for {store.directory}"
    mend = "Free 3 GB, run 'rig image prune', or choose a place with RIG_CACHE."
    return _row("disk", free >= DISK_BYTES or not _needs_space(store), found, mend)


def _needs_space(store: Cache) -> bool:
    """Say whether something large is still to be built."""
    try:
        return bool(images.missing(cache=store.directory))
    except RigError:
        return True
