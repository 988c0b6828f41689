"""``rig workload``: the daemon on the front machine that makes file systems and stamps them.

Commands (see `rig.daemon` for how lines look); all sizes are bytes, all LBAs of the whole disk:

===========  ===================================  =============================================
prepare      disk, file_systems, bytes_each       partitions the disk, makes and mounts each;
                                                  bytes_each: of stamped data that must fit
write        fs, run_id, seed and what            runs the workload; returns its `Outcome`;
             `workload.Settings` has              events ``ledger`` {fs, entries}, ``progress``
write_again  fs                                   writes all files once more, after a disk that
                                                  went away came back; as ``write``
map          fs                                   where the files lie: `MappedFile` each
read_back    fs                                   sync, drop caches, read with O_DIRECT:
                                                  {file_id, path, runs} each
check        fs                                   unmount, fsck, mount again: {clean, status,
                                                  output}
follow       disk                                 if the disk came back by another name: mounts
                                                  it instead of the one that is gone, mended
                                                  where there is no journal; {moved}
unmount      fs
status                                            what is mounted where, with which files
===========  ===================================  =============================================

At the end of input it unmounts what it mounted.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rig.arguments import ArgumentParser
from rig.daemon import Command, CommandLines, Events, start_logging
from rig.errors import CommandFailure, RemoteProtocolError, RigError, UserError
from rig.integrity import disk
from rig.integrity.filemap import MappedFile
from rig.integrity.filesystems import MIB, file_system
from rig.integrity.ledger import Event
from rig.integrity.readback import drop_caches, read_back
from rig.integrity.workload import Outcome, Settings, Workload, map_files

MOUNTS = Path("/run/rig/mnt")
_ROOM_BYTES = 32 * MIB
"""For a file system's own blocks, beside twice the data."""

_log = logging.getLogger("rig.workload")
_Args = TypeVar("_Args", bound=msgspec.Struct)


class Prepare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``prepare``."""

    disk: str
    file_systems: list[str]
    bytes_each: int = 16 * MIB


class OnFileSystem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of the commands that only name a file system."""

    fs: str


class OnDisk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``follow``."""

    disk: str


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of commands that take none."""


class _Mounted:
    """One file system of the disk, and the files that were written to it."""

    def __init__(self, partition: disk.Partition, target: Path) -> None:
        self.partition = partition
        self.target = target
        self.paths: dict[int, Path] = {}
        self.workload: Workload | None = None

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


class Service:
    """What the commands do.

    Args:
        events: Where to tell.
        mounts: Under which directory to mount.
    """

    def __init__(self, events: Events, mounts: Path = MOUNTS) -> None:
        self._events = events
        self._mounts = mounts
        self._mounted: dict[str, _Mounted] = {}
        self._next_file_id = 1
        self._commands: dict[str, Callable[[dict[str, Any]], object]] = {
            "prepare": lambda args: self.prepare(_arguments(args, Prepare)),
            "write": self._write_command,
            "write_again": lambda args: self.write_again(_arguments(args, OnFileSystem)),
            "map": lambda args: self.map(_arguments(args, OnFileSystem)),
            "read_back": lambda args: self.read_back(_arguments(args, OnFileSystem)),
            "check": lambda args: self.check(_arguments(args, OnFileSystem)),
            "follow": lambda args: self.follow(_arguments(args, OnDisk)),
            "unmount": lambda args: self.unmount(_arguments(args, OnFileSystem)),
            "status": lambda args: self.status(_arguments(args, Nothing)),
        }

    def do(self, command: Command) -> object:
        """Run one command.

        Raises:
            RigError: It is not known, its arguments are wrong, or it failed.
            OSError: The kernel refused something.
        """
        if command.do not in self._commands:
            raise RemoteProtocolError(
                f"The command {command.do!r} is not known.",
                hint=f"Known are {', '.join(self._commands)}.",
            )
        return self._commands[command.do](command.args)

    def prepare(self, args: Prepare) -> list[dict[str, object]]:
        """Partition a disk, and make and mount a file system on each partition.

        Raises:
            UserError: The disk is not ours to overwrite or too small, or a name is not known.
            MachineError: A step failed.
        """
        rows = [file_system(name) for name in args.file_systems]
        if len(set(args.file_systems)) < len(rows) or not rows:
            raise UserError("The list of file systems is empty, or names one twice.")
        target = Path(args.disk)
        self.undo()
        disk.refuse_unless_ours(target)
        self._step("partition", "")
        size = 2 * args.bytes_each + _ROOM_BYTES
        for partition in disk.make_partitions(target, rows, size):
            name = partition.file_system.name
            self._step("mkfs", name)
            disk.make_file_system(partition)
            self._step("mount", name)
            mounted = _Mounted(partition, self._mounts / name)
            disk.mount(partition, mounted.target)
            self._mounted[name] = mounted
        return self.status(Nothing())

    def write(self, name: str, settings: Settings) -> Outcome:
        """Run the workload on one file system.

        Raises:
            UserError: It is not mounted, was written already, or the settings are impossible.
        """
        mounted = self._find(name)
        if mounted.paths:
            raise UserError(f"{name} was written already.", hint="First: prepare.")

        def tell(entries: list[Event]) -> None:
            self._events.emit("ledger", fs=name, entries=entries)

        def progress(done: int, total: int) -> None:
            self._events.emit("progress", fs=name, step="write", done=done, total=total)

        partition = mounted.partition
        workload = Workload(
            settings,
            row=partition.file_system,
            directory=mounted.target,
            start_lba=partition.start_lba,
            tell=tell,
            progress=progress,
        )
        mounted.paths, mounted.workload = workload.paths, workload
        self._next_file_id = max(self._next_file_id, *(n + 1 for n in workload.paths))
        return workload.run()

    def write_again(self, args: OnFileSystem) -> Outcome:
        """Write once more what was written before.

        Raises:
            UserError: It is not mounted, or was not written.
        """
        mounted = self._find(args.fs)
        if mounted.workload is None:
            raise UserError(f"{args.fs} was not written yet.", hint="First: write.")
        return mounted.workload.run_again()

    def map(self, args: OnFileSystem) -> list[MappedFile]:
        """Say where the files lie; one that is not there lies nowhere."""
        mounted = self._find(args.fs)
        partition = mounted.partition
        there = {number: path for number, path in mounted.paths.items() if path.exists()}
        return map_files(there, partition.file_system, partition.start_lba)

    def read_back(self, args: OnFileSystem) -> list[dict[str, object]]:
        """Read the files past the page cache."""
        mounted = self._find(args.fs)
        drop_caches()
        found: list[dict[str, object]] = []
        for number, path in mounted.paths.items():
            self._events.emit(
                "progress", fs=args.fs, step="read", done=len(found), total=len(mounted.paths)
            )
            # Of one that is not there nothing can be read, which the oracle weighs.
            runs = read_back(path) if path.exists() else []
            found.append({"file_id": number, "path": str(path), "runs": runs})
        return found

    def check(self, args: OnFileSystem) -> disk.CheckResult:
        """Unmount, check, and mount again; one that is damaged may stay unmounted."""
        mounted = self._find(args.fs)
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

    def follow(self, args: OnDisk) -> dict[str, bool]:
        """Mount what was mounted from its disk's new name, if it has one.

        A disk that went away while mounted keeps its name until it is unmounted, so one that came
        back has another.

        Raises:
            MachineError: It cannot be mounted.
        """
        moved = False
        for number, (name, mounted) in enumerate(self._mounted.items(), 1):
            node = disk.partition_node(Path(args.disk), number)
            if node == mounted.partition.node:
                continue
            moved = True
            self._step("follow", name)
            disk.unmount(mounted.target)
            disk.wait_for_node(node)
            mounted.partition = msgspec.structs.replace(mounted.partition, node=node)
            if (said := disk.mend(mounted.partition)) is not None:
                _log.info("%s has no journal and was mended: %s", name, said)
            disk.mount(mounted.partition, mounted.target)
        return {"moved": moved}

    def unmount(self, args: OnFileSystem) -> None:
        """Unmount one file system, and forget it."""
        disk.unmount(self._find(args.fs).target)
        del self._mounted[args.fs]

    def status(self, _: Nothing) -> list[dict[str, object]]:
        """Tell what is mounted."""
        return [mounted.describe() for mounted in self._mounted.values()]

    def undo(self) -> None:
        """Unmount everything that was mounted, the last first; what cannot be is logged."""
        for name, mounted in reversed(self._mounted.items()):
            try:
                disk.unmount(mounted.target)
            except RigError as error:
                _log.warning("%s stays mounted: %s", name, error)
        self._mounted.clear()

    def _write_command(self, args: dict[str, Any]) -> Outcome:
        fields = {"first_file_id": self._next_file_id, **args}
        name = fields.pop("fs", "")
        return self.write(str(name), _arguments(fields, Settings))

    def _find(self, name: str) -> _Mounted:
        if name not in self._mounted:
            raise UserError(f"{name!r} is not mounted by this daemon.", hint="First: prepare.")
        return self._mounted[name]

    def _step(self, step: str, name: str) -> None:
        self._events.emit("progress", fs=name, step=step)


def _arguments(args: dict[str, Any], kind: type[_Args]) -> _Args:
    """Read a command's arguments.

    Raises:
        UserError: A key is missing, unknown, or of a wrong type.
    """
    try:
        return msgspec.convert(args, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"The arguments are wrong: {error}.") from error


def serve(service: Service, events: Events, descriptor: int) -> int:
    """Answer commands until the end of input.

    Args:
        service: What does them.
        events: Where replies go.
        descriptor: Where commands come from.

    Returns:
        An exit status: 0 at the end of input, 1 after bytes that are no command.
    """
    lines = CommandLines()
    while data := os.read(descriptor, 1 << 16):
        try:
            commands = lines.feed(data)
        except RemoteProtocolError as error:
            events.emit("error", error=str(error))
            return 1
        for command in commands:
            events.answer(command, service.do)
    return 0


def main(argv: list[str]) -> int:
    """Run the daemon.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The exit status.
    """
    parser = ArgumentParser(prog="rig workload", description=__doc__.splitlines()[0])
    parser.add_argument("--supervised", action="store_true", help="events go to standard output")
    parser.add_argument("--mounts", type=Path, default=MOUNTS, help="mount under this directory")
    options = parser.parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer if options.supervised else None)
    # Both signals end a system call that blocks, and what was mounted is unmounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    service = Service(events, options.mounts)
    events.emit("ready")
    try:
        return serve(service, events, sys.stdin.fileno())
    except KeyboardInterrupt:
        return 0
    finally:
        service.undo()
