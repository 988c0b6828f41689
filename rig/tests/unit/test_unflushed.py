"""What a killed store's cache held is what its journal says it held."""

from __future__ import annotations

import errno

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rig.gadget.journal import Injected, Op, Record
from rig.gadget.unflushed import Unflushed
from rig.gadget.write_cache import BLOCK_BYTES, CAPACITY_BYTES, WriteCache

SIZE = 16 * BLOCK_BYTES
WRITE = Record(0, 0, Op.WRITE, 0, 0, 1024, bytes(1024), volatile=True)
FLUSH = Record(0, 0, Op.FLUSH, 0, 0, 0, volatile=True)
CUT = Record(0, 0, Op.POWER_CUT, 0, 0, 0, volatile=True)
_KINDS = st.sampled_from(["write", "flush", "lie", "failed flush", "cut", "read"])
_steps = st.lists(st.tuples(_KINDS, st.integers(0, SIZE - 2048), st.integers(1, 2048)))


def held(*records: Record) -> int:
    unflushed = Unflushed()
    for record in records:
        unflushed.take(record)
    return unflushed.bytes


def changed(record: Record, **fields: object) -> Record:
    return msgspec.structs.replace(record, **fields)


@given(steps=_steps)
def test_it_says_what_a_cache_holds(steps: list[tuple[str, int, int]]) -> None:
    cache = WriteCache(lambda _, length: bytes(length), lambda *_: None)
    records = []
    for kind, offset, length in steps:
        match kind:
            case "write":
                cache.write(offset, bytes(length))
                written = {"offset_bytes": offset, "payload": bytes(length)}
                records.append(changed(WRITE, **written))
            case "flush":
                cache.flush()
                records.append(FLUSH)
            case "lie":
                records.append(changed(FLUSH, injected=Injected.LIED))
            case "failed flush":
                records.append(changed(FLUSH, error=errno.EIO))
            case "cut":
                cache.drop()
                records.append(CUT)
            case _:
                records.append(changed(FLUSH, op=Op.READ))
    assert held(*records) == cache.dirty_bytes


def test_a_full_cache_holds_no_more_than_it_can() -> None:
    writes = [changed(WRITE, offset_bytes=at * 1024) for at in range(CAPACITY_BYTES // 1024 + 1)]
    assert held(*writes) == CAPACITY_BYTES


def test_what_a_fault_kept_from_the_medium_was_in_no_cache() -> None:
    assert held(changed(WRITE, injected=Injected.LOST)) == 0
    assert held(changed(WRITE, error=errno.ENOSPC)) == 0
    assert held(changed(WRITE, error=errno.EIO, injected=Injected.TORN, value=512)) == 512


def test_without_a_cache_nothing_is_held_any_more() -> None:
    assert held(WRITE, changed(WRITE, volatile=False)) == 0
