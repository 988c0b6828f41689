"""The base layer: Debian's user space, without kernel and without the rig."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from pathlib import Path

from rig.guest_images import debian, tools
from rig.guest_images.spec import APTNESS, GUEST_PYTHON, SUITE, package_list

LAYER = "layer.erofs"
PIP_S = 300.0

# Not compressed: the guests' emulated processors would pay for it at every start of a program,
# and the disk's 270 MB are cheap.  /dev, /proc and /sys may be mounts of this machine while
# hooks run; the source layer has them as empty directories.
_PACK = debian.shell(
    'cd "$1"',
    "rm -rf var/lib/apt/lists/* var/cache/apt/* var/cache/debconf/* var/log/*.log",
    "rm -f etc/resolv.conf etc/hostname etc/ssh/ssh_host_*",
    "trap 'rm -f \"$1.erofs\"' EXIT",
    # Without extended attributes (-x-1): mkfs.erofs would read those of /proc all the same.
    'mkfs.erofs -x-1 --exclude-path=dev --exclude-path=proc --exclude-path=sys "$1.erofs" "$1" >&2',
    'mv "$1.erofs" "$1/rig-layer.erofs"',
)


def inputs() -> dict[str, object]:
    """Return all that decides what the layer holds; the mirror is trusted to be Debian's."""
    return {
        "suite": SUITE,
        "packages": package_list("guest"),
        "apt": APTNESS.apt,
        "dpkg": APTNESS.dpkg,
        "msgspec": _msgspec(),
        "pack": _PACK,
    }


def build(new: Path, *, mirror: str | None, log: Path) -> None:
    """Make the layer in an empty directory.

    Args:
        new: Gets ``layer.erofs``.
        mirror: See `debian.sources`.
        log: Takes the output.

    Raises:
        MachineError: The network, the disk or a program did not do its part.
    """
    wheels = new / "wheels"
    _install_msgspec(wheels, log)
    debian.mmdebstrap(
        variant="apt",
        include=package_list("guest"),
        hooks=[
            f"copy-in {shlex.quote(str(wheels))}/. /usr/lib/python3/dist-packages",
            _PACK,
            debian.take_out("/rig-layer.erofs", new / LAYER),
        ],
        mirror=mirror,
        log=log,
    )
    tools.run(["rm", "-r", str(wheels)], log=log, timeout_s=60)


def _msgspec() -> str:
    """Return the station's version of msgspec: both ends of a pipe speak through the same."""
    return importlib.metadata.version("msgspec")


def _install_msgspec(target: Path, log: Path) -> None:
    """Fetch msgspec for the guest's Python, which need not be the station's."""
    version = ".".join(map(str, GUEST_PYTHON))
    options = ["--target", str(target), "--no-deps", "--only-binary=:all:", "--no-compile"]
    for platform in ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64"):
        options += ["--platform", platform]
    options += ["--implementation", "cp", "--python-version", version]
    tools.run(
        [sys.executable, "-m", "pip", "install", "-q", *options, f"msgspec=={_msgspec()}"],
        log=log,
        timeout_s=PIP_S,
    )
