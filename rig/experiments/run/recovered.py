"""Whether what fsync had promised is there after a disk went away and came back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rig.integrity.filemap import FileMap, MappedFile
from rig.integrity.judgement import combine
from rig.integrity.ledger import decode_events
from rig.integrity.looks import FileLook
from rig.integrity.model import Model
from rig.integrity.oracle import Oracle
from rig.report.verdict import Recovery


def model_of(events: Iterable[dict[str, Any]], unknown: frozenset[str] = frozenset()) -> Model:
    """Make the model of what the workload's daemon told.

    Args:
        events: Of the daemon.
        unknown: File systems of which nobody can say where their files lie: they are left out.
    """
    model = Model()
    for event in events:
        if event["event"] == "ledger" and event.get("fs") not in unknown:
            model.apply_all(decode_events(event.get("entries")))
    return model


def verify(
    fs: str,
    events: Iterable[dict[str, Any]],
    files: list[MappedFile],
    reads: list[FileLook],
    run_id: int,
) -> Recovery:
    """Judge what was read of a file system before anything of it is written again.

    Args:
        fs: Its name.
        events: All that the workload's daemon told until then.
        files: Where the files lie.
        reads: What the host read of each.
        run_id: That the stamps carry.
    """
    oracle = Oracle(model_of(events), FileMap(files), run_id)
    judged = combine(oracle.judge_host(one.file_id, one.runs) for one in reads)
    counts = {name: count for name, count in judged.counts.items() if count}
    return Recovery(fs, counts, tuple(judged.findings))
