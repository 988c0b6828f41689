"""When a workload was promised something."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rig.experiments.run.promise import is_promise
from rig.integrity.ledger import (
    CacheLost,
    Event,
    Flushed,
    FlushFailed,
    FlushStarted,
    WriteFailed,
    WriteReturned,
    WriteStarted,
)

RETURNED = WriteReturned(1, 1)


def told(*entries: Event) -> dict[str, Any]:
    return {"event": "ledger", "fs": "ext4", "entries": msgspec.to_builtins(entries)}


@pytest.mark.parametrize(
    "event",
    [
        told(RETURNED, Flushed(1)),
        told(WriteFailed(1, 2, 5), RETURNED, Flushed(1)),
        told(Flushed(1, number=3)),
    ],
)
def test_an_fsync_that_returned_behind_a_write_is_a_promise(event: dict[str, Any]) -> None:
    assert is_promise(event)


@pytest.mark.parametrize(
    "event",
    [
        told(),
        told(WriteStarted(1, 0, 8, 1, 1), RETURNED),
        told(RETURNED, FlushStarted(1, 1)),
        told(RETURNED, FlushFailed(1, 5)),
        told(WriteFailed(1, 1, 5), Flushed(1)),
        told(RETURNED, Flushed(2)),
        told(CacheLost()),
        {"event": "progress", "fs": "ext4", "done": 1, "total": 2},
    ],
)
def test_nothing_else_is_one(event: dict[str, Any]) -> None:
    assert not is_promise(event)
