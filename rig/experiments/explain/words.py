"""What is known of one sector of a run, for people.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rig.experiments.explain.recorded import Recorded
from rig.experiments.run.scan_service import Access
from rig.integrity.filemap import FileMap
from rig.integrity.judgement import Finding
from rig.integrity.scan import Run
from rig.integrity.stamp import SECTOR_BYTES, SectorKind
from rig.report.chain import Chain

_NS_PER_S = 1_000_000_000
_MOST_ARRIVALS = 20
_KINDS = {SectorKind.FOREIGN: "no stamp of ours", SectorKind.ZERO: "zeros"}


def explain(recorded: Recorded, lba: int) -> Iterator[str]:
    """Tell what a sector is, what was found there, what was written to it, and how that came about.

    Args:
        recorded: The run.
        lba: The sector: a 512-byte LBA of the whole disk.
    """
    yield f"LBA {lba}: {_owner(recorded, lba)}."
    findings = [one for one in recorded.verdict.findings if _covers(one, lba)]
    yield from _told(findings)
    arrivals = recorded.arrivals(lba)
    yield ""
    yield from _written(recorded, lba, arrivals)
    told = {one.arrival for one in findings} | {n for one in findings for n in one.keys.arrivals}
    chains = [one for one in arrivals if one.sequence in told] or arrivals[-1:]
    strays = [one for finding in findings for one in recorded.strays(finding, lba)]
    ways = [*((lba, one) for one in chains), *strays]
    for where, access in {(where, one.sequence): (where, one) for where, one in ways}.values():
        yield ""
        yield from chain_words(recorded.chains_at(where, access))


def _owner(recorded: Recorded, lba: int) -> str:
    file_map = FileMap(recorded.files)
    place = file_map.place_of(lba)
    if place is None:
        return "no part of a stamped file"
    return f"{file_map.path(place.file_id)}, offset {place.sector * SECTOR_BYTES}"


def _covers(finding: Finding, lba: int) -> bool:
    return finding.lba is not None and finding.lba <= lba < finding.lba + finding.count


def _told(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "Nothing is wrong there, in any view."
    for one in findings:
        yield one.sentence


def _written(recorded: Recorded, lba: int, arrivals: Sequence[Access]) -> Iterator[str]:
    if not recorded.has_journal:
        yield "What arrived at the medium is not known: the run's journal.jsonl is missing."
        return
    if not arrivals:
        yield "No write to it arrived at the medium."
        return
    yield f"Writes that arrived there: {len(arrivals)}."
    if len(arrivals) > _MOST_ARRIVALS:
        yield f"  the last {_MOST_ARRIVALS}:"
    for one in arrivals[-_MOST_ARRIVALS:]:
        when = moment(recorded.clock("back").stamp(one.time_ns).t_ns)
        brought = next(
            (run for run in one.runs if run.sector <= lba < run.sector + run.count), None
        )
        extras = "".join(
            (
                f"; answered with errno {one.error}" if one.error else "",
                f"; a fault of the medium: {one.injected}" if one.injected else "",
            )
        )
        yield f"  {when}  write {one.sequence}: {_brought(brought, lba)}{extras}"


def _brought(run: Run | None, lba: int) -> str:
    if run is None:
        return "nothing of a whole sector"
    if run.kind is SectorKind.STAMP and run.stamp is not None:
        stamp, by = run.stamp, (lba - run.sector)
        offset = stamp.offset + by * SECTOR_BYTES
        return f"file {stamp.file_id}, offset {offset}, generation {stamp.generation}"
    return _KINDS.get(run.kind, str(run.kind))


def chain_words(chain: Chain) -> Iterator[str]:
    """Tell a chain of causes, a line a step."""
    yield f"How write {chain.arrival} came to LBA {chain.lba}:"
    width = max(len(step.where) for step in chain.steps)
    for step in chain.steps:
        yield f"  {moment(step.t_ns)}  {step.where:<{width}}  {step.what}"


def moment(t_ns: int) -> str:
    """Return a time of day, in UTC, to the microsecond."""
    seconds, rest = divmod(t_ns, _NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}.{rest // 1000:06}"
