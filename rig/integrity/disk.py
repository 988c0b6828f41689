"""The front machine's disk: partitions, file systems, mounts.  An edge, as root.

No udev runs on the machines: nodes come from devtmpfs alone, and are waited for.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import msgspec

from rig.errors import CommandFailure, MachineError, UserError
from rig.integrity.filesystems import MIB, FileSystem
from rig.integrity.gpt import BLOCK_BYTES, Extent, Table, partition_table

COMMAND_LIMIT_S = 300.0
"""No mkfs, mount or fsck takes longer, under emulation and with the kernel's retries."""
_NODE_LIMIT_S = 20.0
_POLL_S = 0.05
_BLKRRPART = 0x125F
"""Have the kernel read a disk's partition table (linux/fs.h)."""
_BLOCK_CLASS = Path("/sys/class/block")
_SPARE_BYTES = 2 * MIB
"""GPT's tables at both ends of the disk, and the alignment."""


class Partition(msgspec.Struct, frozen=True):
    """One partition and the file system that it is for.

    Attributes:
        file_system: Its row of the table.
        node: Its device node.
        start_lba: Its first 512-byte LBA on the disk.
        count: How many 512-byte sectors it has.
    """

    file_system: FileSystem
    node: Path
    start_lba: int
    count: int


def run_command(*argv: str | Path, limit_s: float = COMMAND_LIMIT_S) -> str:
    """Run a program to its end.

    Args:
        argv: Program and arguments.
        limit_s: When to give up.

    Returns:
        What it wrote, both streams together.

    Raises:
        CommandFailure: It ended with a status other than 0.
        MachineError: It is not installed, or did not end in time.
    """
    status, output = command_status(*argv, limit_s=limit_s)
    if status != 0:
        command = " ".join(map(str, argv))
        raise CommandFailure(f"'{command}' ended with status {status}: {output.strip()[-500:]}")
    return output


def command_status(*argv: str | Path, limit_s: float = COMMAND_LIMIT_S) -> tuple[int, str]:
    """Run a program whose exit status is an answer.  See `run_command`.

    Returns:
        The status, and what it wrote.
    """
    try:
        done = subprocess.run(  # noqa: PLW1510 - the status is the caller's business
            list(map(str, argv)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=limit_s,
        )
    except FileNotFoundError as error:
        raise MachineError(f"The program {argv[0]} is not installed on this machine.") from error
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"'{argv[0]}' did not end within {limit_s:.0f} s.") from error
    return done.returncode, done.stdout


def refuse_unless_ours(disk: Path) -> None:
    """Let only a disk pass that the rig may overwrite.

    Raises:
        UserError: It is no whole block device, or in use, or neither on USB nor of the drivers loop
            and nbd (the latter is ``rig deepqueue``'s).
    """
    node = _BLOCK_CLASS / disk.resolve().name
    if not disk.is_block_device() or not node.exists():
        raise UserError(f"{disk} is not a block device.", hint="Name the gadget's disk.")
    if (node / "partition").exists():
        raise UserError(f"{disk} is a partition.", hint="Name the whole disk.")
    if not node.name.startswith(("loop", "nbd")) and "/usb" not in str(node.resolve()):
        raise UserError(
            f"{disk} is not a disk on USB, and will not be overwritten.",
            hint="Name the gadget's disk, or a loop device.",
        )
    family = {node.name, *(child.parent.name for child in node.glob("*/partition"))}
    for source, target in mounts():
        if Path(source).resolve().name in family:
            raise UserError(f"{source} is mounted on {target}.", hint=f"First: umount {target}.")


def mounts() -> list[tuple[str, str]]:
    """What is mounted: (source, target), in order of mounting."""
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [(row[0], row[1]) for row in rows]


def make_partitions(disk: Path, file_systems: list[FileSystem], bytes_each: int) -> list[Partition]:
    """Write a new partition table: one partition per file system, each on its own LBAs.

    Args:
        disk: A disk that passed `refuse_unless_ours`.
        file_systems: In the order in which they shall lie.
        bytes_each: Smallest size of a partition; the file system's own minimum counts, too.

    Returns:
        The partitions, their nodes present.

    Raises:
        UserError: They do not fit.
        CommandFailure: The table could not be written.
        MachineError: A node did not appear in time.
    """
    disk = disk.resolve()
    sizes = [_aligned(max(bytes_each, row.smallest_bytes)) for row in file_systems]
    there = int((_BLOCK_CLASS / disk.name / "size").read_text()) * BLOCK_BYTES
    needed = sum(sizes) + _SPARE_BYTES
    if needed > there:
        raise UserError(
            f"{disk} has {there // MIB} MiB; the file systems need {needed // MIB} MiB.",
            hint="Choose fewer file systems, or a larger disk.",
        )
    starts = itertools.accumulate(sizes, initial=MIB)
    extents = [
        Extent(start // BLOCK_BYTES, size // BLOCK_BYTES, uuid4().bytes_le)
        for start, size in zip(starts, sizes, strict=False)
    ]
    _write_table(disk, partition_table(there // BLOCK_BYTES, extents, uuid4().bytes_le))
    nodes = [partition_node(disk, number) for number in range(1, len(sizes) + 1)]
    if not all((_BLOCK_CLASS / node.name).exists() for node in nodes):
        # A kernel that knows no GPT must be told the partitions.
        run_command("partx", "--update", disk)
    return [
        Partition(row, node, wait_for_node(node), extent.blocks)
        for row, node, extent in zip(file_systems, nodes, extents, strict=True)
    ]


def _write_table(disk: Path, table: Table) -> None:
    """Write it, and have the kernel read it.

    Raises:
        CommandFailure: The disk could not be written, or is in use.
    """
    try:
        with disk.open("r+b") as node:
            node.write(table.head)
            node.seek(-len(table.tail), os.SEEK_END)
            node.write(table.tail)
            node.flush()
            os.fsync(node.fileno())
            _have_read(node.fileno())
    except OSError as error:
        raise CommandFailure(
            f"The partition table of {disk} could not be written: {error.strerror}."
        ) from error


def _have_read(node: int) -> None:
    """Have the kernel read a disk's table, if it reads tables of this kind of disk by itself.

    Raises:
        OSError: It cannot, since the disk is in use.
    """
    try:
        fcntl.ioctl(node, _BLKRRPART)
    except OSError as error:
        if error.errno != errno.EINVAL:  # such as of loop devices
            raise


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // MIB) * MIB


def partition_node(disk: Path, number: int) -> Path:
    """The node of a disk's partition; they are counted from 1."""
    separator = "p" if disk.name[-1].isdigit() else ""
    return disk.with_name(f"{disk.name}{separator}{number}")


def wait_for_node(node: Path) -> int:
    """Wait until a partition's node and its entry in sysfs are there; return its first LBA.

    Raises:
        MachineError: They did not appear in time.
    """
    start = _BLOCK_CLASS / node.name / "start"
    deadline = time.monotonic() + _NODE_LIMIT_S
    while not (node.is_block_device() and start.exists()):
        if time.monotonic() > deadline:
            raise MachineError(f"{node} did not appear within {_NODE_LIMIT_S:.0f} s.")
        time.sleep(_POLL_S)
    return int(start.read_text())


def make_file_system(partition: Partition) -> None:
    """Run its mkfs; the raw device needs none.

    Raises:
        CommandFailure: It failed.
    """
    if partition.file_system.raw:
        return
    run_command(*partition.file_system.mkfs, partition.node)


def mount(partition: Partition, target: Path) -> None:
    """Mount it; the raw device needs no mount.

    Raises:
        CommandFailure: It could not be mounted.
    """
    row = partition.file_system
    if row.raw:
        return
    target.mkdir(parents=True, exist_ok=True)
    run_command("mount", "-t", row.name, "-o", row.mount_options, partition.node, target)


def mend(partition: Partition) -> str | None:
    """Make a file system consistent whose disk went away while it was mounted.

    Returns:
        What its checker said; None if its journal, or its copying on write, does that at the next
        mount.

    Raises:
        MachineError: The checker could not do it.
    """
    row = partition.file_system
    if not row.mend:
        return None
    status, output = command_status(*row.mend, partition.node)
    if status not in row.clean_statuses | row.mended_statuses:
        raise MachineError(
            f"'{' '.join(row.mend)} {partition.node}' could not mend (status {status}): "
            f"{output.strip()[-500:]}"
        )
    return output.strip()[-2000:]


def transfers(disk: Path) -> Path:
    """The file that changes with every transfer of a whole disk (Documentation/block/stat.rst)."""
    return _BLOCK_CLASS / disk.resolve().name / "stat"


def unmount(target: Path) -> None:
    """Unmount it, if it is mounted.

    Raises:
        CommandFailure: It is in use.
    """
    if any(path == str(target) for _, path in mounts()):
        run_command("umount", target)


class CheckResult(msgspec.Struct, frozen=True):
    """What fsck said.

    Attributes:
        clean: Whether the file system is undamaged.
        status: Its exit status.
        output: The end of what it wrote.
    """

    clean: bool
    status: int
    output: str


def check(partition: Partition) -> CheckResult:
    """Check a file system that is not mounted; nothing is written.

    Raises:
        MachineError: The check itself could not be done.
    """
    row = partition.file_system
    if row.raw:
        return CheckResult(clean=True, status=0, output="no file system, nothing to check")
    status, output = command_status(*row.fsck, partition.node)
    if status in row.clean_statuses:
        return CheckResult(clean=True, status=status, output=output.strip()[-2000:])
    if status in row.broken_statuses:
        return CheckResult(clean=False, status=status, output=output.strip()[-2000:])
    raise MachineError(
        f"'{' '.join(row.fsck)} {partition.node}' could not check (status {status}): "
        f"{output.strip()[-500:]}"
    )
