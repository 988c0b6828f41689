"""The one library that Debian 12 lacks and the daemons need: msgspec, as a wheel from PyPI."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from rig.guest_images import tools
from rig.guest_images.spec import GUEST_PYTHON

PIP_S = 300.0


def msgspec_version() -> str:
    """Return the station's version of msgspec: both ends of a pipe speak through the same."""
    return importlib.metadata.version("msgspec")


def install_msgspec(
    target: Path,
    *,
    architecture: str = "x86_64",
    python: tuple[int, int] = GUEST_PYTHON,
    log: Path,
) -> None:
    """Unpack msgspec for a machine whose Python and processor need not be the station's.

    Args:
        target: A directory, made if need be.
        architecture: The processor, as ``uname -m`` tells it.
        python: Version of the machine's Python.
        log: Takes pip's output.

    Raises:
        MachineError: It cannot be fetched, or there is none for such a machine.
    """
    options = ["--target", str(target), "--no-deps", "--only-binary=:all:", "--no-compile"]
    for libc in ("manylinux2014", "manylinux_2_17", "manylinux_2_28"):
        options += ["--platform", f"{libc}_{architecture}"]
    options += ["--implementation", "cp", "--python-version", ".".join(map(str, python))]
    tools.run(
        [sys.executable, "-m", "pip", "install", "-q", *options, f"msgspec=={msgspec_version()}"],
        log=log,
        timeout_s=PIP_S,
    )
