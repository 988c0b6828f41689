"""The whole inquiry into one run: judge the three views, weigh the second look, name the guilty.

Pure, and only for the station.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rig.integrity.arrivals import Arrival
from rig.integrity.evidence import MediumJournal
from rig.integrity.filemap import FileMap
from rig.integrity.guilt import Jury
from rig.integrity.judgement import Finding, Judgement, View, combine
from rig.integrity.looks import FileLook, SecondLook
from rig.integrity.model import Model
from rig.integrity.oracle import Oracle
from rig.integrity.reread import settle
from rig.integrity.scan import Run


class Observations(msgspec.Struct, frozen=True):
    """What was seen of one run.

    Attributes:
        host: What the host read of its files.
        medium: What the medium holds, by LBA.
        journal: What it was asked for.
        look: What the host read again, if something of the first was wrong.
        tapped: The writes as the front machine's disk driver sent them, if somebody listened.
    """

    host: Sequence[FileLook] = ()
    medium: Sequence[Run] = ()
    journal: MediumJournal = MediumJournal()
    look: SecondLook | None = None
    tapped: Sequence[Arrival] | None = None


class Inquiry(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        views: A judgement a view; its findings name the guilty.
        forgiven: What could not be read, and was right the second time.
    """

    views: dict[View, Judgement]
    forgiven: list[Finding]


def inquire(model: Model, file_map: FileMap, run_id: int, seen: Observations) -> Inquiry:
    """Judge a run.

    Args:
        model: What the workload did.
        file_map: Where its files lie, taken after the last write.
        run_id: That its stamps carry.
        seen: What was seen.
    """
    oracle = Oracle(model, file_map, run_id)
    medium, journal = list(seen.medium), seen.journal
    host = combine(oracle.judge_host(file.file_id, file.runs) for file in seen.host)
    forgiven: list[Finding] = []
    if seen.look is not None:
        settled = settle(oracle, host, seen.look, medium)
        host, forgiven = settled.judgement, settled.forgiven
    jury = Jury(oracle, journal, medium, seen.tapped)
    views = {
        View.HOST: host,
        View.MEDIUM: oracle.judge_medium(medium),
        View.ARRIVAL: oracle.judge_arrivals(journal.writes),
    }
    return Inquiry({view: jury.blame(judged) for view, judged in views.items()}, forgiven)
