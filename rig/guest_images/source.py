"""The source layer: the rig of this checkout, and the scripts that start a guest.

All that changes often is here, so that a change costs a second.
"""

from __future__ import annotations

import hashlib
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rig.about import STATION_ONLY
from rig.errors import MachineError
from rig.guest_images import kernel
from rig.guest_images.spec import FILES, GUEST_PYTHON, PACKAGE

LAYER = "layer.erofs"
COMPILE_S = 60.0

_PLACES = {
    "boot": ("usr/lib/rig/boot", 0o755),
    "announce": ("usr/lib/rig/announce", 0o755),
    "inittab": ("etc/inittab", 0o644),
    "sshd_config": ("etc/ssh/sshd_config", 0o644),
    "modprobe.conf": ("etc/modprobe.d/rig.conf", 0o644),
    "rig": ("usr/bin/rig", 0o755),
}
"""Where a file from ``files/`` goes in the guest, and its permissions."""

_MOUNT_POINTS = ("dev", "proc", "sys", "run", "tmp", "var/lib/rig")
_POWER = ("poweroff", "reboot", "halt")


def snapshot() -> dict[str, bytes]:
    """Return what goes into the guests: files of the package by name, scripts as ``files/NAME``.

    It is read once, and both hashed and packed from memory: somebody may be editing.
    """
    found = {f"files/{name}": (FILES / name).read_bytes() for name in _PLACES}
    for path in sorted(PACKAGE.rglob("*")):
        inside = path.relative_to(PACKAGE)
        if path.is_file() and not set(inside.parts) & STATION_ONLY and path.suffix != ".pyc":
            found[str(inside)] = path.read_bytes()
    return found


def inputs(files: Mapping[str, bytes]) -> dict[str, object]:
    """Return all that decides what the layer holds: the contents of every file.

    Args:
        files: What `snapshot` returned.
    """
    return {
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "places": _PLACES,
        "mount points": _MOUNT_POINTS,
        "power": _POWER,
        "python": GUEST_PYTHON,
    }


def build(new: Path, files: Mapping[str, bytes], *, log: Path) -> None:
    """Make the layer in an empty directory.

    Args:
        new: Gets ``layer.erofs``.
        files: What `snapshot` returned.
        log: Takes the output.

    Raises:
        MachineError: A file of the checkout is no Python that the guests understand.
    """
    tree = new / "tree"
    tree.mkdir()
    for name in _MOUNT_POINTS:
        (tree / name).mkdir(parents=True)
    for name, (place, mode) in _PLACES.items():
        target = tree / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files[f"files/{name}"])
        target.chmod(mode)
    (tree / "usr" / "sbin").mkdir(parents=True)
    for name in _POWER:
        (tree / "usr" / "sbin" / name).symlink_to("/bin/busybox")
    package = tree / "usr" / "lib" / "python3" / "dist-packages" / PACKAGE.name
    for name, data in files.items():
        if name.partition("/")[0] != "files":
            target = package / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    _compile(package)
    kernel.pack(tree, new / LAYER, log)
    shutil.rmtree(tree)


def _compile(package: Path) -> None:
    """Compile for the guest, trusting the bytecode blindly: under emulation every check costs."""
    if sys.version_info[:2] == GUEST_PYTHON:
        for path in package.rglob("*.py"):
            try:
                py_compile.compile(
                    str(path),
                    dfile=f"/usr/lib/python3/dist-packages/{path.relative_to(package.parent)}",
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
            except py_compile.PyCompileError as error:
                raise MachineError(
                    f"A source file does not compile: {error.msg.strip()}"
                ) from error
        return
    # Another Python's bytecode has another name and is not looked at; the guests then compile
    # at each start, which is slow and right.
    guest_python = shutil.which("python{}.{}".format(*GUEST_PYTHON))
    if guest_python:
        mode = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        subprocess.run(
            [guest_python, *mode, str(package)], check=True, timeout=COMPILE_S, capture_output=True
        )
