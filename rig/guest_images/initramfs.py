"""The initramfs: a "newc" cpio archive, written here so that it needs no root and no tool.

The format is in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst: thirteen
fields of eight hexadecimal digits, then name and data, each padded to four bytes.  Archives may
follow one another.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

DIRECTORIES = (
    "bin",
    "dev",
    "layers/base",
    "layers/kernel",
    "layers/source",
    "modules",
    "over",
    "proc",
    "root",
    "sys",
)
CONSOLE_DEVICE = (5, 1)
"""Major and minor number of /dev/console, which the kernel opens before anything is mounted."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes:
        name: Its path without leading slash.
        mode: Type and permissions, as in ``st_mode``.
        data: What it holds.
        device: Major and minor number of a device node.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def pack(members: Iterable[Member]) -> bytes:
    """Return the archive of these members, owned by root, without times: equal in, equal out."""
    parts = []
    for number, member in enumerate((*members, Member("TRAILER!!!", 0)), start=1):
        name = member.name.encode() + b"\0"
        # ino, mode, uid, gid, nlink, mtime, filesize, major, minor, rmajor, rminor, namesize, check
        size = len(member.data)
        fields = (number, member.mode, 0, 0, 1, 0, size, 0, 0, *member.device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        parts.append(_padded(header + name) + _padded(member.data))
    return b"".join(parts)


def load_order(dependencies: str, wanted: Iterable[str], builtin: str = "") -> list[str]:
    """Say which modules to load, in which order, so that each finds what it needs.

    Args:
        dependencies: The text of ``modules.dep``: ``PATH: PATH PATH ...``.
        wanted: Names of modules.
        builtin: The text of ``modules.builtin``; what is in the kernel needs no loading.

    Returns:
        Paths as ``modules.dep`` has them.

    Raises:
        KeyError: A module is not there.
    """
    needs = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {_module_name(path): path for path in needs}
    inside = {_module_name(path) for path in builtin.splitlines()}
    order: dict[str, None] = {}

    def add(path: str) -> None:
        for needed in needs[path]:
            if needed not in order:
                add(needed)
        order[path] = None

    for name in wanted:
        if name not in inside:
            add(by_name[name])
    return list(order)


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def members(init: bytes, busybox: bytes, modules: Mapping[str, bytes]) -> list[Member]:
    """Return what the initramfs holds.

    Args:
        init: The script that the kernel starts.
        busybox: A static busybox, its only program.
        modules: Kernel modules by file name, in the order of loading.
    """
    folders = {str(parent) for name in DIRECTORIES for parent in PurePosixPath(name).parents}
    names = sorted({*folders, *DIRECTORIES} - {"."})
    order = "".join(f"{name}\n" for name in modules)
    return [
        *(Member(name, stat.S_IFDIR | 0o755) for name in names),
        Member("dev/console", stat.S_IFCHR | 0o600, device=CONSOLE_DEVICE),
        Member("bin/busybox", stat.S_IFREG | 0o755, busybox),
        Member("init", stat.S_IFREG | 0o755, init),
        Member("modules/order", stat.S_IFREG | 0o644, order.encode()),
        *(Member(f"modules/{name}", stat.S_IFREG | 0o644, data) for name, data in modules.items()),
    ]
