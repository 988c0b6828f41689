"""The file systems that the workload knows: one row each.  Data, and the look-up.

Everything that differs between them is here, so that no other module asks for a name.
"""

from __future__ import annotations

import msgspec

from rig.errors import UserError

MIB = 1 << 20


class FileSystem(msgspec.Struct, frozen=True):
    """How to make, mount and check one kind of file system.

    Attributes:
        name: As in `/proc/filesystems` and on the command line.
        smallest_bytes: The smallest partition that its mkfs takes, or that is of use.
        mkfs: The command; the partition's node is appended.
        mount_options: For ``mount -o``.
        fsck: A check that writes nothing; the node is appended.
        clean_statuses: Its exit statuses that mean: nothing wrong.
        broken_statuses: Those that mean: the file system is damaged.  All others mean that the
            check itself could not be done.
        in_place: Whether overwritten blocks stay at their LBAs.
        preallocates: Whether fallocate gives a file its final LBAs before it is written.
        mend: A check that repairs, for one that has no journal; empty for one that mends itself.
        mended_statuses: Its exit statuses that mean: something was repaired.
        atomic_rename: Whether after a power cut a file that was replaced by rename is the old or
            the new one; else it may be gone.
        raw: It is no file system: the partition itself is written.
    """

    name: str
    smallest_bytes: int
    mkfs: tuple[str, ...]
    mount_options: str
    fsck: tuple[str, ...]
    clean_statuses: frozenset[int]
    broken_statuses: frozenset[int]
    in_place: bool
    preallocates: bool
    mend: tuple[str, ...] = ()
    mended_statuses: frozenset[int] = frozenset()
    atomic_rename: bool = True
    raw: bool = False


_ROWS = (
    # Inode tables are initialised by mkfs: a kernel thread that does it later would mix its URBs
    # with the workload's.  No discard: the medium's own content is part of the test.
    FileSystem(
        name="ext4",
        smallest_bytes=16 * MIB,
        mkfs=(
            *("mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "256", "-J", "size=4"),
            *("-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=1"),
        ),
        mount_options="noatime",
        fsck=("e2fsck", "-f", "-n"),
        clean_statuses=frozenset({0}),
        broken_statuses=frozenset({1, 2, 4}),  # e2fsck(8)
        in_place=True,
        preallocates=True,
    ),
    # mkfs chooses the FAT's width by the partition's size.  Clusters of 8 KiB: the kernel reads and
    # writes the FAT sector by sector, and a small one is few SCSI commands.
    FileSystem(
        name="vfat",
        smallest_bytes=16 * MIB,
        mkfs=("mkfs.vfat", "-s", "16"),
        mount_options="noatime",
        fsck=("fsck.vfat", "-n"),
        clean_statuses=frozenset({0}),
        broken_statuses=frozenset({1}),  # fsck.fat(8)
        in_place=True,
        preallocates=False,
        mend=("fsck.vfat", "-a"),
        mended_statuses=frozenset({1}),
        atomic_rename=False,
    ),
    # Since xfsprogs 5.19 mkfs.xfs makes less than 300 MiB, and a log of less than 64 MiB, only if
    # it is told that nobody will support it.  It writes the whole log, which takes a minute under
    # emulation; kernels take any log from 10 MiB on (xfs_log_calc_minimum_size).
    FileSystem(
        name="xfs",
        smallest_bytes=64 * MIB,
        mkfs=("mkfs.xfs", "-q", "-f", "-K", "--unsupported", "-l", "size=10m"),
        mount_options="noatime",
        fsck=("xfs_repair", "-n"),
        clean_statuses=frozenset({0}),
        broken_statuses=frozenset({1}),  # xfs_repair(8)
        in_place=True,
        preallocates=True,
    ),
    # Mixed and single: one chunk type, so that a small disk suffices.
    FileSystem(
        name="btrfs",
        smallest_bytes=128 * MIB,
        mkfs=("mkfs.btrfs", "-q", "-f", "-K", "--mixed", "-d", "single", "-m", "single"),
        mount_options="noatime",
        fsck=("btrfs", "check", "--readonly"),
        clean_statuses=frozenset({0}),
        broken_statuses=frozenset({1}),
        in_place=False,
        preallocates=False,
    ),
    # On 64 MiB its reserve for garbage collection leaves less than 16 MiB for files.
    FileSystem(
        name="f2fs",
        smallest_bytes=128 * MIB,
        mkfs=("mkfs.f2fs", "-q", "-f", "-t", "0"),
        mount_options="noatime",
        fsck=("fsck.f2fs", "--dry-run"),
        clean_statuses=frozenset({0}),
        broken_statuses=frozenset({1, 255}),  # fsck.f2fs(8): -1 on failure
        in_place=False,
        preallocates=False,
    ),
    FileSystem(
        name="exfat",
        smallest_bytes=16 * MIB,
        mkfs=("mkfs.exfat",),
        mount_options="noatime",
        fsck=("fsck.exfat", "-n"),
        clean_statuses=frozenset({0}),
        broken_statuses=frozenset({1, 4}),  # exfatprogs' fsck.exfat(8)
        in_place=True,
        preallocates=False,
        mend=("fsck.exfat", "-p"),
        mended_statuses=frozenset({1}),
        atomic_rename=False,
    ),
)

FILE_SYSTEMS = {row.name: row for row in _ROWS}
RAW = FileSystem(
    name="raw",
    smallest_bytes=MIB,
    mkfs=(),
    mount_options="",
    fsck=(),
    clean_statuses=frozenset({0}),
    broken_statuses=frozenset(),
    in_place=True,
    preallocates=False,
    raw=True,
)
"""No file system: a partition that is written past the page cache, LBA by LBA."""


def file_system(name: str) -> FileSystem:
    """Look a file system up.

    Raises:
        UserError: The name is not in the table.
    """
    if name == RAW.name:
        return RAW
    if name not in FILE_SYSTEMS:
        raise UserError(
            f"The file system {name!r} is not known.",
            hint=f"Known are {', '.join(FILE_SYSTEMS)}; and {RAW.name}, the disk without any.",
        )
    return FILE_SYSTEMS[name]
