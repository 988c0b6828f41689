"""The base layer: Debian's user space, without kernel and without the rig."""

from __future__ import annotations

import shlex
from pathlib import Path

from rig.guest_images import debian, tools, wheels
from rig.guest_images.spec import APTNESS, SUITE, package_list

LAYER = "layer.erofs"

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
        "msgspec": wheels.msgspec_version(),
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
    unpacked = new / "wheels"
    wheels.install_msgspec(unpacked, log=log)
    debian.mmdebstrap(
        variant="apt",
        include=package_list("guest"),
        hooks=[
            f"copy-in {shlex.quote(str(unpacked))}/. /usr/lib/python3/dist-packages",
            _PACK,
            debian.take_out("/rig-layer.erofs", new / LAYER),
        ],
        mirror=mirror,
        log=log,
    )
    tools.run(["rm", "-r", str(unpacked)], log=log, timeout_s=60)
