"""What a run directory has of the traffic of its run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from rig.errors import RemoteProtocolError, UserError
from rig.experiments.explain.chain import Traffic, chain_of
from rig.experiments.explain.commands import commands_of
from rig.experiments.run.scan_service import Access, decode_lines
from rig.experiments.run.trace import NAME as TRACE
from rig.experiments.run.trace import Line, decode_trace
from rig.integrity.filemap import MappedFile
from rig.integrity.judgement import Finding
from rig.lab.clock import MachineClock, Offset
from rig.report.chain import Chain
from rig.report.verdict import Verdict
from rig.usb.urblog import UrbEvent, read_events

JOURNAL = "journal.jsonl"
FILES = "files.json"
URBS = "urbs.bin"
"""A machine's log of URBs, in its directory; see `rig.usb.urblog`."""
MOST_CHAINS = 20
_One = TypeVar("_One")


class Recorded:
    """A run directory, read when it is asked for; what a run did not leave is empty.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @functools.cached_property
    def verdict(self) -> Verdict:
        """What the run came to.

        Raises:
            UserError: The directory is none of a run.
        """
        try:
            return msgspec.json.decode((self.path / "verdict.json").read_bytes(), type=Verdict)
        except (OSError, msgspec.MsgspecError) as error:
            raise UserError(
                f"'{self.path}' is no directory of a run: its verdict.json cannot be read.",
                hint="Give one that 'rig run' has left, below runs/.",
            ) from error

    @functools.cached_property
    def files(self) -> list[MappedFile]:
        """Where the files lay."""
        return self._read(FILES, lambda octets: msgspec.json.decode(octets, type=list[MappedFile]))

    @functools.cached_property
    def accesses(self) -> list[Access]:
        """Of the medium, in order."""
        lines = self._read(JOURNAL, lambda octets: list(decode_lines(octets.decode())))
        return [line for line in lines if isinstance(line, Access)]

    @property
    def has_journal(self) -> bool:
        """Whether it is known what arrived at the medium."""
        return (self.path / JOURNAL).exists()

    @functools.cached_property
    def trace(self) -> list[Line]:
        """What fired, was released, was changed by hand; and the clocks."""
        return self._read(TRACE, decode_trace)

    @functools.cached_property
    def traffic(self) -> Traffic:
        """What chains of causes are made of."""
        faults = [line for line in self.trace if line.event == "fault"]
        back, front = self._urbs("back"), self._urbs("front")
        clocks = (self._clock("back"), self._clock("front"))
        return Traffic(commands_of(back), front, faults, *clocks)

    def clock(self, machine: str) -> MachineClock:
        """Return how a machine's time stamps are told by the station's clock."""
        return self.traffic.back_clock if machine == "back" else self.traffic.front_clock

    def arrivals(self, lba: int) -> list[Access]:
        """Return the writes that brought something to a sector, in order."""
        return [
            one
            for one in self.accesses
            if one.op == "write" and one.lba <= lba < one.lba + one.blocks
        ]

    @property
    def end_lba(self) -> int:
        """Behind the last sector that a file lay on, or that was written."""
        lay = (extent.lba + extent.count for file in self.files for extent in file.extents)
        return max((*lay, *(one.lba + one.blocks for one in self.accesses)), default=0)

    def chains_at(self, lba: int, access: Access) -> Chain:
        """Return how one write came to a sector."""
        return chain_of(lba, access, self.traffic)

    def chains(self, findings: Iterable[Finding]) -> tuple[Chain, ...]:
        """Return how the writes of findings came about: of the first `MOST_CHAINS` writes."""
        found: dict[tuple[int, int], Chain] = {}
        for finding in findings:
            named = [(max(finding.lba or 0, one.lba), one) for one in self._culprits(finding)]
            for lba, access in [*named, *self.strays(finding, finding.lba or 0)]:
                key = (lba, access.sequence)
                if key not in found and len(found) < MOST_CHAINS:
                    found[key] = chain_of(lba, access, self.traffic)
        return tuple(found.values())

    def _culprits(self, finding: Finding) -> Sequence[Access]:
        """Return the writes that a finding names, those that arrived at its sectors."""
        if finding.lba is None:
            return ()
        ends = finding.lba + finding.count
        named = finding.keys.arrivals if finding.arrival is None else [finding.arrival]
        wanted = set(named)
        return [
            one
            for one in self.accesses
            if one.sequence in wanted
            and one.op == "write"
            and one.lba < ends
            and finding.lba < one.lba + one.blocks
        ]

    def strays(self, finding: Finding, lba: int) -> list[tuple[int, Access]]:
        """Return the writes that were bound for where a sector's content belongs, and strayed.

        Args:
            finding: About the sector.
            lba: The sector.

        Returns:
            Where each was bound for, and the write: those to which a fault of the medium happened.
        """
        if finding.lba is None or finding.belongs_lba is None:
            return []
        home = finding.belongs_lba + lba - finding.lba
        return [(home, one) for one in self.arrivals(home) if one.injected]

    def _urbs(self, machine: str) -> list[UrbEvent]:
        return self._read(f"{machine}/{URBS}", lambda octets: list(read_events(octets)))

    def _read(self, name: str, decode: Callable[[bytes], list[_One]]) -> list[_One]:
        """Read a file of the run; one that it did not leave is empty.

        Raises:
            UserError: It is damaged.
        """
        path = self.path / name
        if not path.exists():
            return []
        try:
            return decode(path.read_bytes())
        except (OSError, UnicodeDecodeError, msgspec.MsgspecError, RemoteProtocolError) as error:
            raise UserError(
                f"'{path}' is damaged, or cannot be read: {error}",
                hint="Without it 'rig explain' tells the rest.",
            ) from error

    def _clock(self, machine: str) -> MachineClock:
        return MachineClock(
            [
                Offset(line.t_ns, int(line.what["offset_ns"]), line.error_ns)
                for line in self.trace
                if line.event == "clock" and line.machine == machine
            ]
        )
