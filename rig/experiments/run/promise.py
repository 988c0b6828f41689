"""Notices that the workload was promised something: an fsync has returned 0 behind a write.

Pure.
"""

from __future__ import annotations

from typing import Any

from rig.integrity.ledger import Flushed, WriteReturned, decode_events


def is_promise(event: dict[str, Any]) -> bool:
    """Tell whether an event of the workload's daemon has a promise.

    An fsync is told together with the writes that it confirms, but for that of several writers
    (`rig.integrity.workloads`), whose number says that writes have returned before.
    """
    if event.get("event") != "ledger":
        return False
    entries = decode_events(event.get("entries"))
    returned = {entry.file_id for entry in entries if isinstance(entry, WriteReturned)}
    return any(
        isinstance(entry, Flushed) and (entry.number > 0 or entry.file_id in returned)
        for entry in entries
    )
