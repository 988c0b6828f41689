"""How a run uses its disk whose writing lasts until somebody ends it: pass after pass.

The first pass of a workload on a file system makes its files; each further one writes all of them
again, with the next generation, so that the disk does not fill up however long it lasts.  What a
pass leaves unconfirmed the next one may confirm: only the last of each counts in the end.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import msgspec

from rig.experiments.run.observing import Refused
from rig.experiments.run.use import WRITINGS, Use, WriteOutcome
from rig.integrity.filesystems import RAW
from rig.integrity.looks import FileLook
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.table import Kind
from rig.lab.machine_faults import NotBackError


class Patience(Protocol):
    """Waits for what is away."""

    def wait_for(self, away: NotBackError) -> None:
        """Say what is away; return if it is to be looked for again.

        Raises:
            NotBackError: Nobody wants to wait any more.
        """


class _NoPatience:
    def wait_for(self, away: NotBackError) -> None:
        raise away


class Place(msgspec.Struct, frozen=True):
    """Where a file system is.

    Attributes:
        fs: Its name.
        node: Of its partition.
        start_lba: Where it begins on the disk.
        count: How many blocks of 512 octets it has.
    """

    fs: str
    node: str
    start_lba: int
    count: int


class LongUse(Use):
    """Uses a disk in passes.  See `rig.experiments.run.use.Use`.

    Attributes:
        patience: Waits for a disk that is away.
        octets: Stamped data that write calls have taken, in all.
        moves: How often the disk had gone and come back.
        looked_s: When it was last begun to see whether the disk is there, and it was, by the
            monotonic clock; None: not yet.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.patience: Patience = _NoPatience()
        self.octets = self.moves = 0
        self.looked_s: float | None = None
        self._begun: dict[str, list[Kind]] = {}
        self._next_byte: dict[str, int] = {}
        self._taken: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str], WriteOutcome] = {}

    @property
    def promised_sectors(self) -> dict[str, int]:
        """See `Use.promised_sectors`: of the workloads that were begun there."""
        return {
            name: sum(self._bytes_of(kind, name) for kind in self._begun.get(name, ()))
            // SECTOR_BYTES
            for name in self._options.file_systems
        }

    def places(self) -> list[Place]:
        """Return where the file systems are.

        Raises:
            MachineError: The daemon failed.
        """
        return msgspec.convert(self._observe("status"), list[Place])

    def write_pass(self, name: str, kind: Kind) -> str:
        """Run a workload on a file system once.

        Returns:
            Why it did not write all; empty if it did.

        Raises:
            MachineError: A machine or a daemon did not do its part.
            Hung: A call does not return.
        """
        begun = self._begun.setdefault(name, [])
        again = kind in begun
        if again:
            more: dict[str, object] = {"writing": begun.index(kind)}
        else:
            more = self._settings(kind, name, self._next_byte.get(name, 0))
        try:
            told = self._write_observed("write_again" if again else "write", name, more)
            outcome = msgspec.convert(told, WriteOutcome)
        except Refused as refusal:
            outcome = WriteOutcome(refusal.sentence, 0)
        if not again:
            begun.append(kind)
            self._next_byte[name] = self._next_byte.get(name, 0) + self._bytes_of(kind, name)
        # A writing counts all that it was ever given; one that was refused counts nothing.
        if outcome.written_bytes:
            self.octets += outcome.written_bytes - self._taken.get((name, kind.name), 0)
            self._taken[name, kind.name] = outcome.written_bytes
        self._last[name, kind.name] = outcome
        moved = self._follow(suspect=bool(outcome.stopped))
        if name not in self.given_up and outcome.incomplete:
            if moved:
                self._verify(name)
            elif outcome.stopped:
                self._mount_anew(name)
        return outcome.reason

    def follow(self) -> None:
        """See to it that all file systems are mounted where their disk is now.

        Raises:
            MachineError: The disk does not come back.
            Hung: A call does not return.
        """
        self._follow(suspect=True)

    @property
    def can_be_taken_up(self) -> bool:
        """Whether something was given up that `take_up` might mount."""
        return any(name in self.given_up for name in self._made)

    def take_up(self) -> list[str]:
        """Mount again what the host had given up, as far as it was made and can be mounted.

        What fsync had promised is read before anything of it is overwritten.

        Returns:
            Of what is in use again a sentence each.

        Raises:
            MachineError: The disk does not come back.
            Hung: A call does not return.
        """
        self._follow(suspect=True)
        said = []
        for name in [name for name in self._made if name in self.given_up]:
            why = self.given_up.pop(name)
            try:
                self._observe("revive", fs=name)
            except Refused as refusal:
                self.given_up[name] = refusal.sentence
                continue
            self._verify(name)
            if name not in self.given_up:
                said.append(f"{name} is in use again; the host had given it up: {why}")
        return said

    def look(self, name: str) -> list[FileLook]:
        """Have the host read the files of a file system; what it reads does not count in the end.

        Raises:
            MachineError: The disk goes away again and again.
            Hung: A call does not return.
        """
        self._map(name)
        return self._read(name) or []

    def end_passes(self) -> None:
        """Write again what the last pass of each workload did not confirm, and map the files.

        What cannot be confirmed now either is said.

        Raises:
            MachineError: A machine or a daemon did not do its part.
            Hung: A call does not return.
        """
        if not any(self._begun.values()):
            self.unproven.append("Nothing was written.")
        for name in self.names:
            for kind in self._begun.get(name, ()):
                why = self._last[name, kind.name].reason
                for _ in range(WRITINGS - 1):
                    if not why or name in self.given_up:
                        break
                    why = self.write_pass(name, kind)
                if why and name not in self.given_up:
                    self.unproven.append(
                        f"Workload {kind.name} on {name} did not write all: {why.rstrip('.')}."
                    )
        for name in self.names:
            self._map(name)

    def _bytes_of(self, kind: Kind, name: str) -> int:
        return kind.sizes(self._options.bytes_each, raw=name == RAW.name)["bytes_total"]

    def _follow(self, *, suspect: bool = False) -> bool:
        while True:
            began_s = time.monotonic()
            try:
                moved = super()._follow(suspect=suspect)
            except NotBackError as away:
                self.patience.wait_for(away)
                suspect = True
            else:
                self.moves += moved
                self.looked_s = began_s
                return moved
