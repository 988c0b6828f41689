"""The medium's journal of a run whose writing lasts: each look goes on where the last one ended."""

from __future__ import annotations

from rig.experiments.run.places import STORE
from rig.experiments.run.scan_service import JournalDamage, Line, decode_part
from rig.lab.machine import Machine
from rig.report.rundir import RunDirectory

LOOK_DEADLINE_S = 1200.0
"""A journal may fill the machine's disk; under emulation ten megabytes are read in a second."""


class GrowingJournal:
    """What the journal holds so far.

    Args:
        directory: Of the run; gets ``journal.jsonl``.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._path = directory.file("journal.jsonl")
        self._end = 0
        self._lines: list[Line] = []

    def look(self, back: Machine) -> list[Line]:
        """Read on, and return all lines from the journal's beginning.

        Args:
            back: The machine that has it.

        Raises:
            MachineError: It could not be read.
        """
        told = back.check(
            f"rig scan journal {STORE}/journal.bin --from {self._end}", LOOK_DEADLINE_S
        )
        text, lines, self._end = decode_part(told.stdout)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)
        self._lines += lines
        # What its store is writing now will be whole at the next look.
        return [one for one in self._lines if not _is_being_written(one)]


def _is_being_written(line: Line) -> bool:
    return isinstance(line, JournalDamage) and line.torn_tail
