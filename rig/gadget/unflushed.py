"""What a killed store's volatile cache held, told from its journal.  Pure."""

from __future__ import annotations

from rig.gadget.journal import Injected, Op, Record
from rig.gadget.medium_effects import stored
from rig.gadget.write_cache import BLOCK_BYTES, CAPACITY_BYTES


class Unflushed:
    """Takes a journal's records in order, and knows which writes a cache alone has.

    It goes by what each record says of itself, not by the plan: a cache may have come with a rule
    that was added to a running store, and that nobody knows of any more.
    """

    def __init__(self) -> None:
        self._writes: list[tuple[int, int]] = []

    def take(self, record: Record) -> None:
        """Take the next record."""
        flushed = record.op is Op.FLUSH and not record.error
        if (flushed and record.injected is not Injected.LIED) or record.op is Op.POWER_CUT:
            self._writes.clear()
        elif not record.volatile:
            self._writes.clear()  # lost before: a cache is never given up by a store that goes on
        elif record.op is Op.WRITE and (not record.error or record.injected is Injected.TORN):
            arrived = (record.offset_bytes, record.payload)
            offset, data = stored(record.injected, record.value, *arrived)
            if data:
                self._writes.append((offset, len(data)))

    @property
    def bytes(self) -> int:
        """How many bytes the cache held: the loss, if the store was killed here."""
        blocks: set[int] = set()
        for offset, length in self._writes:
            blocks.update(range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES)))
        return min(len(blocks) * BLOCK_BYTES, CAPACITY_BYTES)
