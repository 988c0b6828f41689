"""The disk of ``rig workload``: its file systems made, mounted, checked, mended and found again.

An edge, as root; what is written there is the matter of `rig.integrity.stamping`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from rig.daemon import Events
from rig.errors import CommandFailure, MachineError, RigError, UserError
from rig.integrity import disk
from rig.integrity.filesystems import MIB, file_system
from rig.integrity.ledger import CacheLost
from rig.integrity.requests import Nothing, OnDisk, OnFileSystem, Prepare
from rig.integrity.workloads.writing import Writing

_ROOM_BYTES = 32 * MIB
"""For a file system's own blocks, beside twice the data."""

_log = logging.getLogger("rig.workload")


class Mounted:
    """One file system of the disk, and what was written to it.

    Args:
        number: Of its partition, from 1.
        partition: Where it is.
        target: Where it is mounted.

    Attributes:
        writings: What was written to it, in order.
    """

    def __init__(self, number: int, partition: disk.Partition, target: Path) -> None:
        self.number = number
        self.partition = partition
        self.target = target
        self.writings: list[Writing] = []

    @property
    def paths(self) -> dict[int, Path]:
        """The files that were written, by id."""
        return {number: path for one in self.writings for number, path in one.paths.items()}

    @property
    def place(self) -> Path:
        """Where workloads write: a directory, or the raw device's node."""
        return self.partition.node if self.partition.file_system.raw else self.target

    def move(self, node: Path) -> None:
        """The partition has another node now."""
        self.partition = msgspec.structs.replace(self.partition, node=node)
        if self.partition.file_system.raw:
            for one in self.writings:
                one.paths = dict.fromkeys(one.paths, node)

    def describe(self) -> dict[str, object]:
        """For replies."""
        return {
            "fs": self.partition.file_system.name,
            "node": str(self.partition.node),
            "start_lba": self.partition.start_lba,
            "count": self.partition.count,
            "target": str(self.target),
            "files": list(self.paths),
        }


class Mounting:
    """Makes, mounts and unmounts the file systems of one disk.

    Args:
        events: Where to tell.
        mounts: Under which directory to mount.

    Attributes:
        disk: That was prepared last, by its present name; None before.
        mounted: The file systems, by name.
    """

    def __init__(self, events: Events, mounts: Path) -> None:
        self.disk: Path | None = None
        self.mounted: dict[str, Mounted] = {}
        self._events = events
        self._mounts = mounts

    def prepare(self, args: Prepare) -> list[dict[str, object]]:
        """Partition a disk, and make and mount a file system on each partition.

        Returns:
            What is mounted; of a file system that could not be made or mounted ``fs`` and
            ``refused``, why.

        Raises:
            UserError: The disk is not ours to overwrite or too small, or a name is not known.
            MachineError: The disk could not be partitioned.
        """
        rows = [file_system(name) for name in args.file_systems]
        if len(set(args.file_systems)) < len(rows) or not rows:
            raise UserError("The list of file systems is empty, or names one twice.")
        target = Path(args.disk)
        self.undo()
        disk.refuse_unless_ours(target)
        self.disk = target
        self._step("partition", "")
        size = args.partition_bytes or 2 * args.bytes_each + _ROOM_BYTES
        refused: list[dict[str, object]] = []
        for number, partition in enumerate(disk.make_partitions(target, rows, size), 1):
            name = partition.file_system.name
            mounted = Mounted(number, partition, self._mounts / name)
            try:
                self._step("mkfs", name)
                disk.make_file_system(partition)
                self._step("mount", name)
                disk.mount(partition, mounted.target)
            except CommandFailure as error:
                refused.append({"fs": name, "refused": str(error)})
                continue
            self.mounted[name] = mounted
        return [*self.status(Nothing()), *refused]

    def check(self, args: OnFileSystem) -> disk.CheckResult:
        """Unmount, check, and mount again; one that is damaged may stay unmounted."""
        mounted = self.find(args.fs)
        disk.unmount(mounted.target)
        self._step("fsck", args.fs)
        result = disk.check(mounted.partition)
        try:
            disk.mount(mounted.partition, mounted.target)
        except CommandFailure as error:
            if result.clean:
                raise
            _log.warning("%s is damaged, and stays unmounted: %s", args.fs, error)
        return result

    def follow(self, args: OnDisk) -> dict[str, object]:
        """Mount what was mounted from its disk's new name, if it has one.

        A disk that went away while mounted keeps its name until it is unmounted, so one that came
        back has another.

        Returns:
            Whether it had gone, and which file systems could not be mounted again, with the reason.
        """
        moved = False
        lost: dict[str, str] = {}
        for name, mounted in self.mounted.items():
            node = disk.partition_node(Path(args.disk), mounted.number)
            if node == mounted.partition.node:
                continue
            moved = True
            self.disk = Path(args.disk)
            self._step("follow", name)
            try:
                disk.unmount(mounted.target)
                disk.wait_for_node(node)
                mounted.move(node)
                self._mend_and_mount(name, mounted)
            except MachineError as error:
                lost[name] = str(error)
        if moved:
            self._lose_caches()
        return {"moved": moved, "lost": lost}

    def revive(self, args: OnFileSystem) -> None:
        """Mount a file system anew that was given up while its disk is there.

        Raises:
            MachineError: It cannot be mounted.
        """
        mounted = self.find(args.fs)
        disk.unmount(mounted.target)
        self._lose_caches()
        self._mend_and_mount(args.fs, mounted)

    def _mend_and_mount(self, name: str, mounted: Mounted) -> None:
        if (said := disk.mend(mounted.partition)) is not None:
            _log.info("%s has no journal and was mended: %s", name, said)
        disk.mount(mounted.partition, mounted.target)

    def _lose_caches(self) -> None:
        """Tell that what was acknowledged, and not flushed, may be gone."""
        self._events.emit("ledger", fs="", entries=[CacheLost()])

    def unmount(self, args: OnFileSystem) -> None:
        """Unmount one file system, and forget it."""
        disk.unmount(self.find(args.fs).target)
        del self.mounted[args.fs]

    def status(self, _: Nothing) -> list[dict[str, object]]:
        """Tell what is mounted."""
        return [mounted.describe() for mounted in self.mounted.values()]

    def undo(self) -> None:
        """Unmount everything that was mounted, the last first; what cannot be is logged."""
        for name, mounted in reversed(self.mounted.items()):
            try:
                disk.unmount(mounted.target)
            except RigError as error:
                _log.warning("%s stays mounted: %s", name, error)
        self.mounted.clear()

    def find(self, name: str) -> Mounted:
        """Look a file system up.

        Raises:
            UserError: It is not mounted.
        """
        if name not in self.mounted:
            raise UserError(f"{name!r} is not mounted by this daemon.", hint="First: prepare.")
        return self.mounted[name]

    def _step(self, step: str, name: str) -> None:
        self._events.emit("progress", fs=name, step=step)
