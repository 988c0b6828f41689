"""``rig workload``: the daemon on the front machine that makes file systems and stamps them.

Commands (see `rig.daemon` for how lines look); all sizes are bytes, all LBAs of the whole disk:

===========  ===================================  =============================================
prepare      disk, file_systems, bytes_each,      partitions the disk, makes and mounts each;
             partition_bytes                      bytes_each: of stamped data that must fit,
                                                  unless the size of a partition is given
write        fs, pattern, run_id, seed and what   runs a workload; returns its `Outcome`;
             `workload.Settings` has              events ``ledger`` {fs, entries}, ``progress``
write_again  fs, writing                          writes what was written last once more, or the
                                                  writing of this number, from 0; as ``write``
map          fs                                   where the files lie: `MappedFile` each
read_back    fs                                   sync, drop caches, read with O_DIRECT:
                                                  {file_id, path, runs} each
check        fs                                   unmount, fsck, mount again: {clean, status,
                                                  output}
follow       disk                                 if the disk came back by another name: mounts
                                                  it instead of the one that is gone, mended
                                                  where there is no journal; {moved, lost}
revive       fs                                   unmount, mend, mount again: for a file system
                                                  that was given up while its disk is there
unmount      fs
status                                            what is mounted where, with which files
===========  ===================================  =============================================

What the kernel, or a file system's own program, refuses is an observation about that file system:
the answer is then a `Refused`, and the daemon goes on.

Events of its watchdog: ``stalled`` {step, quiet_s, tasks} when there was no progress for 15 s, with
the stacks of tasks in state D; ``went_on``; ``blocked`` {step, pid, name, for_s}, at the end of a
step, for a task that was in state D longer than any before.

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
from rig.errors import CommandFailure, MachineError, RemoteProtocolError, RigError, UserError
from rig.integrity import disk
from rig.integrity.filemap import MappedFile
from rig.integrity.filesystems import MIB, file_system
from rig.integrity.ledger import CacheLost, Event
from rig.integrity.readback import drop_caches, read_back
from rig.integrity.watchdog import Watchdog
from rig.integrity.workloads.make import make_workload
from rig.integrity.workloads.pen import Outcome
from rig.integrity.workloads.table import Pattern
from rig.integrity.workloads.writing import Settings, Writing

MOUNTS = Path("/run/rig/mnt")
_ROOM_BYTES = 32 * MIB
"""For a file system's own blocks, beside twice the data."""
_BY_BEATS = frozenset({"write", "write_again"})
"""Commands that give signs of life themselves; of all others the disk's transfers are."""

_log = logging.getLogger("rig.workload")
_Args = TypeVar("_Args", bound=msgspec.Struct)


class Prepare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``prepare``."""

    disk: str
    file_systems: list[str]
    bytes_each: int = 16 * MIB
    partition_bytes: int = 0


class OnFileSystem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of the commands that only name a file system."""

    fs: str


class Again(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``write_again``."""

    fs: str
    writing: int = -1


class OnDisk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``follow``."""

    disk: str


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of commands that take none."""


class _Pattern(msgspec.Struct, frozen=True):
    """Which code writes."""

    pattern: Pattern


class Refused(msgspec.Struct, frozen=True):
    """The host would not do what it was asked for.

    Attributes:
        refused: What it said, in words.
        known: Of ``map``: where the files lay when it was asked last, as far as that is known.
    """

    refused: str
    known: list[MappedFile] = []


class _Mounted:
    """One file system of the disk, and what was written to it."""

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


class Service:
    """What the commands do.

    Args:
        events: Where to tell.
        mounts: Under which directory to mount.
        watchdog: Is told of steps and progress; None for one that does not run.
    """

    def __init__(
        self, events: Events, mounts: Path = MOUNTS, watchdog: Watchdog | None = None
    ) -> None:
        self._events = events
        self._mounts = mounts
        self._watchdog = watchdog or Watchdog(events.emit)
        self._disk: Path | None = None
        self._mounted: dict[str, _Mounted] = {}
        self._next_file_id = 1
        self._commands: dict[str, Callable[[dict[str, Any]], object]] = {
            "prepare": lambda args: self.prepare(_arguments(args, Prepare)),
            "write": self._write_command,
            "write_again": lambda args: self.write_again(_arguments(args, Again)),
            "map": lambda args: self.map(_arguments(args, OnFileSystem)),
            "read_back": lambda args: self.read_back(_arguments(args, OnFileSystem)),
            "check": lambda args: self.check(_arguments(args, OnFileSystem)),
            "follow": lambda args: self.follow(_arguments(args, OnDisk)),
            "revive": lambda args: self.revive(_arguments(args, OnFileSystem)),
            "unmount": lambda args: self.unmount(_arguments(args, OnFileSystem)),
            "status": lambda args: self.status(_arguments(args, Nothing)),
        }

    def do(self, command: Command) -> object:
        """Run one command.

        Returns:
            Its result; a `Refused` if the host would not do it.

        Raises:
            RigError: It is not known, or its arguments are wrong.
        """
        if command.do not in self._commands:
            raise RemoteProtocolError(
                f"The command {command.do!r} is not known.",
                hint=f"Known are {', '.join(self._commands)}.",
            )
        step = f"{command.do} {command.args.get('fs', '')}".strip()
        used = command.args.get("disk") or self._disk
        by_beats = command.do in _BY_BEATS or used is None
        moved = None if by_beats else disk.transfers(Path(str(used)))
        with self._watchdog.watching(step, moved):
            try:
                return self._commands[command.do](command.args)
            except (OSError, MachineError) as error:
                known: list[MappedFile] = []
                if command.do == "map":
                    writings = self._find(str(command.args.get("fs"))).writings
                    known = [file for one in writings for file in one.known]
                _log.warning("%s was refused: %s", step, error)
                return Refused(str(error), known)

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
        self._disk = target
        self._step("partition", "")
        size = args.partition_bytes or 2 * args.bytes_each + _ROOM_BYTES
        refused: list[dict[str, object]] = []
        for number, partition in enumerate(disk.make_partitions(target, rows, size), 1):
            name = partition.file_system.name
            mounted = _Mounted(number, partition, self._mounts / name)
            try:
                self._step("mkfs", name)
                disk.make_file_system(partition)
                self._step("mount", name)
                disk.mount(partition, mounted.target)
            except CommandFailure as error:
                refused.append({"fs": name, "refused": str(error)})
                continue
            self._mounted[name] = mounted
        return [*self.status(Nothing()), *refused]

    def write(self, name: str, pattern: Pattern, settings: Settings) -> Outcome:
        """Run a workload on one file system.

        Raises:
            UserError: It is not mounted, or the settings are impossible.
        """
        mounted = self._find(name)

        def tell(entries: list[Event]) -> None:
            self._watchdog.beat()
            self._events.emit("ledger", fs=name, entries=entries)

        def progress(done: int, total: int) -> None:
            self._watchdog.beat()
            self._events.emit("progress", fs=name, step="write", done=done, total=total)

        partition = mounted.partition
        writing = make_workload(
            pattern,
            settings,
            row=partition.file_system,
            directory=mounted.place,
            start_lba=partition.start_lba,
            tell=tell,
            progress=progress,
        )
        mounted.writings.append(writing)
        self._next_file_id = max(self._next_file_id, *(n + 1 for n in writing.paths))
        return writing.run()

    def write_again(self, args: Again) -> Outcome:
        """Write once more what was written before.

        Raises:
            UserError: It is not mounted, or was not written.
        """
        mounted = self._find(args.fs)
        if not -1 <= args.writing < len(mounted.writings) or not mounted.writings:
            raise UserError(f"{args.fs} was not written yet.", hint="First: write.")
        return mounted.writings[args.writing].run_again()

    def map(self, args: OnFileSystem) -> list[MappedFile]:
        """Say where the files lie; one that is not there lies nowhere."""
        return [file for one in self._find(args.fs).writings for file in one.mapped()]

    def read_back(self, args: OnFileSystem) -> list[dict[str, object]]:
        """Read the files past the page cache."""
        mounted = self._find(args.fs)
        drop_caches()
        found: list[dict[str, object]] = []
        raw = mounted.partition.file_system.raw
        for writing in mounted.writings:
            for number, path in writing.paths.items():
                self._events.emit(
                    "progress", fs=args.fs, step="read", done=len(found), total=len(mounted.paths)
                )
                # Of one that is not there nothing can be read, which the oracle weighs.
                runs = read_back(path, *writing.part) if raw or path.exists() else []
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

    def follow(self, args: OnDisk) -> dict[str, object]:
        """Mount what was mounted from its disk's new name, if it has one.

        A disk that went away while mounted keeps its name until it is unmounted, so one that came
        back has another.

        Returns:
            Whether it had gone, and which file systems could not be mounted again, with the reason.
        """
        moved = False
        lost: dict[str, str] = {}
        for name, mounted in self._mounted.items():
            node = disk.partition_node(Path(args.disk), mounted.number)
            if node == mounted.partition.node:
                continue
            moved = True
            self._disk = Path(args.disk)
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
        mounted = self._find(args.fs)
        disk.unmount(mounted.target)
        self._lose_caches()
        self._mend_and_mount(args.fs, mounted)

    def _mend_and_mount(self, name: str, mounted: _Mounted) -> None:
        if (said := disk.mend(mounted.partition)) is not None:
            _log.info("%s has no journal and was mended: %s", name, said)
        disk.mount(mounted.partition, mounted.target)

    def _lose_caches(self) -> None:
        """Tell that what was acknowledged, and not flushed, may be gone."""
        self._events.emit("ledger", fs="", entries=[CacheLost()])

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
        pattern = _arguments({"pattern": fields.pop("pattern", Pattern.BLOCKS)}, _Pattern).pattern
        return self.write(str(name), pattern, _arguments(fields, Settings))

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
    watchdog = Watchdog(events.emit)
    watchdog.start()
    service = Service(events, options.mounts, watchdog)
    events.emit("ready")
    try:
        return serve(service, events, sys.stdin.fileno())
    except KeyboardInterrupt:
        return 0
    finally:
        service.undo()
        watchdog.stop()
