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
from typing import Any

from rig.arguments import ArgumentParser
from rig.daemon import Command, CommandLines, Events, start_logging
from rig.errors import MachineError, RemoteProtocolError
from rig.integrity import disk
from rig.integrity.mounting import Mounting
from rig.integrity.requests import (
    Again,
    Nothing,
    OnDisk,
    OnFileSystem,
    Prepare,
    Refused,
    WhichPattern,
    read_arguments,
)
from rig.integrity.stamping import Stamping
from rig.integrity.watchdog import Watchdog
from rig.integrity.workloads.pen import Outcome
from rig.integrity.workloads.table import Pattern
from rig.integrity.workloads.writing import Settings

MOUNTS = Path("/run/rig/mnt")
_BY_BEATS = frozenset({"write", "write_again"})
"""Commands that give signs of life themselves; of all others the disk's transfers are."""

_log = logging.getLogger("rig.workload")


class Service:
    """What the commands do.

    Args:
        events: Where to tell.
        mounts: Under which directory to mount.
        watchdog: Is told of steps and progress; None for one that does not run.

    Attributes:
        mounting: Has the disk and its file systems.
        stamping: Writes and reads there.
    """

    def __init__(
        self, events: Events, mounts: Path = MOUNTS, watchdog: Watchdog | None = None
    ) -> None:
        self._watchdog = watchdog or Watchdog(events.emit)
        self.mounting = mounting = Mounting(events, mounts)
        self.stamping = stamping = Stamping(events, mounting, self._watchdog)
        self._commands: dict[str, Callable[[dict[str, Any]], object]] = {
            "prepare": lambda args: mounting.prepare(read_arguments(args, Prepare)),
            "write": self._write,
            "write_again": lambda args: stamping.write_again(read_arguments(args, Again)),
            "map": lambda args: stamping.map(read_arguments(args, OnFileSystem)),
            "read_back": lambda args: stamping.read_back(read_arguments(args, OnFileSystem)),
            "check": lambda args: mounting.check(read_arguments(args, OnFileSystem)),
            "follow": lambda args: mounting.follow(read_arguments(args, OnDisk)),
            "revive": lambda args: mounting.revive(read_arguments(args, OnFileSystem)),
            "unmount": lambda args: mounting.unmount(read_arguments(args, OnFileSystem)),
            "status": lambda args: mounting.status(read_arguments(args, Nothing)),
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
        used = command.args.get("disk") or self.mounting.disk
        by_beats = command.do in _BY_BEATS or used is None
        moved = None if by_beats else disk.transfers(Path(str(used)))
        with self._watchdog.watching(step, moved):
            try:
                return self._commands[command.do](command.args)
            except (OSError, MachineError) as error:
                name = str(command.args.get("fs"))
                known = self.stamping.known(name) if command.do == "map" else []
                _log.warning("%s was refused: %s", step, error)
                return Refused(str(error), known)

    def _write(self, args: dict[str, Any]) -> Outcome:
        fields = {"first_file_id": self.stamping.next_file_id, **args}
        name = fields.pop("fs", "")
        pattern = read_arguments(
            {"pattern": fields.pop("pattern", Pattern.BLOCKS)}, WhichPattern
        ).pattern
        return self.stamping.write(str(name), pattern, read_arguments(fields, Settings))


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
        service.mounting.undo()
        watchdog.stop()
