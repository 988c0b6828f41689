"""What ``rig workload`` writes to its file systems, says of its files, and reads back."""

from __future__ import annotations

from rig.daemon import Events
from rig.errors import UserError
from rig.integrity.filemap import MappedFile
from rig.integrity.ledger import Event
from rig.integrity.mounting import Mounting
from rig.integrity.readback import drop_caches, read_back
from rig.integrity.requests import Again, OnFileSystem
from rig.integrity.watchdog import Watchdog
from rig.integrity.workloads.make import make_workload
from rig.integrity.workloads.pen import Outcome
from rig.integrity.workloads.table import Pattern
from rig.integrity.workloads.writing import Settings


class Stamping:
    """Writes and reads stamped files.

    Args:
        events: Where to tell.
        mounting: Has the file systems.
        watchdog: Is told of progress.

    Attributes:
        next_file_id: The first number that no file has yet.
    """

    def __init__(self, events: Events, mounting: Mounting, watchdog: Watchdog) -> None:
        self.next_file_id = 1
        self._events = events
        self._mounting = mounting
        self._watchdog = watchdog

    def write(self, name: str, pattern: Pattern, settings: Settings) -> Outcome:
        """Run a workload on one file system.

        Raises:
            UserError: It is not mounted, or the settings are impossible.
        """
        mounted = self._mounting.find(name)

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
        self.next_file_id = max(self.next_file_id, *(n + 1 for n in writing.paths))
        return writing.run()

    def write_again(self, args: Again) -> Outcome:
        """Write once more what was written before.

        Raises:
            UserError: It is not mounted, or was not written.
        """
        mounted = self._mounting.find(args.fs)
        if not -1 <= args.writing < len(mounted.writings) or not mounted.writings:
            raise UserError(f"{args.fs} was not written yet.", hint="First: write.")
        return mounted.writings[args.writing].run_again()

    def map(self, args: OnFileSystem) -> list[MappedFile]:
        """Say where the files lie; one that is not there lies nowhere."""
        return [file for one in self._mounting.find(args.fs).writings for file in one.mapped()]

    def read_back(self, args: OnFileSystem) -> list[dict[str, object]]:
        """Read the files past the page cache."""
        mounted = self._mounting.find(args.fs)
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

    def known(self, name: str) -> list[MappedFile]:
        """Return where the files lay when that was asked last, as far as that is known.

        Raises:
            UserError: The file system is not mounted.
        """
        return [file for one in self._mounting.find(name).writings for file in one.known]
