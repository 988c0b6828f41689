"""How a run uses its disk: writes file systems, follows them when it goes away, reads them back.

A disk that went away comes back by another name, and is mounted again: journals are replayed by
the mount, and what has none is mended.  Before anything is written again, what fsync had promised
is read and judged.  A file system that the host gives up is no failure of the rig: the run goes on
without it, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from rig.errors import CommandFailure, MachineError
from rig.experiments.run.disturbance import Disturbance
from rig.experiments.run.observing import STEP_DEADLINE_S, Refused, observe, observe_hearing
from rig.experiments.run.options import RunOptions
from rig.experiments.run.recovered import verify
from rig.integrity.filemap import MappedFile
from rig.integrity.filesystems import RAW
from rig.integrity.looks import FileLook
from rig.integrity.scan import Run
from rig.integrity.workloads.table import Kind
from rig.lab.daemons import Daemon
from rig.report.verdict import CheckedFileSystem, Recovery

__all__ = ["STEP_DEADLINE_S", "Use"]

WRITINGS = 3
READINGS = 3
"""Of one file system, if the disk goes away meanwhile; what has no disk cannot be read at all."""


class WriteOutcome(msgspec.Struct):
    """How a workload went, as far as the verdict depends on it.

    Attributes:
        stopped: Why it ended early; empty if it did not.
        given_up_blocks: Blocks of which no attempt was confirmed.
        written_bytes: That write calls have taken.
    """

    stopped: str
    given_up_blocks: int
    written_bytes: int = 0

    @property
    def incomplete(self) -> bool:
        """Whether something of it is not confirmed."""
        return bool(self.stopped or self.given_up_blocks)

    @property
    def reason(self) -> str:
        """Why it is incomplete; empty if it is not."""
        if not self.incomplete:
            return ""
        return self.stopped or "some blocks could not be confirmed in any attempt"


class _Read(msgspec.Struct):
    """What the host read of one file."""

    file_id: int
    runs: list[Run]


class _Prepared(msgspec.Struct):
    """What became of one file system."""

    fs: str
    refused: str = ""


class Use:
    """Uses a disk.

    Args:
        workload: The daemon on the machine that has it.
        options: What to run.
        run_id: For the stamps.
        disturbance: What goes wrong meanwhile; it knows where the disk is.
        part: Times and shows a part of the run.

    Attributes:
        files: Where the files lie in the end.
        read: What the host read of them.
        checks: What the file systems' checkers said.
        recoveries: What was there after each time that the disk came back.
        given_up: File systems that the host gave up, and why.
        unproven: Sentences on what else was not done.
    """

    def __init__(
        self,
        workload: Daemon,
        options: RunOptions,
        run_id: int,
        *,
        disturbance: Disturbance,
        part: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._workload = workload
        self._options = options
        self._run_id = run_id
        self._disturbance = disturbance
        self._part = part
        self._made: list[str] = []
        self._mapped: dict[str, list[MappedFile]] = {}
        self.read: list[FileLook] = []
        self.checks: list[CheckedFileSystem] = []
        self.recoveries: list[Recovery] = []
        self.given_up: dict[str, str] = {}
        self.unproven: list[str] = []

    @property
    def names(self) -> list[str]:
        """The file systems that are in use, in order."""
        return [name for name in self._options.file_systems if name not in self.given_up]

    @property
    def sound_names(self) -> list[str]:
        """Those of them that no checker calls damaged."""
        damaged = {check.fs for check in self.checks if not check.clean}
        return [name for name in self.names if name not in damaged]

    @property
    def promised_sectors(self) -> dict[str, int]:
        """Stamped sectors that each file system must show in the end."""
        return self._options.promised_sectors

    @property
    def files(self) -> list[MappedFile]:
        """Where all files lie, as far as the host told."""
        return [file for files in self._mapped.values() for file in files]

    @property
    def unmapped(self) -> frozenset[str]:
        """File systems of which nobody can say where their files lie."""
        return frozenset(name for name in self._options.file_systems if not self._mapped.get(name))

    def given_up_words(self) -> Iterator[str]:
        """Say which file systems the host gave up, a sentence each."""
        for name, why in dict(self.given_up).items():  # a session shows it while it changes
            yield f"{name} was given up by the host: {why.rstrip('.')}."

    def give_up_all(self, why: str) -> None:
        """No file system can be used any more."""
        for name in self.names:
            self.given_up[name] = why

    def prepare(self, disk: str) -> None:
        """Make the file systems.

        Args:
            disk: The disk's node.
        """
        sizes = {"bytes_each": self._options.bytes_each}
        if (1 + len(self._options.workloads), self._options.lun_mib) != (2, None):
            sizes["partition_bytes"] = self._options.partition_bytes
        try:
            told = self._observe(
                "prepare", disk=disk, file_systems=list(self._options.file_systems), **sizes
            )
        except Refused as refusal:
            self.give_up_all(f"the disk could not be partitioned: {refusal.sentence}")
            return
        for row in msgspec.convert(told, list[_Prepared]):
            if row.refused:
                self.given_up[row.fs] = f"it could not be made: {row.refused}"
        self._made = self.names

    def write(self, name: str) -> None:
        """Run the workloads on one file system, and have it told where its files lie."""
        first_block_bytes = 0
        for kind in self._options.workloads:
            if name in self.given_up:
                return
            settings = self._settings(kind, name, first_block_bytes)
            self._write(kind, name, settings)
            first_block_bytes += int(str(settings["bytes_total"]))
        self._map(name)

    def check(self) -> None:
        """Have each file system checked, and mounted anew."""
        self._follow()
        for name in self.names:
            result = self._insist(name, "check")
            if result is not None and name != RAW.name:
                self.checks.append(msgspec.convert({"fs": name, **result}, CheckedFileSystem))

    def read_back(self, name: str) -> None:
        """Have the host read the files of one file system; again if the disk had gone meanwhile."""
        if name in self.given_up:
            return
        told = self._read(name)
        if told is not None:
            self.read += told

    def unmount(self) -> None:
        """Unmount all, and end the daemon.

        Raises:
            MachineError: It did not end in order.
        """
        for name in self._made:
            try:
                self._observe("unmount", fs=name)
            except Refused as refusal:
                self.given_up.setdefault(name, refusal.sentence)
        if self._workload.stop() != 0 and not self.given_up:
            raise MachineError("The workload's daemon did not end in order.")

    # -- writing -----------------------------------------------------------------------------

    def _settings(self, kind: Kind, name: str, first_byte: int) -> dict[str, object]:
        raw = name == RAW.name
        sizes = kind.sizes(self._options.bytes_each, raw=raw)
        settings: dict[str, object] = {
            "run_id": self._run_id,
            "seed": self._options.plan.seed,
            **sizes,
        }
        differs = {
            "pattern": kind.pattern,
            "passes": kind.passes,
            "again": kind.again,
            "order": kind.order,
            "access": kind.access,
        }
        settings |= {key: value for key, value in differs.items() if value != _DEFAULTS[key]}
        if raw and first_byte:
            settings["first_block"] = -(-first_byte // sizes["block_bytes"])
        return settings

    def _write(self, kind: Kind, name: str, settings: dict[str, object]) -> None:
        outcome, moved = WriteOutcome("", 0), False
        for attempt in range(WRITINGS):
            command, more = ("write_again", {}) if attempt else ("write", settings)
            try:
                told = self._write_observed(command, name, more)
                outcome = msgspec.convert(told, WriteOutcome)
            except Refused as refusal:
                outcome = WriteOutcome(refusal.sentence, 0)
            moved = self._follow(suspect=bool(outcome.stopped))
            if name in self.given_up or not (moved and outcome.incomplete):
                break
            self._verify(name)
        if not outcome.incomplete:
            return
        what = "The workload" if len(self._options.workloads) == 1 else f"Workload {kind.name}"
        self.unproven.append(f"{what} on {name} did not write all: {outcome.reason.rstrip('.')}.")
        if outcome.stopped and not moved and name not in self.given_up:
            self._mount_anew(name)

    def _map(self, name: str) -> None:
        if name in self.given_up:
            return
        try:
            try:
                files = self._observe("map", fs=name)
            except Refused as refusal:
                self._mapped[name] = refusal.known
                if not self._mount_anew(name):
                    return
                files = self._observe("map", fs=name)
        except Refused as refusal:
            self.given_up[name] = refusal.sentence
            return
        self._mapped[name] = msgspec.convert(files, list[MappedFile])

    def _verify(self, name: str) -> None:
        """Read what fsync had promised before anything of it is overwritten."""
        reads = self._read(name)
        if reads is None:
            return
        try:
            files = msgspec.convert(self._observe("map", fs=name), list[MappedFile])
        except Refused:
            files = []
        recovery = verify(name, self._workload.events, files, reads, self._run_id)
        self.recoveries.append(recovery)

    # -- the disk, and the host's refusals ---------------------------------------------------

    def _observe(self, command: str, **args: object) -> Any:
        return observe(self._workload, command, **args)

    def _write_observed(self, command: str, name: str, settings: dict[str, object]) -> Any:
        """Have a file system written; whoever disturbs hears what is promised meanwhile."""
        return observe_hearing(self._workload, command, self._disturbance.hear, name, settings)

    def _follow(self, *, suspect: bool = False) -> bool:
        """See to it that all file systems are mounted; return whether the disk had gone."""
        followed = self._disturbance.follow(self._workload, suspect=suspect)
        for name, why in followed.lost.items():
            self.given_up.setdefault(name, why)
        return followed.moved

    def _mount_anew(self, name: str) -> bool:
        """Mount a file system anew, from where its disk is now; return whether that worked."""
        if self._follow(suspect=True):
            return name not in self.given_up
        try:
            self._observe("revive", fs=name)
        except Refused as refusal:
            self.given_up[name] = refusal.sentence
            return False
        return True

    def _insist(self, name: str, command: str) -> Any:
        """Ask; if the host refuses, mount anew and ask again.  None: it was given up."""
        try:
            return self._observe(command, fs=name)
        except Refused:
            if not self._mount_anew(name):
                return None
        try:
            return self._observe(command, fs=name)
        except Refused as refusal:
            self.given_up[name] = refusal.sentence
            return None

    def _read(self, name: str) -> list[FileLook] | None:
        """Read all files of one file system; None if the host gave it up."""
        for _ in range(READINGS):
            failure: Refused | CommandFailure | None = None
            told = None
            try:
                told = self._observe("read_back", fs=name)
            except (Refused, CommandFailure) as error:
                failure = error
            if self._follow(suspect=isinstance(failure, Refused)):
                continue
            if isinstance(failure, CommandFailure):
                raise failure
            if failure is not None:
                told = self._insist(name, "read_back")
            if told is None:
                return None
            return [FileLook(one.file_id, one.runs) for one in msgspec.convert(told, list[_Read])]
        raise MachineError(f"The disk went away in each of {READINGS} readings of {name}.")


_DEFAULTS = {"pattern": "blocks", "passes": 2, "again": 4, "order": "ascending", "access": "cached"}
"""Of `rig.integrity.workloads.writing.Settings`, and of the command ``write``."""
